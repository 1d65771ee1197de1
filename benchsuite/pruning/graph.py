"""What of a network can be pruned: its layers, coupled groups, what a removal cuts, and what it saves."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from benchsuite.errors import Unsupported
from benchsuite.layers import CoupledGroup, GroupMember, Layer
from benchsuite.metrics.cost import MacCount, count_macs, evaluating
from benchsuite.pruning._dependencies import find_dependencies
from benchsuite.pruning._time_limit import time_limit
from benchsuite.pruning._trial_removal import failing_groups
from benchsuite.pruning._walk import OUTPUT, Dependencies
from benchsuite.pruning.cost_model import AxisCut, CostModel, build_cost_model

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from benchsuite.pruning._atoms import Component
    from benchsuite.pruning._axes import Axis

TRACE_SECONDS = 60.0
_UNITS = ("out", "grouped")
_ALONE = "its units can only go all together"


@dataclass(frozen=True, eq=False)
class Cut:
    """What one axis of a module loses with each position of a coupled group.

    Attributes:
        axis: the module or parameter, and the axis of it.
        entries: (positions, k) the entries of the axis that go with each position.
    """

    axis: Axis
    entries: NDArray[np.int64]


@dataclass(frozen=True)
class Pinned:
    """A layer with units that cannot be removed.

    Attributes:
        layer: the layer's name.
        units: how many of its units stay.
        reason: why.
    """

    layer: str
    units: int
    reason: str

    @property
    def output(self) -> bool:
        """Whether it is the output layer."""
        return self.reason == OUTPUT


@dataclass(frozen=True, eq=False)
class PruningGraph:
    """The prunable parts of a network. It refers to modules by name, so it serves every copy of the network.

    Attributes:
        layers: convolutions and linear layers with units that can go, in the order of the network's modules.
        groups: coupled groups; every removable unit is in exactly one position of one group.
        cuts: by group, every axis that its positions cut, the inputs of reading layers included.
        weight_layers: all convolutions and linear layers that compute, the output layer included.
        cost_model: parameters and MACs as a function of removed positions.
        weight_macs: by layer of `weight_layers`, MACs of one sample per weight.
        pinned: layers with units that cannot go, and why.
    """

    layers: tuple[Layer, ...]
    groups: tuple[CoupledGroup, ...]
    cuts: Mapping[str, tuple[Cut, ...]]
    weight_layers: tuple[Layer, ...]
    cost_model: CostModel
    weight_macs: Mapping[str, int]
    pinned: tuple[Pinned, ...]

    @property
    def units(self) -> int:
        """Units of all prunable layers: what a sparsity under the budget "units" is a fraction of."""
        return sum(layer.units for layer in self.layers)

    def of(self, model: nn.Module) -> PruningGraph:
        """The same graph with its layers taken from another copy of the network."""
        return replace(
            self,
            layers=tuple(_bound(layer, model) for layer in self.layers),
            weight_layers=tuple(_bound(layer, model) for layer in self.weight_layers),
        )

    def without(self, removed: Mapping[str, Sequence[int]], pruned: nn.Module) -> PruningGraph:
        """The graph of what `remove_units` made of the network, without tracing it.

        Groups keep their names, and their positions their order. A group with one position left is pinned.

        Args:
            removed: by group name, the positions that were removed.
            pruned: the pruned network.
        """
        kept = {g.name: np.setdiff1d(np.arange(g.size), list(removed.get(g.name, ()))) for g in self.groups}
        places = _new_places(self, removed)
        groups, cuts = [], {}
        pinned = list(self.pinned)
        for group in self.groups:
            parts = tuple(
                Cut(cut.axis, places[cut.axis][cut.entries[kept[group.name]]])
                for cut in self.cuts[group.name]
            )
            units = {cut.axis.name: cut.entries for cut in parts if cut.axis.side in _UNITS}
            if len(kept[group.name]) == 1:
                pinned.extend(Pinned(name, entries.size, _ALONE) for name, entries in units.items())
                continue
            members = tuple(
                GroupMember(member.layer, tuple(map(tuple, units[member.layer].tolist())))
                for member in group.members
            )
            groups.append(CoupledGroup(group.name, members, len(kept[group.name])))
            cuts[group.name] = parts
        left = {member.layer for group in groups for member in group.members}
        counts = self.cost_model.counts({name: len(positions) for name, positions in removed.items()})
        smaller = replace(
            self,
            layers=tuple(layer for layer in self.layers if layer.name in left),
            groups=tuple(groups),
            cuts=cuts,
            cost_model=self.cost_model.after(counts, tuple(group.name for group in groups)),
            pinned=tuple(pinned),
        )
        return smaller.of(pruned)


def trace(model: nn.Module, example: Tensor, seconds: float = TRACE_SECONDS) -> PruningGraph:
    """Find what can be pruned and prove it on a trial removal; the network is left as it was.

    Each group is tried on a copy with random weights, so that no path is hidden by weights near zero: half of
    its positions are removed, and the network must then compute what the masked one computes and cost what
    the cost model says. Groups that fail are pinned with the reason.

    Args:
        model: the dense network.
        example: an input of any number of samples; the first is used.
        seconds: how long the analysis may take.

    Raises:
        Unsupported: nothing can be pruned, or the analysis took too long; the message says why.
    """
    with time_limit(seconds, "finding the coupled groups"), evaluating(model):
        example = example[:1].detach()
        twin = copy.deepcopy(model)  # in evaluation mode, as the network is now
        for parameter in twin.parameters():
            parameter.requires_grad_(True)
        found = find_dependencies(twin, example.clone())
        counted = count_macs(model, example)
        graph = _assemble(model, counted, found, pinned={})
        reasons = failing_groups(twin, graph, example)
        if reasons:
            graph = _assemble(model, counted, found, reasons)
        if not graph.groups:
            why = "; ".join(sorted({f"{pin.layer}: {pin.reason}" for pin in graph.pinned})[:3])
            raise Unsupported(f"no layer of this network can be pruned ({why})")
    return graph


def _assemble(
    model: nn.Module, counted: MacCount, found: Dependencies, pinned: Mapping[str, str]
) -> PruningGraph:
    """Sort components into groups, leaving out those named in `pinned`, and describe the result."""
    order = {name: number for number, (name, _) in enumerate(model.named_modules())}
    groups: list[CoupledGroup] = []
    cuts: dict[str, tuple[Cut, ...]] = {}
    stay: dict[tuple[str, str], int] = {}
    names: set[str] = set()
    for components in _alike(found.components, order):
        axes = [axis for axis in components[0].entries if axis.side in _UNITS]
        axes.sort(key=lambda axis: order[axis.name])
        name = _unique(axes[0].name, names)
        reason = components[0].pinned or pinned.get(name)
        if len(components) == 1 and reason is None:
            reason = _ALONE
        if reason is not None:
            for axis in axes:
                count = sum(len(component.entries[axis]) for component in components)
                stay[axis.name, reason] = stay.get((axis.name, reason), 0) + count
            continue
        members = tuple(GroupMember(axis.name, tuple(c.entries[axis] for c in components)) for axis in axes)
        groups.append(CoupledGroup(name, members, len(components)))
        cuts[name] = tuple(
            Cut(axis, np.array([c.entries[axis] for c in components], np.int64))
            for axis in components[0].entries
        )
    prunable = {member.layer for group in groups for member in group.members}
    weight_layers = _weight_layers(model, counted, found.norms)
    return PruningGraph(
        layers=tuple(layer for layer in weight_layers if layer.name in prunable),
        groups=tuple(groups),
        cuts=cuts,
        weight_layers=weight_layers,
        cost_model=build_cost_model(
            model, counted, tuple(group.name for group in groups), _axis_cuts(cuts, found.sizes)
        ),
        weight_macs={
            layer.name: counted.of_module[layer.name] // layer.weight.numel() for layer in weight_layers
        },
        pinned=tuple(Pinned(layer, units, reason) for (layer, reason), units in stay.items()),
    )


def _alike(components: list[Component], order: Mapping[str, int]) -> list[list[Component]]:
    """Components with units in order, together where they cut the same axes by as many entries."""
    sorts: dict[tuple[object, str | None], list[Component]] = {}
    for component in components:
        if any(axis.side in _UNITS for axis in component.entries):
            shape = frozenset((axis, len(entries)) for axis, entries in component.entries.items())
            sorts.setdefault((shape, component.pinned), []).append(component)

    def place(alike: list[Component]) -> tuple[int, tuple[int, ...]]:
        return min((order[a.name], e) for a, e in alike[0].entries.items() if a.side in _UNITS)

    return sorted(sorts.values(), key=place)


def _unique(name: str, taken: set[str]) -> str:
    """The name, numbered where a layer's units are spread over several groups."""
    candidate, number = name, 1
    while candidate in taken:
        number += 1
        candidate = f"{name}#{number}"
    taken.add(candidate)
    return candidate


