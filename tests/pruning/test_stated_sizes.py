"""Sizes that stand in attributes: they follow what is removed, so that each part may lose what it will."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
import torch
from pruning_networks import CLASSES, check_cut, example
from torch import nn

from benchsuite.pruning.axes import Axis
from benchsuite.pruning.cuts import size_of
from benchsuite.pruning.graph import Pinned
from benchsuite.pruning.tracing.stated_sizes import StatedSize, stated_sizes
from benchsuite.pruning.tracing.trace import trace

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from benchsuite.pruning.graph import PruningGraph


class Divided(nn.Module):
    """Maps of 12 channels, divided by numbers in attributes; a layer reads each part, another one all."""

    def __init__(
        self, divide: Callable[[Any, Tensor], Any], wide: tuple[int, ...], **attributes: Any
    ) -> None:
        super().__init__()
        self.divide = divide
        for name, value in attributes.items():
            setattr(self, name, value)
        self.stem, self.norm = nn.Conv2d(1, 12, 3, padding=1), nn.BatchNorm2d(12)
        self.branches = nn.ModuleList(nn.Conv2d(size, 5, 1) for size in wide)
        self.all = nn.Conv2d(sum(wide) + 5 * len(wide), 7, 1)
        self.head = nn.Linear(7, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.divide(self, self.norm(self.stem(x)).relu())
        read = [branch(part).relu() for branch, part in zip(self.branches, parts, strict=True)]
        x = self.all(torch.cat([*parts, *read], 1)).relu()
        return self.head(x.mean((2, 3)))  # type: ignore[no-any-return]


def divided(*arguments: Any, **attributes: Any) -> Divided:
    torch.manual_seed(0)
    return Divided(*arguments, **attributes).eval()


def split_by_numbers(m: Any, x: Tensor) -> Any:
    return x.split((m.one, m.other), 1)


def slices(m: Any, x: Tensor) -> Any:
    return x[:, : m.one], x[:, m.one :]


KINDS = {
    "tuple": divided(lambda m, x: x.split(m.sizes, 1), (2, 3, 7), sizes=(2, 3, 7)),
    "list": divided(lambda m, x: torch.split(x, m.sizes, dim=1), (5, 7), sizes=[5, 7]),
    "by name": divided(
        lambda m, x: torch.split(x, split_size_or_sections=m.sizes, dim=-3), (5, 7), sizes=[5, 7]
    ),
    "numbers": divided(split_by_numbers, (5, 7), one=5, other=7),
    "slices": divided(slices, (5, 7), one=5),
    "slices on both sides": divided(
        lambda m, x: (x[:, : m.one], x[:, m.one : m.two], x[:, m.two :, :, :]), (2, 5, 5), one=2, two=7
    ),
    "slices from the end": divided(lambda m, x: (x[:, : -m.last], x[:, -m.last :]), (9, 3), last=3),
    "slices after dots": divided(lambda m, x: (x[..., : m.one, :, :], x[..., m.one :, :, :]), (5, 7), one=5),
}
"""Networks where every part may become smaller without the others."""
EQUAL = {
    "width": divided(lambda m, x: x.split(m.width, 1), (4, 4, 4), width=4),
    "width with a rest": divided(lambda m, x: x.split(m.width, 1), (5, 5, 2), width=5),
    "half of a width": divided(lambda m, x: x.split(m.whole // 2, 1), (6, 6), whole=12),
}
"""Networks where the parts are equal, and stay equal."""


def only_the_output_stays(graph: PruningGraph) -> bool:
    return all(pin.output for pin in graph.pinned) and {layer.name for layer in graph.layers} >= {
        "stem",
        "all",
    }


def attributes_of(network: Divided) -> dict[str, Any]:
    return {name: value for name, value in vars(network).items() if type(value) in (int, tuple, list)}


@pytest.mark.parametrize("network", KINDS.values(), ids=KINDS)
def test_parts_become_smaller_each_for_itself(network: Divided) -> None:
    before = copy.deepcopy(attributes_of(network))
    graph = trace(network, example())
    assert only_the_output_stays(graph)
    assert attributes_of(network) == before
    of_stem = [group for group in graph.groups if group.members[0].layer == "stem"]
    widths = [branch.in_channels for branch in network.branches]
    assert [group.size for group in of_stem] == widths
    # One part alone, another one alone, and of all as many as their number allows.
    for removed in (
        {of_stem[0].name: (0,)},
        {of_stem[-1].name: (0, 2)},
        {group.name: tuple(range(0, group.size - 1, 2)) for group in graph.groups},
    ):
        smaller = check_cut(network, graph, removed)
        assert isinstance(smaller, Divided)
        left = [branch.in_channels for branch in smaller.branches]
        assert left == [group.size - len(removed.get(group.name, ())) for group in of_stem]
        again = trace(smaller, example())
        assert only_the_output_stays(again) or 1 in left
        assert all(type(value) is int for value in _numbers(smaller))


def _numbers(network: Divided) -> list[Any]:
    found: list[Any] = []
    for value in attributes_of(network).values():
        found += value if isinstance(value, tuple | list) else [value]
    return found


@pytest.mark.parametrize("network", EQUAL.values(), ids=EQUAL)
def test_equal_parts_stay_equal(network: Divided) -> None:
    graph = trace(network, example())
    assert only_the_output_stays(graph)
    removed = {group.name: (0,) for group in graph.groups}
    smaller = check_cut(network, graph, removed)
    assert isinstance(smaller, Divided)
    left = [branch.in_channels for branch in smaller.branches]
    assert len({*left[:-1]}) == 1
    assert left[-1] <= left[0]
    assert smaller.stem.out_channels == sum(left) < 12


def test_several_rounds_cut_what_one_cut_does() -> None:
    network = KINDS["tuple"]
    graph = trace(network, example())
    last = [group.name for group in graph.groups if group.members[0].layer == "stem"][-1]
    once = check_cut(network, graph, {last: (0, 1, 4)})
    first = check_cut(network, graph, {last: (1, 4)})
    twice = check_cut(first, graph.without({last: (1, 4)}, first), {last: (0,)})
    assert once.sizes == twice.sizes == (2, 3, 4)
    assert torch.equal(once(example()), twice(example()))


class TwoMeanings(nn.Module):
    """One number says how wide a part is, and how often the result is added."""

    def __init__(self) -> None:
        super().__init__()
        self.number = 3
        self.stem, self.head = nn.Conv2d(1, 8, 3), nn.Linear(3, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()[:, : self.number].mean((2, 3))
        return self.head(x * int(self.number))  # type: ignore[no-any-return]


def test_a_number_with_two_meanings_lets_nothing_wrong_through() -> None:
    torch.manual_seed(0)
    graph = trace(TwoMeanings().eval(), example())
    part = [pin for pin in graph.pinned if pin.layer == "stem"]
    assert part == [Pinned("stem", 3, part[0].reason)]
    assert "differs from the masked one" in part[0].reason
    # What nobody reads may still go.
    assert [group.size for group in graph.groups] == [5]


class Scaled(nn.Module):
    """Layer scale whose shape is kept, and a view by a kept width."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.shape, self.width = nn.Conv2d(1, 6, 3), (6, 1, 1), 6
        self.scale = nn.Parameter(torch.rand(6) + 0.5)
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu() * self.scale.view(self.shape)
        return self.head(x.mean((2, 3)).reshape(-1, self.width))  # type: ignore[no-any-return]


