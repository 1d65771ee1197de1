"""Which outputs of a network's own code are those of its stages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from benchsuite.errors import Unsupported
from benchsuite.metrics.dissection.places import Place
from benchsuite.metrics.dissection.stages import choose_layers

if TYPE_CHECKING:
    from collections.abc import Callable

IMAGE = torch.zeros(1, 3, 16, 16)


class Bottleneck(nn.Module):
    """Narrow, spatial, wide; with a shortcut where it keeps its shape, and linear at its end."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(inputs, 6, 1), nn.Conv2d(6, 6, 3, stride, 1)
        self.third = nn.Conv2d(6, outputs, 1)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.third(self.second(self.first(x).relu()).relu())
        return x + y if self.shortcut else y


class Gate(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.gate = nn.Conv2d(units, units, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x.mean((2, 3), keepdim=True)).sigmoid()


def ended(*modules: nn.Module, units: int) -> nn.Module:
    """With a classifier."""
    return nn.Sequential(*modules, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(units, 5)).eval()


def test_blocks_without_shortcut_are_read_at_their_end_too() -> None:
    body = (Bottleneck(3, 4), Bottleneck(4, 4), Bottleneck(4, 8, 2), Bottleneck(8, 8), Bottleneck(8, 12))
    assert choose_layers(ended(*body, units=12), IMAGE) == ("1", "4")


def test_a_convolution_before_pooling_is_represented_by_what_is_activated() -> None:
    body = (nn.Conv2d(3, 4, 5), nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.ReLU(), nn.MaxPool2d(2))
    assert choose_layers(ended(*body, units=6), IMAGE) == ("2", "4")


def test_a_pooling_alone_is_no_stage() -> None:
    body = (nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.MaxPool2d(2))
    assert choose_layers(ended(*body, units=4), IMAGE) == ("1",)


def test_class_maps_are_not_dissected() -> None:
    body = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Dropout(), nn.Conv2d(4, 5, 1), nn.ReLU()
    )
    model = nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    assert choose_layers(model, IMAGE) == ("0.1",)


def test_a_gate_in_a_block_is_not_its_end() -> None:
    gated = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.SiLU(), Gate(4), nn.Conv2d(4, 4, 1))
    body = nn.Sequential(gated, nn.Sequential(Bottleneck(4, 8, 2), Bottleneck(8, 8)))
    assert choose_layers(ended(body, units=8), IMAGE) == ("0.0", "0")


class Written(nn.Module):
    """Everything in the network's own code, in place where it can be."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(3, 4, 3, padding=1), *(nn.Conv2d(4, 4, 3, padding=1),) * 2])
        self.out = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        first, second, _ = self.convs
        x = first(x).relu_()
        y = second(x)
        y += x
        x = functional.max_pool2d(y.relu_(), 2)
        gate = second(x)
        x = gate * torch.sigmoid(gate)
        return self.out(functional.dropout(x, training=self.training).mean((2, 3)))


def test_calls_in_the_code_are_outputs() -> None:
    assert choose_layers(Written().eval(), IMAGE) == ("relu_()#2", "mul()")


class Branches(nn.Module):
    """Two ways that meet at the classifier alone."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.left, self.right = (
            nn.Conv2d(3, 4, 3, padding=1),
            nn.Conv2d(4, 4, 1),
            nn.Conv2d(4, 4, 1),
        )
        self.out = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        left, right = self.left(x).relu(), self.right(x).relu()
        return self.out(torch.cat([left.mean((2, 3)), right.mean((2, 3))], 1))


def test_only_what_nothing_bypasses_counts() -> None:
    assert choose_layers(Branches().eval(), IMAGE) == ("relu()",)