def _axis_cuts(cuts: Mapping[str, tuple[Cut, ...]], sizes: Mapping[Axis, int]) -> list[AxisCut]:
    taken: dict[Axis, dict[str, int]] = {}
    for group, parts in cuts.items():
        for part in parts:
            taken.setdefault(part.axis, {})[group] = part.entries.shape[1]
    return [AxisCut(axis.name, axis.side, sizes[axis], per) for axis, per in taken.items()]


def _weight_layers(model: nn.Module, counted: MacCount, norms: Mapping[str, str]) -> tuple[Layer, ...]:
    layers = []
    for name, module in model.named_modules():
        conv = isinstance(module, nn.modules.conv._ConvNd) and not module.transposed
        if (conv or isinstance(module, nn.Linear)) and counted.of_module.get(name, 0):
            norm = norms.get(name)
            layers.append(
                Layer(
                    name,
                    "conv" if conv else "linear",
                    module,
                    model.get_submodule(norm) if norm else None,
                    norm,
                )
            )
    return tuple(layers)


def _new_places(graph: PruningGraph, removed: Mapping[str, Sequence[int]]) -> dict[Axis, NDArray[np.int64]]:
    """By axis, the place that each old entry has after a removal."""
    sizes: dict[Axis, int] = {}
    gone: dict[Axis, list[NDArray[np.int64]]] = {}
    for name, parts in graph.cuts.items():
        for cut in parts:
            sizes[cut.axis] = max(sizes.get(cut.axis, 0), int(cut.entries.max()) + 1)
            gone.setdefault(cut.axis, []).append(cut.entries[list(removed.get(name, ()))].ravel())
    places = {}
    for axis, size in sizes.items():
        stays = np.ones(size, np.int64)
        stays[np.concatenate(gone[axis])] = 0
        places[axis] = np.cumsum(stays) - 1
    return places


def _bound(layer: Layer, model: nn.Module) -> Layer:
    norm = None if layer.norm_name is None else model.get_submodule(layer.norm_name)
    return replace(layer, module=model.get_submodule(layer.name), norm=norm)