def test_kept_shapes_follow() -> None:
    torch.manual_seed(0)
    network = Scaled().eval()
    graph = trace(network, example())
    assert [group.size for group in graph.groups] == [6]
    smaller = check_cut(network, graph, {"stem": (0, 4)})
    assert (smaller.shape, smaller.width) == ((4, 1, 1), 4)


def test_numbers_that_count_no_channels_are_left() -> None:
    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.side, self.stem, self.head = 4, nn.Conv2d(1, 4, 1), nn.Linear(4 * 16, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)[:, :, : self.side, : self.side]
            return self.head(x.reshape(len(x), -1, self.side * self.side).flatten(1))  # type: ignore[no-any-return]

    torch.manual_seed(0)
    network = Pooled().eval()
    smaller = check_cut(network, trace(network, example()), {"stem": (1,)})
    assert smaller.side == 4


def test_attributes_are_as_before_even_if_the_network_fails() -> None:
    network = KINDS["tuple"]
    with pytest.raises(RuntimeError), stated_sizes(network):
        network(torch.zeros(1, 9, 4, 4))
    assert type(network.sizes) is tuple
    assert all(type(size) is int for size in network.sizes)


def test_what_is_noted_of_one_run() -> None:
    network = KINDS["numbers"]
    with stated_sizes(network) as found:
        network(example())
    ((_, both),) = found.of.items()
    one, other = (Axis("", "size", attribute=name) for name in ("one", "other"))
    assert both == [StatedSize(one, 1, 0, 5, 5, 1, False), StatedSize(other, 1, 5, 12, 7, 1, False)]
    assert len(found.divided) == 1
    assert size_of(network, one) == 5


class OwnLinear(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.reshape(-1, self.in_features))


class OwnNorm(nn.BatchNorm1d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.view(-1, self.num_features))


class OwnGroups(nn.GroupNorm):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.view(x.shape[0], self.num_channels, *x.shape[2:]))


@pytest.mark.parametrize(
    ("features", "norm", "groups"),
    [
        (OwnLinear(16, 12), nn.Identity(), {16, 12}),
        (nn.Sequential(nn.Linear(16, 12), OwnNorm(12)), nn.Identity(), {16, 12}),
        (nn.Linear(16, 12), OwnGroups(4, 16), {4, 12}),
    ],
    ids=["linear", "norm", "groups"],
)
def test_what_torchs_layers_count_is_not_counted_twice(
    features: nn.Module, norm: nn.Module, groups: set[int]
) -> None:
    class Around(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(1, 16, 3), norm)
            self.features, self.head = features, nn.Linear(12, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.features(self.stem(x).mean((2, 3))).relu())  # type: ignore[no-any-return]

    network = Around().eval()
    graph = trace(network, example())
    assert {group.size for group in graph.groups} == groups
    check_cut(network, graph, {group.name: (0, 1) for group in graph.groups})


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*is deprecated:FutureWarning")
def test_a_slice_of_a_scripted_function_has_no_end() -> None:
    @torch.jit.script
    def crop(x: Tensor, start: int) -> Tensor:
        return x[:, :, start:]

    class Cropped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.start, self.stem, self.head = 3, nn.Conv2d(1, 6, 3), nn.Linear(6, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(crop(self.stem(x), self.start).mean((2, 3)))  # type: ignore[no-any-return]

    graph = trace(Cropped().eval(), example())
    assert [group.size for group in graph.groups] == [6]


class InTraining(nn.Module):
    """Counts its channels in training alone, by a number that evaluation does not use."""

    def __init__(self) -> None:
        super().__init__()
        self.width, self.stem, self.head = 6, nn.Conv2d(1, 6, 3), nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        if self.training:
            x = x + torch.randn(self.width, 1, 1)
        return self.head(x.relu().mean((2, 3)))  # type: ignore[no-any-return]


def test_code_for_training_alone_is_tried() -> None:
    graph = trace(InTraining().eval(), example())
    assert graph.groups == ()
    assert "does not run in training mode" in graph.pinned[0].reason
