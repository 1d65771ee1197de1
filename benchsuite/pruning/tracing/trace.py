"""Finds the coupled groups of a network and verifies them by removal."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from benchsuite.contracts.layers import CoupledGroup, GroupMember, Layer
from benchsuite.contracts.recurrent import RecurrentLayer
from benchsuite.metrics.cost import MacCount, count_macs, evaluating
from benchsuite.pruning.axes import is_prunable
from benchsuite.pruning.cost_model import AxisCut, build_cost_model
from benchsuite.pruning.graph import (
    ALONE,
    BESIDE_UNSAMPLED,
    UNITS,
    UNREACHED,
    UNSAMPLED,
    Cut,
    Pinned,
    PruningGraph,
    members_of,
    readers_of,
)
from benchsuite.pruning.tracing.dependency_walk import find_dependencies
from benchsuite.pruning.tracing.left_out import left_out
from benchsuite.pruning.tracing.proof import failing_groups, undivided
from benchsuite.pruning.tracing.time_limit import time_limit
from benchsuite.pruning.tracing.twin import check_output, twin_of
from benchsuite.pruning.tracing.unsampled import unsampled_layers

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from benchsuite.contracts.inputs import Inputs
    from benchsuite.contracts.layers import LayerKind
    from benchsuite.pruning.axes import Axis
    from benchsuite.pruning.tracing.couplings import Component
    from benchsuite.pruning.tracing.dependency_walk import Dependencies


TRACE_SECONDS = 60.0
"""Processor time that the analysis may take."""
_TASK = "finding the coupled groups"
_ADVICE = "smaller inputs or a smaller variant of the model take less"


def trace(model: nn.Module, example: Inputs, seconds: float = TRACE_SECONDS) -> PruningGraph:
    """Find what can be pruned and verify it by a trial removal; the network is not changed.

    Each group is tried on a copy with random weights, so that no path is hidden by weights near zero: a part
    of its positions is removed, and the network must then compute what the masked one computes and cost what
    the cost model says. Groups that fail are pinned with the reason.

    Args:
        model: the dense network.
        example: an input of any number of samples; the first is used. Of inputs by name another one that
            differs is used too, to see which layers compute from samples.
        seconds: how much processor time the analysis may take; no outcome depends on the clock.

    Returns:
        The graph, without groups where no unit can be removed; single weights may still be pruned then.

    Raises:
        Unsupported: the network cannot be analysed, or not in time; the message says why.
    """
    with time_limit(seconds, _TASK, _ADVICE), evaluating(model):
        return _traced(model, example)


def _traced(model: nn.Module, example: Inputs) -> PruningGraph:
    analysed = twin_of(model)
    samples, example = example, example[:1].detach()
    check_output(analysed, example)
    unsampled = unsampled_layers(analysed, samples.detach())
    found = find_dependencies(analysed, example.clone())
    del analysed  # a network can be large
    assemble = partial(_assemble, model, count_macs(model, example), found, unsampled)
    graph, parted = assemble((), pinned={})
    apart = undivided(twin_of(model), graph, parted, example)
    graph, parted = assemble(apart, pinned={}) if apart else (graph, parted)
    reasons = failing_groups(twin_of(model), graph, parted, example)
    # Where equal parts run but compute something else, some of them may still go alone.
    if more := frozenset(tensor for name in reasons for tensor in parted[name]) - apart:
        apart |= more
        graph, parted = assemble(apart, pinned={})
        reasons = failing_groups(twin_of(model), graph, parted, example)
    if reasons:
        graph, _ = assemble(apart, pinned=reasons)
    return graph


def _assemble(
    model: nn.Module,
    counted: MacCount,
    found: Dependencies,
    unsampled: frozenset[str],
    apart: Collection[int],
    pinned: Mapping[str, str],
) -> tuple[PruningGraph, dict[str, frozenset[int]]]:
    """Sort components into groups, leaving out those named in `pinned`, and describe the result.

    With it, by group, the tensors of which it has a part.
    """
    order = {name: number for number, (name, _) in enumerate(model.named_modules())}
    used = _used_layers(model, counted, found.norms)
    uses: dict[int, list[Layer]] = {}
    for layer in used:
        uses.setdefault(id(layer.module.weight), []).append(layer)
    shared = {layer.name: layers[0].name for layers in uses.values() for layer in layers[1:]}
    groups: list[CoupledGroup] = []
    cuts: dict[str, tuple[Cut, ...]] = {}
    stay: dict[tuple[str, str], int] = {}
    names: set[str] = set()
    parted: dict[str, frozenset[int]] = {}
    for components in _alike(found.couplings.components(apart), order):
        units = [axis for axis in components[0].entries if axis.side in UNITS]
        scored = [axis for axis in units if axis.name not in unsampled]
        # Where the first of the layers that share a weight is not reached, another one stands for it.
        axes = [axis for axis in scored if axis.name not in shared] or scored or units
        axes.sort(key=lambda axis: order[axis.name])
        name = _unique(axes[0].name, names)
        reason = components[0].pinned or pinned.get(name)
        if reason is None and not _scorable(components[0], unsampled, shared):
            reason = UNSAMPLED
        if len(components) == 1 and reason is None:
            reason = ALONE
        if reason is not None:
            for axis in axes:
                why = BESIDE_UNSAMPLED if reason == UNSAMPLED and axis.name not in unsampled else reason
                count = sum(len(component.entries[axis]) for component in components)
                stay[axis.name, why] = stay.get((axis.name, why), 0) + count
            continue
        members = tuple(GroupMember(axis.name, tuple(c.entries[axis] for c in components)) for axis in axes)
        cuts[name] = tuple(
            Cut(axis, np.array([c.entries[axis] for c in components], np.int64))
            for axis in components[0].entries
        )
        unscored = members_of(cuts[name], unsampled)
        groups.append(CoupledGroup(name, members, len(components), readers_of(cuts[name]), unscored))
        parted[name] = frozenset(tensor for tensor, _ in components[0].parts)
    prunable = {member.layer for group in groups for member in group.members}
    told = prunable | {layer for layer, _ in stay} | {*shared} | unsampled
    stay |= {(layer.name, UNREACHED): layer.units for layer in used if layer.name not in told}
    graph = PruningGraph(
        layers=tuple(layer for layer in used if layer.name in prunable),
        groups=tuple(groups),
        cuts=cuts,
        weight_layers=tuple(layers[0] for layers in uses.values()),
        cost_model=build_cost_model(
            model, counted, tuple(group.name for group in groups), _axis_cuts(cuts, found.sizes)
        ),
        weight_macs={
            layers[0].name: sum(counted.of_module[layer.name] for layer in layers) // layers[0].weight.numel()
            for layers in uses.values()
        },
        pinned=tuple(Pinned(layer, units, reason) for (layer, reason), units in stay.items()),
        left_out=left_out(model, {layer.name for layer in used}),
        shared=shared,
        unsampled=unsampled,
    )
    return graph, parted


def _scorable(component: Component, unsampled: frozenset[str], shared: Mapping[str, str]) -> bool:
    """Whether a layer that computes from samples makes the units, and no other layer reads them."""
    units = {axis.name for axis in component.entries if axis.side in UNITS}
    if any(axis.side == "in" and axis.name in unsampled for axis in component.entries):
        return False
    return any(shared.get(name, name) not in unsampled for name in units)


def _alike(components: list[Component], order: Mapping[str, int]) -> list[list[Component]]:
    """Components with units, in order, grouped if they cut the same number of entries from the same axes.

    Those of different parts of a tensor are never in one group, from which any position may be removed.
    """
    sorts: dict[tuple[object, ...], list[Component]] = {}
    for component in components:
        if any(axis.side in UNITS for axis in component.entries):
            shape = frozenset((axis, len(entries)) for axis, entries in component.entries.items())
            sorts.setdefault((shape, component.parts, component.pinned), []).append(component)

    def place(alike: list[Component]) -> tuple[int, tuple[int, ...]]:
        return min((order[a.name], e) for a, e in alike[0].entries.items() if a.side in UNITS)

    return sorted(sorts.values(), key=place)


def _unique(name: str, taken: set[str]) -> str:
    """The name, with a number if a layer's units are in several groups."""
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


def _used_layers(model: nn.Module, counted: MacCount, norms: Mapping[str, str]) -> tuple[Layer, ...]:
    layers = []
    for name, module in model.named_modules():
        if is_prunable(module) and counted.of_module.get(name, 0):
            norm = norms.get(name)
            layers.append(
                Layer(
                    name,
                    _kind(module),
                    module,
                    model.get_submodule(norm) if norm else None,
                    norm,
                )
            )
    return tuple(layers)


def _kind(module: nn.Module) -> LayerKind:
    if isinstance(module, RecurrentLayer):
        return "recurrent"
    return "linear" if isinstance(module, nn.Linear) else "conv"