class Unknown(nn.Module):
    """Patches as tokens, brought into an order that depends on their values."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.out = nn.Conv2d(3, 6, 4, 4), nn.Linear(6, 5)
        self.blocks = nn.Sequential(Mlp(), Mlp())

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2).sort(1).values
        return self.out(self.blocks(x).mean(1))


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        return x + functional.gelu(self.mix(x))


def test_tokens_at_unknown_positions_are_unsupported() -> None:
    with pytest.raises(Unsupported, match=r"position .* blocks, \(1, 16, 6\)"):
        choose_layers(Unknown().eval(), IMAGE)


def test_without_maps_it_is_unsupported() -> None:
    for model in (nn.Sequential(nn.Flatten(), nn.Linear(768, 5)), nn.Conv2d(3, 5, 16)):
        with pytest.raises(Unsupported, match="maps of more than one position"):
            choose_layers(model, IMAGE)
    only_classes = nn.Sequential(nn.Conv2d(3, 5, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(Unsupported, match="classes"):
        choose_layers(only_classes, IMAGE)


def test_a_linear_network_has_its_convolutions_dissected() -> None:
    body = (nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 6, 3, 2, 1))
    assert choose_layers(ended(*body, units=6), IMAGE) == ("0.conv2d()", "1.conv2d()")


class Moved(nn.Module):
    """Convolutions with something done to the map between them."""

    def __init__(self, move: Callable[[Tensor], Tensor], *, early: bool = False) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 6, 3, padding=1)
        self.out = nn.Linear(6, 5)
        self.move, self.early = move, early

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(self.move(x) if self.early else x).relu()
        x = x if self.early else self.move(x)
        return self.out(functional.max_pool2d(self.second(x), 2).sigmoid().mean((2, 3)))


TURNS: dict[str, Callable[[Tensor], Tensor]] = {
    "transpose": lambda x: x.transpose(2, 3),
    "permute": lambda x: x.permute(0, 1, 3, 2),
    "mT": lambda x: x.mT,
    "flip": lambda x: x.flip(3),
    "rot90": lambda x: torch.rot90(x, 1, (2, 3)),
    "roll": lambda x: x.roll(5, 2),
    "crop": lambda x: x[:, :, :8, :8],
    "narrow": lambda x: x.narrow(2, 8, 8).narrow(3, 8, 8),
    "index": lambda x: x[:, :, torch.arange(15, -1, -1)],
    "both": lambda x: x + x.flip(3),
    "joined": lambda x: torch.cat([x[:, :2], x[:, 2:].flip(2)], 1),
}
KEPT: dict[str, Callable[[Tensor], Tensor]] = {
    "back": lambda x: (x.flip(3).sigmoid() * 2).flip(3),
    "last": lambda x: x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2),
    "shuffle": lambda x: x.view(-1, 2, len(x[0]) // 2, 16, 16).transpose(1, 2).reshape(x.shape),
    "trim": lambda x: x[:, :, :-1, :-1],
    "padded": lambda x: functional.pad(x, (1, 1, 1, 1)),
    "back from padding": lambda x: functional.pad(x, (0, 6, 0, 6))[:, :, :16, :16],
    "strided": lambda x: x[:, :, ::2, ::2],
    "shortcut": lambda x: x + functional.avg_pool2d(x.flip(3), 3, 1, 1).flip(3),
}


@pytest.mark.parametrize("name", TURNS)
def test_maps_that_do_not_stand_as_the_image_are_not_dissected(name: str) -> None:
    assert choose_layers(Moved(TURNS[name]).eval(), IMAGE) == ("relu()",)
    if name != "joined":
        with pytest.raises(Unsupported, match=r"stand as the image does.* from first"):
            choose_layers(Moved(TURNS[name], early=True).eval(), IMAGE)


@pytest.mark.parametrize("name", KEPT)
def test_maps_that_are_moved_and_still_stand_as_the_image_are_dissected(name: str) -> None:
    assert choose_layers(Moved(KEPT[name]).eval(), IMAGE)[-1] == "sigmoid()" + "#2" * (name == "back")


words = st.from_regex(r"[a-z0-9_-]{1,6}", fullmatch=True)


@given(
    st.lists(words, max_size=3),
    st.just("") | st.from_regex(r"[a-z_]{1,8}", fullmatch=True),
    st.integers(1, 12),
)
def test_a_written_place_is_read_back(path: list[str], function: str, use: int) -> None:
    place = Place(".".join(path), function, use)
    assert Place.parse(str(place)) == place
