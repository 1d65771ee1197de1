"""Choosing which coupled units to remove, so that a target for a budget is met."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchsuite.errors import Collapsed, Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from benchsuite.contracts.layers import CoupledGroup
    from benchsuite.pruning.graph import PruningGraph
    from benchsuite.pruning.settings import Aggregate, Normalise, PruningSettings

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class UnitSelection:
    """Which positions of the coupled groups are removed, and what the network then costs.

    Attributes:
        removed: by group name, the removed positions in ascending order; groups that lose none are absent.
        ties: number of positions with the score at the cut, if the cut falls among equal scores; the seeded
            order decides which of them are removed.
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


def normalised(scores: Tensor, how: Normalise, among: Tensor | None = None) -> Tensor:
    """One layer's scores, float64, divided by the mean or largest absolute value or the Euclidean norm.

    Scores that are all zero stay as they are.

    Args:
        scores: the layer's scores.
        how: by what to divide.
        among: bool, which of the scores that is computed from; by default all.
    """
    scores = scores.detach().double()
    counted = scores if among is None else scores[among.to(scores.device)]
    if how == "none" or counted.numel() == 0:
        return scores
    size = counted.abs()
    scale = {"mean": size.mean(), "max": size.max(), "l2": counted.norm()}[how]
    return scores / torch.where(scale > 0, scale, torch.ones_like(scale))


def group_scores(
    graph: PruningGraph, scores: Mapping[str, Tensor], settings: PruningSettings
) -> dict[str, Tensor]:
    """One score per position of every coupled group, float64 on the CPU, higher is more important.

    Each layer's scores are normalised, by those of its units that can be removed; those of units at the same
    position of a layer are aggregated, then those of the group's layers that have scores.

    Args:
        graph: the network's pruning graph.
        scores: by layer name, one score per unit, shape (units,).
        settings: how to normalise and aggregate.

    Raises:
        Unsupported: no layer of some group has scores.
    """
    units = {layer.name: layer.units for layer in graph.layers}
    for name, given in scores.items():
        if name in units and tuple(given.shape) != (units[name],):
            raise ValueError(f"scores of {name} have shape {tuple(given.shape)}; it has {units[name]} units")
    removable = {name: torch.zeros(count, dtype=torch.bool) for name, count in units.items()}
    for group in graph.groups:
        for member in group.members:
            removable[member.layer][torch.tensor(member.units).flatten()] = True
    scaled = {
        name: normalised(given, settings.normalise, removable[name]).cpu()
        for name, given in scores.items()
        if name in units
    }
    unscored = [group.members[0].layer for group in graph.groups if not _scored(group, scaled)]
    if unscored:
        shown = ", ".join(unscored[:5]) + (" and others" if len(unscored) > 5 else "")
        raise Unsupported(f"the criterion gives no scores for {shown}, nor for any layer coupled to them")
    return {group.name: _position_scores(group, scaled, settings.aggregate) for group in graph.groups}


def _scored(group: CoupledGroup, scores: Mapping[str, Tensor]) -> bool:
    return any(member.layer in scores for member in group.members)


def _position_scores(group: CoupledGroup, scores: Mapping[str, Tensor], how: Aggregate) -> Tensor:
    rows = []
    for member in group.members:
        if member.layer in scores:
            units = torch.tensor(member.units)
            rows.append(_aggregated(scores[member.layer][units], how))
    return _aggregated(torch.stack(rows, dim=1), how)


def _aggregated(values: Tensor, how: Aggregate) -> Tensor:
    """Reduce the second dimension."""
    if how == "mean":
        return values.mean(1)
    return values.sum(1) if how == "sum" else values.amax(1)


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
    order = _ordered(graph, scores, settings, seed)
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
    return selection_of(
        graph, {name: positions for name, positions in removed.items() if positions}, order.ties(count)
    )


