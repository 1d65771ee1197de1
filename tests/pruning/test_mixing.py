"""Linear layers that mix positions: the channels beside them can go, and units that only they read."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pruning_networks import CLASSES, Mixing, check_cut, example
from torch import Tensor, nn

from benchsuite.pruning.tracing.trace import trace

WIDTH, TOKENS = 6, 4
MEET = "its units are positions, such as tokens, and meet others"


class Mixer(nn.Module):
    """A block that mixes tokens and one that mixes channels (Tolstikhin et al. 2021)."""

    def __init__(self, mixing: nn.Module) -> None:
        super().__init__()
        self.first, self.norm, self.mixing = nn.Conv2d(1, WIDTH, 4, 4), nn.LayerNorm(WIDTH), mixing
        self.fc1, self.fc2 = nn.Linear(WIDTH, 9), nn.Linear(9, WIDTH)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).flatten(2).transpose(1, 2)
        x = x + self.mixing(self.norm(x))
        return self.head((x + self.fc2(self.fc1(x).relu())).mean(1))  # type: ignore[no-any-return]


def mixer(mixing: nn.Module) -> Mixer:
    torch.manual_seed(0)
    network = Mixer(mixing).eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.4)
    return network


def test_hidden_units_and_channels_go_each_by_themselves() -> None:
    network = mixer(Mixing(TOKENS, 7))
    graph = trace(network, example())
    assert {group.name: group.size for group in graph.groups} == {"first": 6, "mixing.fc1": 7, "fc1": 9}
    assert [(pin.layer, pin.units, pin.reason) for pin in graph.pinned if not pin.output] == [
        ("mixing.fc2", TOKENS, MEET)
    ]
    hidden = next(group for group in graph.groups if group.name == "mixing.fc1")
    assert [reader.layer for reader in hidden.readers] == ["mixing.fc2"]
    for removed in (
        {"mixing.fc1": (0, 3)},
        {"first": (1, 5)},
        {"first": (0,), "mixing.fc1": (1, 2, 6), "fc1": (4,)},
    ):
        check_cut(network, graph, removed)
    once = check_cut(network, graph, {"mixing.fc1": (2,), "first": (2,)})
    smaller: Any = check_cut(
        once, graph.without({"mixing.fc1": (2,), "first": (2,)}, once), {"mixing.fc1": (0, 1), "first": (3,)}
    )
    assert (smaller.mixing.fc1.in_features, smaller.mixing.fc1.out_features) == (TOKENS, 4)
    assert (smaller.mixing.fc2.in_features, smaller.mixing.fc2.out_features) == (4, TOKENS)


class OneLayer(nn.Module):
    """As in ResMLP: one layer over the tokens, without a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(TOKENS, TOKENS, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.permute(0, 2, 1)).permute(0, 2, 1)  # type: ignore[no-any-return]


class Three(nn.Module):
    """The layer in the middle could lose units and inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(TOKENS, 5), nn.ReLU(), nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, TOKENS)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x.transpose(1, 2)).transpose(1, 2)  # type: ignore[no-any-return]


class Gate(nn.Module):
    """As in gMLP: one half of the channels gates the other after its tokens were mixed."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.mix, self.back = nn.Linear(WIDTH, 10), nn.Linear(TOKENS, TOKENS), nn.Linear(5, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        u, v = torch.nn.functional.gelu(self.wide(x)).chunk(2, -1)
        return self.back(u * self.mix(v.transpose(-1, -2)).transpose(-1, -2))  # type: ignore[no-any-return]


class Branching(Mixing):
    """The hidden units are read by two layers."""

    def __init__(self) -> None:
        super().__init__(TOKENS, 7)
        self.other = nn.Linear(7, TOKENS)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.fc1(x.transpose(1, 2)).relu()
        return (self.fc2(hidden) * self.other(hidden)).transpose(1, 2)  # type: ignore[no-any-return]


class Square(nn.Module):
    """As many tokens as channels, which no shape tells apart."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.mixing, self.back = (
            nn.Linear(WIDTH, TOKENS),
            Mixing(TOKENS, 5),
            nn.Linear(TOKENS, WIDTH),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.back(self.mixing(self.wide(x)).tanh())  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("kind", "groups"),
    [
        (OneLayer, {"first": 6, "fc1": 9}),
        (Gate, {"first": 6, "mixing.wide": 5, "fc1": 9}),
        (Branching, {"first": 6, "fc1": 9}),
        (Square, {"first": 6, "mixing.wide": 4, "mixing.mixing.fc1": 5, "fc1": 9}),
    ],
)
def test_what_else_mixes_positions(kind: type[nn.Module], groups: dict[str, int]) -> None:
    network = mixer(kind())
    graph = trace(network, example())
    assert {group.name: group.size for group in graph.groups} == groups
    for name in groups:
        check_cut(network, graph, {name: (0, 2)})
    check_cut(network, graph, dict.fromkeys(groups, (1,)))


def test_where_three_widths_would_count_something_stays_and_nothing_is_wrong() -> None:
    network = mixer(Three())
    graph = trace(network, example())
    assert {"first", "fc1"} <= {group.name for group in graph.groups} | {pin.layer for pin in graph.pinned}
    assert graph.groups
    check_cut(network, graph, {group.name: (0,) for group in graph.groups})
    for group in graph.groups:
        check_cut(network, graph, {group.name: (1, 2)})


class Repeated(nn.Module):
    """A layer that mixes positions, and one behind it that the network ends with twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.mix, self.last = nn.Conv1d(8, 6, 1), nn.Linear(8, 5), nn.Linear(5, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.last(self.mix(self.first(x.squeeze(1)))))[:, 0]  # type: ignore[no-any-return]


class EndsWithItself(Repeated):
    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.last(self.mix(self.first(x.squeeze(1)).mean(1, keepdim=True)))).flatten(1)  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", [Repeated, EndsWithItself])
def test_a_layer_that_reads_itself_ends_the_search(kind: type[nn.Module]) -> None:
    graph = trace(kind().eval(), example(), seconds=20)
    assert "mix" in {pin.layer for pin in graph.pinned} | {layer.name for layer in graph.layers}
