"""The order in which the positions of coupled groups are removed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from benchsuite.pruning.graph import PruningGraph
    from benchsuite.pruning.nearest_choice import Floats
    from benchsuite.pruning.settings import PruningSettings

Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class RemovalOrder:
    """Positions in their order of removal, as arrays of the same length."""

    groups: Integers
    positions: Integers
    scores: Floats
    keys: Floats
    per_group: bool
    """Whether each group has its own cut, rather than one cut for all."""

    def at(self, index: Integers | slice | NDArray[np.bool_]) -> RemovalOrder:
        """Some of the positions."""
        return RemovalOrder(
            self.groups[index], self.positions[index], self.scores[index], self.keys[index], self.per_group
        )

    def take(self, count: int) -> RemovalOrder:
        """The first positions."""
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


def removal_order(
    graph: PruningGraph, scores: Mapping[str, Tensor], settings: PruningSettings, seed: int
) -> RemovalOrder:
    """All positions that the scope lets go, in its order (see `select_units`); a seed orders equal keys."""
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
    return RemovalOrder(
        np.concatenate(groups)[order],
        np.concatenate(positions)[order],
        np.concatenate(values)[order],
        key[order],
        per_group=settings.scope == "layer",
    )
