"""Choosing which coupled units to remove, so that a target for a budget is met."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from benchsuite.errors import Collapsed, Unsupported
from benchsuite.pruning.nearest_choice import Floats, nearest_choice
from benchsuite.pruning.removal_order import Integers, removal_order

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from benchsuite.contracts.layers import CoupledGroup
    from benchsuite.pruning.graph import PruningGraph
    from benchsuite.pruning.removal_order import RemovalOrder
    from benchsuite.pruning.settings import PruningSettings


@dataclass(frozen=True)
class UnitSelection:
    """Which positions of the coupled groups are removed, and what the network then costs.

    Attributes:
        removed: by group name, the removed positions in ascending order; groups that lose none are absent.
        ties: number of positions with the score at the cut (with the scope "protected" also at the floor of a
            group), if the cut falls among equal scores; the seeded order decides which of them are removed.
        units_removed: removed fraction of the units of all prunable layers.
        params: parameters of the pruned network, predicted.
        macs: multiply-accumulates of one sample of the pruned network, predicted.
        params_removed: removed fraction of the network's parameters.
        macs_removed: removed fraction of the network's multiply-accumulates.
    """

    removed: dict[str, tuple[int, ...]]
    ties: int
    units_removed: float
    params: int
    macs: int
    params_removed: float
    macs_removed: float


def select_units(
    graph: PruningGraph,
    scores: Mapping[str, Tensor],
    settings: PruningSettings,
    sparsity: float,
    seed: int,
) -> UnitSelection:
    """Choose the positions to remove so that the removed share of the budget is nearest to the target.

    All scopes order the positions and remove the beginning of that order: "layer" orders by the fraction of
    its group that would be removed, "global" by score, "protected" by score without the best positions of
    each group. Equal keys are in a random order given by the seed. With "layer" many groups reach the same
    fraction at once: of those at the cut the ones are removed that bring the budget nearest to the target,
    which depends on the seed alone and not on the scores (see `nearest_choice`).

    Args:
        graph: the network's pruning graph.
        scores: by group name, one score per position (see `group_scores`).
        settings: scope, budget and floor.
        sparsity: fraction of the budget to remove, in [0, 1).
        seed: decides the order of equal scores.

    Raises:
        Collapsed: the selection would remove every unit of a layer.
        Unsupported: the scope cannot reach the sparsity; the message says the largest possible one.
    """
    order = removal_order(graph, scores, settings, seed)
    budget = _Budget(graph, settings.budget)
    count = _prefix(graph, order, budget, settings, sparsity)
    if order.per_group and sparsity > 0:
        order, count = _nearest_of_equals(order, count, budget, sparsity)
    chosen = order.take(count)
    _refuse_empty_layers(graph, chosen, settings)
    removed = {
        group.name: tuple(sorted(chosen.positions[chosen.groups == number].tolist()))
        for number, group in enumerate(graph.groups)
    }
    ties = order.ties(count)
    if settings.scope == "protected":
        ties = _protected_ties(graph, scores, removed, order, count)
    return selection_of(graph, {name: positions for name, positions in removed.items() if positions}, ties)


def _protected_ties(
    graph: PruningGraph,
    scores: Mapping[str, Tensor],
    removed: Mapping[str, Sequence[int]],
    order: RemovalOrder,
    count: int,
) -> int:
    """Number of positions whose fate the seeded order decided: at the cut, and at the floor of each group."""
    falls_among_equals = 0 < count < len(order.scores) and order.scores[count - 1] == order.scores[count]
    cut = order.scores[count] if falls_among_equals else math.nan
    total = 0
    for number, group in enumerate(graph.groups):
        of_group = scores[group.name].detach().double().cpu().numpy()
        gone, above_floor = np.zeros((2, group.size), bool)
        gone[list(removed[group.name])] = True
        above_floor[order.positions[order.groups == number]] = True
        at_floor = np.isin(of_group, np.intersect1d(of_group[gone], of_group[~gone]))
        # Which of equal positions the floor keeps, the seed decides too.
        at_cut = of_group == cut
        total += int((at_floor | (at_cut & bool((above_floor & at_cut).any()))).sum())
    return total


class _Budget:
    """The fraction of a budget that is removed with some positions of each group."""

    def __init__(self, graph: PruningGraph, budget: str) -> None:
        self._model = graph.cost_model
        self._budget = budget
        self._units = graph.units
        self._per_position = np.array([units_per_position(group) for group in graph.groups], np.int64)
        self._dense = self._model.cost(np.zeros(len(graph.groups), np.int64))
        self.groups = len(graph.groups)

    def gone(self, removed: Integers) -> float:
        """The fraction for `removed[g]` positions of each group."""
        return float(self.gone_of_each(removed[:, None])[0])

    def gone_of_each(self, removed: Integers) -> Floats:
        """The fraction for each column of `removed`, (groups, n)."""
        if self._budget == "units":
            fractions: Floats = (self._per_position @ removed) / self._units
            return fractions
        params, macs = self._model.costs(removed)
        return 1 - (params / self._dense[0] if self._budget == "params" else macs / self._dense[1])


def units_per_position(group: CoupledGroup) -> int:
    """How many units are removed with one position of a group."""
    return sum(len(member.units[0]) for member in group.members)


def _prefix(
    graph: PruningGraph, order: RemovalOrder, budget: _Budget, settings: PruningSettings, sparsity: float
) -> int:
    """How many positions to remove; the removed amount grows with each, so bisection finds the number."""
    number = len(graph.groups)

    def gone(count: int) -> float:
        return budget.gone(np.bincount(order.groups[:count], minlength=number).astype(np.int64))

    if sparsity <= 0:
        return 0
    low, high = 0, len(order.groups)
    if gone(high) < sparsity:
        # The target counts as met if it is missed by at most half of what the last position removes.
        step = gone(high) - gone(high - 1) if high else 0.0
        if sparsity - gone(high) > step / 2:
            floor = f", which keeps {settings.floor:g} of each group" if settings.scope == "protected" else ""
            raise Unsupported(
                f"the scope {settings.scope}{floor}, can remove at most {gone(high):.1%} of the "
                f"{settings.budget}, not {sparsity:.1%}{graph.what_stays()}"
            )
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if gone(middle) < sparsity:
            low = middle
        else:
            high = middle
    return low if sparsity - gone(low) <= gone(high) - sparsity else high


def _nearest_of_equals(
    order: RemovalOrder, count: int, budget: _Budget, sparsity: float
) -> tuple[RemovalOrder, int]:
    """Reorder the positions with the key at the cut so that the nearest choice of them comes first."""
    number = budget.groups

    def counted(end: int) -> Integers:
        return np.bincount(order.groups[:end], minlength=number).astype(np.int64)

    # The target lies between what is removed without the last position and what is removed with the next.
    at = count if budget.gone(counted(count)) < sparsity else count - 1
    at = max(at, int(np.isneginf(order.keys).sum()))  # what earlier cuts removed is no choice
    if at >= len(order.keys):
        return order, count
    start, end = (int(np.searchsorted(order.keys, order.keys[at], side)) for side in ("left", "right"))
    base, equals = counted(start), order.groups[start:end]

    def distance(choices: NDArray[np.bool_]) -> Floats:
        removed = np.repeat(base[:, None], len(choices), axis=1)
        np.add.at(removed, equals, choices.T)
        return np.abs(budget.gone_of_each(removed) - sparsity)

    chosen = nearest_choice(np.arange(start, end) < count, distance)
    block = np.arange(start, end)
    index = np.concatenate([np.arange(start), block[chosen], block[~chosen], np.arange(end, len(order.keys))])
    return order.at(index), start + int(chosen.sum())


def _refuse_empty_layers(graph: PruningGraph, chosen: RemovalOrder, settings: PruningSettings) -> None:
    left = {layer.name: layer.units for layer in graph.layers}
    removed = np.bincount(chosen.groups, minlength=len(graph.groups))
    for group, count in zip(graph.groups, removed.tolist(), strict=True):
        for member in group.members:
            left[member.layer] -= len(member.units[0]) * count
    empty = [name for name, units in left.items() if units == 0]
    if empty:
        shown = ", ".join(empty[:5]) + (f" and {len(empty) - 5} more" if len(empty) > 5 else "")
        raise Collapsed(f"the scope {settings.scope} would take every unit of {shown}")


def selection_of(graph: PruningGraph, removed: dict[str, tuple[int, ...]], ties: int = 0) -> UnitSelection:
    """The selection for a removal, given as the removed positions by group name, in ascending order."""
    counts = graph.cost_model.counts({name: len(positions) for name, positions in removed.items()})
    per_position = np.array([units_per_position(group) for group in graph.groups], np.int64)
    params, macs = graph.cost_model.cost(counts)
    dense_params, dense_macs = graph.cost_model.cost(np.zeros_like(counts))
    return UnitSelection(
        removed=removed,
        ties=ties,
        units_removed=int(per_position @ counts) / graph.units,
        params=params,
        macs=macs,
        params_removed=1 - params / dense_params,
        macs_removed=1 - macs / dense_macs,
    )
