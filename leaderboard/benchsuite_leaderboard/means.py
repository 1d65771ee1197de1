"""Means of a board's values with intervals, which for accuracies stay between chance and what is possible."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from benchsuite_leaderboard.board import ACCURACIES, Block, Board, Criterion, Workload
from benchsuite_leaderboard.statistics.intervals import (
    Estimate,
    Limits,
    accuracy_interval,
    mean_interval,
    usual_shares,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchsuite_leaderboard.protocol import Sparsity

_NEAR_CHANCE = 0.05
"""An accuracy is at chance up to this share of the way from chance to the dense network's accuracy."""


@dataclass(frozen=True)
class Means:
    """What is known of a metric's values beside themselves, for the intervals of their means.

    Attributes:
        board: whose values they are.
        metric: their name.
        workloads: those that can have the metric.
        values: one per criterion and block.
    """

    board: Board
    metric: str
    workloads: tuple[Workload, ...]
    values: Mapping[Criterion, Mapping[Block, float]]

    def estimate(
        self,
        criterion: Criterion,
        strata: Sequence[Sequence[float]],
        workloads: Sequence[Workload],
        sparsity: Sparsity,
    ) -> Estimate | None:
        """Mean and interval of a criterion's values at one sparsity, given by workload."""
        if self.metric not in ACCURACIES:
            return mean_interval(strata)
        known: list[Limits | None] = []
        for pair in workloads:
            limits = self.limits.get(pair)
            shares = self._shares.get((pair, sparsity, criterion.wrapper is not None))
            known.append(None if limits is None else replace(limits, recovered=shares))
        return accuracy_interval(strata, known)

    @cached_property
    def limits(self) -> dict[Workload, Limits]:
        """What is known of the accuracies of each workload whose number of classes is known."""
        found = {}
        for pair in self.workloads if self.metric in ACCURACIES else ():
            chance = self.board.chances.get(pair)
            dense = self.board.dense_accuracy(pair).values()
            if chance is not None and dense:
                top = math.fsum(dense) / len(dense)
                found[pair] = Limits(chance, chance + _NEAR_CHANCE * max(0.0, top - chance), top)
        return found

    @cached_property
    def _shares(self) -> dict[tuple[Workload, Sparsity, bool], tuple[float, float] | None]:
        """How the shares of recovered networks vary, without and with the controls made of criteria.

        A control that is meant to fail, such as `reversed`, says nothing of the criteria's shares.
        """
        counts: dict[tuple[Workload, Sparsity, bool], dict[Criterion, tuple[int, int]]] = defaultdict(dict)
        for criterion, values in self.values.items():
            for block, value in values.items():
                pair = block.dense_model.workload
                if pair not in self.limits:
                    continue
                for wrapped in (True,) if criterion.wrapper else (False, True):
                    column = counts[pair, block.sparsity, wrapped]
                    recovered, networks = column.get(criterion, (0, 0))
                    column[criterion] = (recovered + (value > self.limits[pair].near), networks + 1)
        return {place: usual_shares(list(column.values())) for place, column in counts.items()}
