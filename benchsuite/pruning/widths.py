"""Choosing which units go where a suite says how many units each layer keeps."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from benchsuite.errors import Unsupported, UsageError, suggestion
from benchsuite.pruning.removal_order import removal_order
from benchsuite.pruning.selection import selection_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from torch import Tensor

    from benchsuite.contracts.layers import CoupledGroup
    from benchsuite.pruning.graph import PruningGraph
    from benchsuite.pruning.selection import UnitSelection
    from benchsuite.pruning.settings import PruningSettings


def select_widths(
    graph: PruningGraph,
    scores: Mapping[str, Tensor],
    settings: PruningSettings,
    widths: Mapping[str, int],
    seed: int,
) -> UnitSelection:
    """Choose the positions to remove so that each named layer keeps its best units, so many of them.

    What is coupled with a named layer loses the same positions; all other layers stay whole. Where several
    groups cut one layer, their positions are ranked together.

    Args:
        graph: the network's pruning graph.
        scores: by group name, one score per position (see `group_scores`).
        settings: scope and floor decide nothing here.
        widths: by layer name, how many units it keeps.
        seed: decides the order of equal scores.

    Raises:
        UsageError: the network has no layer of a name, or a layer has fewer units than it is to keep.
        Unsupported: a layer cannot have exactly the width; the message says why.
    """
    order = removal_order(graph, scores, replace(settings, scope="global"), seed)
    missing = missing_units(graph, widths)
    groups_of = {layer: [g for g in graph.groups if layer in _units_of(g)] for layer in missing}
    counts: dict[str, int] = {}
    # Layers that one group cuts leave no choice; those of several groups choose among the groups left.
    for layer in sorted(missing, key=lambda name: len(groups_of[name])):
        left = missing[layer] - _lost(graph, layer, counts)
        free = [group for group in groups_of[layer] if group.name not in counts]
        ranks = {
            group.name: np.flatnonzero(order.groups == number)[: group.size - 1]
            for number, group in enumerate(graph.groups)
            if group in free
        }
        counts |= _counts(ranks, {group.name: _units_of(group)[layer] for group in free}, left)
    for layer, units in missing.items():
        if _lost(graph, layer, counts) != units:
            raise Unsupported(_why_not(graph, layer, widths, groups_of[layer]))
    removed, ties = {}, 0
    for number, group in enumerate(graph.groups):
        if count := counts.get(group.name, 0):
            of_group = order.at(order.groups == number)
            removed[group.name] = tuple(sorted(of_group.positions[:count].tolist()))
            ties += of_group.ties(count)
    return selection_of(graph, removed, ties)


def _counts(ranks: Mapping[str, NDArray[np.int64]], units: Mapping[str, int], wanted: int) -> dict[str, int]:
    """By group, how many positions go so that a layer loses so many units: the first ones in the order.

    Where these do not make up the number, since the groups have different numbers of units a position, those
    whose ranks have the smallest sum. If none makes it up, what the first ones make.

    Args:
        ranks: by group, the places of its positions in the order of removal, of as many as may go.
        units: by group, how many units go with a position.
        wanted: how many units are to go.
    """
    found, left = dict.fromkeys(ranks, 0), wanted
    for _, name in sorted((rank, name) for name, places in ranks.items() for rank in places.tolist()):
        if units[name] <= left:
            left -= units[name]
            found[name] += 1
    if left <= 0 or len({*units.values()}) == 1:
        return found
    cost = np.full(wanted + 1, np.inf)
    cost[0] = 0
    chosen: list[tuple[str, NDArray[np.int64]]] = []
    for name, places in ranks.items():
        best, taken = cost.copy(), np.zeros(wanted + 1, np.int64)
        for count, of_all in enumerate(np.cumsum(places).tolist()[: wanted // units[name]], start=1):
            gone = count * units[name]
            better = np.flatnonzero(cost[: wanted + 1 - gone] + of_all < best[gone:]) + gone
            best[better] = cost[better - gone] + of_all
            taken[better] = count
        cost = best
        chosen.append((name, taken))
    if np.isinf(cost[wanted]):
        return found
    left = wanted
    for name, taken in reversed(chosen):
        found[name] = int(taken[left])
        left -= found[name] * units[name]
    return found


def missing_units(graph: PruningGraph, widths: Mapping[str, int]) -> dict[str, int]:
    """By layer, how many of its units go; a layer with the weight of another one counts as that one.

    Args:
        graph: the network's pruning graph.
        widths: by layer name, how many units it keeps.

    Raises:
        UsageError: the network has no layer of a name, or a layer has fewer units than it is to keep.
        Unsupported: a layer cannot lose units; the message says why.
    """
    units = {layer.name: layer.units for layer in graph.weight_layers}
    names = [*units, *graph.shared, *graph.left_out]
    found: dict[str, int] = {}
    for name, width in widths.items():
        if name not in names:
            raise UsageError(
                f"[pruning] widths has {name!r}, which no layer of this network is called"
                f"{suggestion(name, names)}{'; it takes names, no patterns' if '*' in name else ''}"
            )
        first = graph.shared.get(name, name)
        if first in graph.unsampled:
            raise Unsupported(
                f"{name} computes from no sample; its units go with those that they are coupled with"
            )
        if first not in units:
            raise Unsupported(f"{name} cannot lose units: {graph.left_out[first]}")
        if width > units[first]:
            raise UsageError(f"[pruning] widths keeps {width} units of {name}, which has {units[first]}")
        gone = units[first] - width
        if found.setdefault(first, gone) != gone:
            raise Unsupported(
                f"{name} and {first} share their weight: they cannot keep different numbers of units"
            )
    return found


def _units_of(group: CoupledGroup) -> dict[str, int]:
    """By layer, how many of its units go with one position of a group."""
    return {member.layer: len(member.units[0]) for member in group.members}


def _lost(graph: PruningGraph, layer: str, counts: Mapping[str, int]) -> int:
    """How many units a layer loses with so many positions of each group."""
    return sum(
        _units_of(group).get(layer, 0) * counts[group.name] for group in graph.groups if group.name in counts
    )


def _why_not(graph: PruningGraph, layer: str, widths: Mapping[str, int], groups: list[CoupledGroup]) -> str:
    units = next(each.units for each in graph.weight_layers if each.name == layer)
    width = next(width for name, width in widths.items() if graph.shared.get(name, name) == layer)
    said = f"{layer} cannot keep {width} of its {units} units"
    if not groups:
        pins = [pin.reason for pin in graph.pinned if pin.layer == layer]
        return f"{said}: none of them can go{f' ({pins[0]})' if pins else ''}"
    sizes = {_units_of(group)[layer] for group in groups}
    most = sum(_units_of(group)[layer] * (group.size - 1) for group in groups)
    if units - width > most:
        return f"{said}: at least {units - most} stay"
    if len(sizes) == 1 and (units - width) % (size := sizes.pop()):
        return f"{said}: they go {size} at a time"
    if len(groups) > 1 and len(sizes) > 1:
        return f"{said}: they go {' or '.join(map(str, sorted(sizes)))} at a time"
    others = sorted({name for group in groups for name in _units_of(group)} & set(widths) - {layer})
    return f"{said}: it loses the same as {', '.join(others)}, for which widths says something else"