@dataclass(frozen=True, eq=False)
class _Order:
    """Positions in their order of removal, as arrays of the same length."""

    groups: Integers
    positions: Integers
    scores: Floats
    keys: Floats
    per_group: bool
    """Whether each group has its own cut, rather than one cut for all."""

    def at(self, index: Integers | slice) -> _Order:
        return _Order(
            self.groups[index], self.positions[index], self.scores[index], self.keys[index], self.per_group
        )

    def take(self, count: int) -> _Order:
        return self.at(slice(count))

    def ties(self, count: int) -> int:
        """Number of positions with the score at the cut, if the cut falls among equal scores."""
        if not self.per_group:
            return _ties(self.scores, count)
        total = 0
        for group in np.unique(self.groups[:count]):
            of_group = self.groups == group
            total += _ties(self.scores[of_group], int(of_group[:count].sum()))
        return total


def _ties(scores: Floats, count: int) -> int:
    if not 0 < count < len(scores) or scores[count - 1] != scores[count]:
        return 0
    return int((scores == scores[count]).sum())


def _ordered(
    graph: PruningGraph, scores: Mapping[str, Tensor], settings: PruningSettings, seed: int
) -> _Order:
    generator = np.random.default_rng(seed)
    groups, positions, values, keys = [], [], [], []
    for number, group in enumerate(graph.groups):
        of_group = scores[group.name].detach().double().cpu().numpy()
        if of_group.shape != (group.size,):
            raise ValueError(f"scores of group {group.name} have shape {of_group.shape}, not ({group.size},)")
        ascending = np.lexsort((generator.random(group.size), of_group))
        if settings.scope == "protected":
            floor = max(1, math.ceil(settings.floor * group.size - 1e-9))
            ascending = ascending[: group.size - floor]
        groups.append(np.full(len(ascending), number, np.int64))
        positions.append(ascending)
        values.append(of_group[ascending])
        fraction = np.arange(1, len(ascending) + 1) / group.size
        # What earlier cuts removed (see `GONE`) goes first in every scope.
        before = np.isneginf(of_group[ascending])
        keys.append(np.where(before, -np.inf, fraction) if settings.scope == "layer" else of_group[ascending])
    key = np.concatenate(keys)
    order = np.lexsort((generator.random(len(key)), key))
    return _Order(
        np.concatenate(groups)[order],
        np.concatenate(positions)[order],
        np.concatenate(values)[order],
        key[order],
        per_group=settings.scope == "layer",
    )


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
    graph: PruningGraph, order: _Order, budget: _Budget, settings: PruningSettings, sparsity: float
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
                f"{settings.budget}, not {sparsity:.1%}"
            )
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if gone(middle) < sparsity:
            low = middle
        else:
            high = middle
    return low if sparsity - gone(low) <= gone(high) - sparsity else high


def _nearest_of_equals(order: _Order, count: int, budget: _Budget, sparsity: float) -> tuple[_Order, int]:
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


_EVERY_CHOICE = 12
"""Of so many, every choice is tried: 4096."""
_EVERY_PAIR = 60
"""Of so many, every change of two is tried: 1830."""


def nearest_choice(
    first: NDArray[np.bool_], distance: Callable[[NDArray[np.bool_]], Floats]
) -> NDArray[np.bool_]:
    """Choose some of n things so that a distance is smallest.

    Up to 12 things every choice is tried. Of more, the choice is improved as long as one that differs from
    it in one or two things is nearer; of more than 60, in one.

    Args:
        first: a choice to begin with, bool (n,).
        distance: gives for choices (m, n) their distances (m,).
    """
    things = len(first)
    if things <= _EVERY_CHOICE:
        every = (np.arange(2**things)[:, None] >> np.arange(things)) & 1 == 1
        nearest_of_all: NDArray[np.bool_] = every[int(distance(every).argmin())]
        return nearest_of_all
    best, nearest = first, float(distance(first[None])[0])
    changes = flips = np.eye(things, dtype=bool)
    if things <= _EVERY_PAIR:
        changes = np.concatenate([flips, *(flips[i] ^ flips[i + 1 :] for i in range(things - 1))])
    while True:
        near = best ^ changes
        distances = distance(near)
        where = int(distances.argmin())
        if not distances[where] < nearest:
            return best
        best, nearest = near[where], float(distances[where])


def _refuse_empty_layers(graph: PruningGraph, chosen: _Order, settings: PruningSettings) -> None:
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
