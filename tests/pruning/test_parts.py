"""Tensors that are read in parts: what is accepted can be cut in any way, and equal parts can be cut."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor, nn

from benchsuite.errors import Collapsed, Unsupported
from benchsuite.pruning.group_scores import group_scores
from benchsuite.pruning.selection import select_units
from benchsuite.pruning.settings import Budget, PruningSettings
from benchsuite.pruning.surgery import remove_units
from benchsuite.pruning.tracing.index_maps import Taken
from benchsuite.pruning.tracing.parts import PartedTensor, parted
from benchsuite.pruning.tracing.trace import trace

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from benchsuite.pruning.graph import PruningGraph

Divide = Any
"""A function from a tensor to its parts."""


class Maps(nn.Module):
    """Every part is read by a convolution of its own, the last one twice, and all together by another."""

    def __init__(self, divide: Divide, sizes: Sequence[int], channels: int = 16) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, channels, 3, padding=1), nn.BatchNorm2d(channels)
        self.divide = divide
        self.branches = nn.ModuleList(nn.Conv2d(size, 5, 1) for size in sizes)
        self.again = nn.Conv2d(sizes[-1], 6, 3, padding=1)
        self.all = nn.Conv2d(sum(sizes) + 5 * len(sizes) + 6, 12, 1)
        self.head = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.divide(self.norm(self.stem(x)).relu()))
        read = [branch(part).relu() for branch, part in zip(self.branches, parts, strict=True)]
        x = torch.cat([*parts, *read, self.again(parts[-1]).relu()], 1)
        return self.head(self.all(x).relu().mean((2, 3)))


class Features(nn.Module):
    """The same with linear layers; the parts are those of the flattened maps of a convolution."""

    def __init__(self, divide: Divide, sizes: Sequence[int], flat: bool) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, stride=2)
        self.wide = nn.Identity() if flat else nn.Linear(16 * 9, sum(sizes))
        self.divide = divide
        self.branches = nn.ModuleList(nn.Linear(size, 9) for size in sizes)
        self.head = nn.Linear(9 * len(sizes), 4)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.divide(self.wide(self.stem(x).relu().flatten(1)).relu())
        read = [branch(part).relu() for branch, part in zip(self.branches, parts, strict=True)]
        return self.head(torch.cat(read, 1))


class Joined(nn.Module):
    """Both parts are read by the same layer alone, in their order."""

    def __init__(self, divide: Divide, channels: int) -> None:
        super().__init__()
        self.stem, self.all = nn.Conv2d(3, 16, 3), nn.Conv2d(channels, 12, 1)
        self.head = nn.Linear(12, 4)
        self.divide = divide

    def forward(self, x: Tensor) -> Tensor:
        one, other = self.divide(self.stem(x).relu())
        return self.head(self.all(torch.cat([one, other.tanh()], 1)).relu().mean((2, 3)))


class Bottleneck(nn.Module):
    """The block of a YOLO: halves of one convolution, the second of which is added to what follows it."""

    def __init__(self, shortcut: bool) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.inner = nn.ModuleList(nn.Conv2d(8, 8, 3, padding=1) for _ in range(2))
        self.last = nn.Conv2d(32, 12, 1)
        self.head = nn.Linear(12, 4)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        found = list(nn.functional.silu(self.norm(self.first(x))).chunk(2, 1))
        for layer in self.inner:
            made = nn.functional.silu(layer(found[-1]))
            found.append(found[-1] + made if self.shortcut else made)
        return self.head(nn.functional.silu(self.last(torch.cat(found, 1))).mean((2, 3)))


def halves(x: Tensor) -> tuple[Tensor, Tensor]:
    middle = x.shape[1] // 2
    return x[:, :middle], x[:, middle:]


def overlapping(x: Tensor) -> tuple[Tensor, Tensor]:
    middle = x.shape[1] // 2
    return x[:, : middle + 1], x[:, middle - 1 :]


def quarter(x: Tensor) -> tuple[Tensor, Tensor]:
    end = x.shape[1] // 4
    return x[:, :end], x[:, end:]


BY_SHAPE: dict[str, Callable[[], nn.Module]] = {
    "c2f": lambda: Bottleneck(shortcut=True),
    "c2f-apart": lambda: Bottleneck(shortcut=False),
    "chunk-2": lambda: Maps(lambda x: x.chunk(2, 1), [8, 8]),
    "chunk-4": lambda: Maps(lambda x: x.chunk(4, 1), [4, 4, 4, 4]),
    "chunk-4-uneven": lambda: Maps(lambda x: x.chunk(4, 1), [6, 6, 6, 4], channels=22),
    "chunk-in-chunk": lambda: Maps(lambda x: [*x.chunk(2, 1)[0].chunk(2, 1), x.chunk(2, 1)[1]], [4, 4, 8]),
    "tensor-split": lambda: Maps(lambda x: x.tensor_split(2, 1), [8, 8]),
    "swapped": lambda: Maps(lambda x: x.chunk(2, 1)[::-1], [8, 8]),
    "slices": lambda: Maps(halves, [8, 8]),
    "joined": lambda: Joined(lambda x: x.chunk(2, 1), 16),
    "interleaved": lambda: Maps(lambda x: (x[:, ::2], x[:, 1::2]), [8, 8]),
    "one-half": lambda: Maps(lambda x: halves(x)[1:], [8]),
    "quarter": lambda: Maps(quarter, [4, 12]),
    "split-by-shape": lambda: Maps(lambda x: x.split(x.shape[1] // 2, 1), [8, 8]),
    "features": lambda: Features(lambda x: x.chunk(2, 1), [20, 20], flat=False),
    "feature-slices": lambda: Features(halves, [20, 20], flat=False),
    "flattened": lambda: Features(lambda x: x.chunk(2, 1), [72, 72], flat=True),
}
"""The code computes from the shape where a part ends."""
ALONE: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "split": (lambda: Maps(lambda x: x.split(8, 1), [8, 8]), 8),
    "split-sizes": (lambda: Maps(lambda x: x.split([4, 12], 1), [4, 12]), 0),
    "slices": (lambda: Maps(lambda x: (x[:, :8], x[:, 8:]), [8, 8]), 8),
    "quarter": (lambda: Maps(lambda x: (x[:, :4], x[:, 4:]), [4, 12]), 12),
    "joined": (lambda: Joined(lambda x: (x[:, :8], x[:, 8:]), 16), 8),
    "joined-overlap": (lambda: Joined(overlapping, 18), 0),
    "overlap-by-shape": (lambda: Maps(overlapping, [9, 9]), 0),
    "overlap": (lambda: Maps(lambda x: (x[:, :9], x[:, 7:]), [9, 9]), 7),
    "feature-slices": (lambda: Features(lambda x: (x[:, :20], x[:, 20:]), [20, 20], flat=False), 20),
}
"""It has the numbers in it, or its parts overlap; with each how many channels can go, those at the end."""


def built(make: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    model = make().eval().double()
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        assert norm.running_mean is not None
        norm.running_mean.uniform_(-0.2, 0.2)
    return model


def images() -> Tensor:
    return torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def zeroed(model: nn.Module, graph: PruningGraph, removed: Mapping[str, Sequence[int]]) -> nn.Module:
    """The dense network in which the removed units compute zero; here no layer makes anything of zeros."""
    model = copy.deepcopy(model)
    followed_by = {"stem": "norm", "first": "norm"}
    for group in graph.groups:
        for member in group.members:
            units = [unit for position in removed.get(group.name, ()) for unit in member.units[position]]
            for name in (member.layer, followed_by.get(member.layer, "")):
                layer = dict(model.named_modules()).get(name) if name else None
                for parameter in () if layer is None else (layer.weight, layer.bias):
                    assert isinstance(parameter, Tensor)
                    with torch.no_grad():
                        parameter[units] = 0.0
                if isinstance(layer, nn.BatchNorm2d):
                    assert layer.running_mean is not None
                    layer.running_mean[units] = 0.0
    return model


def check_cut(model: nn.Module, graph: PruningGraph, removed: Mapping[str, Sequence[int]]) -> None:
    x = images()
    with torch.no_grad():
        found, expected = remove_units(model, graph, removed)(x), zeroed(model, graph, removed)(x)
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-10), removed


def check_selections(make: Callable[[], nn.Module], cuts: int) -> None:
    """Random scores and targets at each scope: whatever is selected runs and is the zeroed network."""
    model = built(make)
    graph = trace(model, images())
    made = 0
    for scope in ("layer", "global", "protected"):
        chance = np.random.default_rng(0)
        for _ in range(cuts):
            scores = {layer.name: torch.from_numpy(chance.random(layer.units)) for layer in graph.layers}
            chosen = PruningSettings(scope=scope, budget=chance.choice(get_args(Budget)), floor=0.05)
            try:
                selection = select_units(
                    graph, group_scores(graph, scores, chosen), chosen, chance.uniform(0.05, 0.7), seed=0
                )
                check_cut(model, graph, selection.removed)
            except (Collapsed, Unsupported):  # the target is beyond what can go
                continue
            made += 1
    assert made >= cuts  # a third


@pytest.mark.parametrize("name", BY_SHAPE)
def test_equal_parts_are_cut_alike(name: str) -> None:
    check_selections(BY_SHAPE[name], cuts=4)


@pytest.mark.slow
@pytest.mark.parametrize("name", BY_SHAPE)
def test_equal_parts_are_cut_alike_two_hundred_times(name: str) -> None:
    check_selections(BY_SHAPE[name], cuts=200)


@pytest.mark.parametrize("name", BY_SHAPE)
def test_every_unit_of_equal_parts_can_go(name: str) -> None:
    """Of parts that do not come out even the last channels have no partner, and more than one may go."""
    model = built(BY_SHAPE[name])
    graph = trace(model, images())
    stay = {pin.layer: pin.reason for pin in graph.pinned if not pin.output}
    assert not stay
    assert graph.units == sum(
        int(layer.weight.shape[0])
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear) and name != "head"
    )


@pytest.mark.parametrize("name", ALONE)
def test_of_other_parts_only_what_changes_none_of_the_others_goes(name: str) -> None:
    make, goes = ALONE[name]
    model = built(make)
    graph = trace(model, images())
    divided = "wide" if isinstance(model, Features) else "stem"
    found = [group for group in graph.groups if divided in [member.layer for member in group.members]]
    units = sorted(u for g in found for m in g.members if m.layer == divided for p in m.units for u in p)
    channels = model.get_submodule(divided).weight.shape[0]
    assert units == list(range(int(channels) - goes, int(channels)))
    check_selections(make, cuts=4)


@pytest.mark.parametrize("name", [*BY_SHAPE, *ALONE])
def test_any_positions_of_any_groups_can_go(name: str) -> None:
    """Also very different numbers of them, as no scope would choose."""
    model = built(BY_SHAPE[name] if name in BY_SHAPE else ALONE[name][0])
    graph = trace(model, images())
    chance = np.random.default_rng(0)
    for _ in range(10):
        check_cut(
            model,
            graph,
            {
                group.name: chance.permutation(group.size)[: chance.integers(0, group.size)].tolist()
                for group in graph.groups
                if chance.random() < 0.7
            },
        )


@given(st.data())
def test_a_bundle_of_ties_is_the_same_share_of_each_part(data: st.DataObject) -> None:
    shares = data.draw(st.lists(st.integers(1, 3), min_size=2, max_size=4))
    bundles = data.draw(st.integers(1, 6))
    sizes = [share * bundles for share in shares]
    assume(len(set(sizes)) == 1 or max(sizes) - min(sizes) >= len(sizes))  # no `chunk` that comes out uneven
    ends = np.cumsum(sizes).tolist()
    taken = [Taken(end - size, end) for size, end in zip(sizes, ends, strict=True)]
    tensor = parted(np.arange(ends[-1]), taken)
    assert tensor.disjoint
    assert np.concatenate(tensor.parts).tolist() == list(range(ends[-1]))
    for bundle in components(tensor, ends[-1]):
        by_part = [sum(entry in part.tolist() for entry in bundle) for part in tensor.parts]
        assert all(count * sizes[0] == by_part[0] * size for count, size in zip(by_part, sizes, strict=True))


def components(tensor: PartedTensor, size: int) -> list[list[int]]:
    """The sets that the ties connect, by repeated renaming."""
    names = list(range(size))
    for left, right in tensor.ties():
        one, other = names[int(left[0])], names[int(right[0])]
        names = [one if name == other else name for name in names]
    return [[entry for entry in range(size) if names[entry] == name] for name in sorted(set(names))]


def test_parts_that_overlap_or_come_from_elsewhere_and_a_whole_tensor_have_no_ties() -> None:
    assert not list(parted(np.arange(8), [Taken(0, 5), Taken(3, 8)]).ties())
    assert not list(parted(np.arange(8), [Taken(0, 8)]).ties())
    assert not list(parted(np.array([0, 1, 2, -1]), [Taken(0, 2), Taken(2, 4)]).ties())
    (rest,) = parted(np.arange(8), [Taken(2, 8)]).parts[1:]
    assert rest.tolist() == [0, 1]
