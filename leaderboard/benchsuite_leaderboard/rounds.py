"""What networks came to after each round of a schedule: points of the same trials."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING

from benchsuite.pruning.recorded_rounds import recorded_rounds
from benchsuite_leaderboard.standings import Cell, Table
from benchsuite_leaderboard.statistics.intervals import mean_interval

if TYPE_CHECKING:
    from benchsuite_leaderboard.board import Board, BoardTrial, Criterion, DenseModel, Workload

_MOST = 1000
"""Rounds that are drawn of a trial."""


def after_each_round(board: Board, workload: Workload, metric: str) -> Table | None:
    """A metric after each round of the trials with the most rounds; None without any.

    They are those at the highest sparsity for which some trial has rounds, so that a line is of the same
    networks from its first dot to its last, which no other trial is mixed into.

    Args:
        board: the trials.
        workload: of which data set and model.
        metric: its name.
    """
    trials = [
        trial for trial in board.by_workload[workload] if trial.status == "done" and trial.record.rounds
    ]
    amounts = [trial.block.sparsity for trial in trials if not isinstance(trial.block.sparsity, str)]
    if not amounts:
        return None
    deepest = [trial for trial in trials if trial.block.sparsity == max(amounts)]
    targets = next(filter(None, (recorded_rounds(trial.record) for trial in deepest)), [])[:_MOST]
    values: dict[Criterion, list[dict[DenseModel, list[float]]]] = {}
    for trial in deepest:
        if recorded_rounds(trial.record)[:_MOST] != targets or len(trial.record.rounds) < len(targets):
            continue
        rounds = values.setdefault(trial.criterion, [defaultdict(list) for _ in targets])
        for found, value in zip(rounds, _values(trial, metric), strict=False):
            if value is not None:
                found[trial.block.dense_model].append(value)
    expected = len({trial.block.dense_model for trial in deepest})
    rows = {
        criterion: tuple(_cell(found, expected) for found in values[criterion])
        for criterion in board.criteria
        if criterion in values
    }
    if len(targets) < 2 or not any(cell.estimate for cells in rows.values() for cell in cells):
        return None
    return Table(workload, tuple(targets), rows, (None,) * len(targets), (1,) * len(targets), 1)


def _values(trial: BoardTrial, metric: str) -> list[float | None]:
    return [trial.of_metrics(metrics, metric) for metrics in trial.record.rounds]


def _cell(values: dict[DenseModel, list[float]], expected: int) -> Cell:
    """The mean over dense networks of the means over draws."""
    means = [math.fsum(found) / len(found) for found in values.values()]
    return Cell(mean_interval([means]) if means else None, expected, {})
