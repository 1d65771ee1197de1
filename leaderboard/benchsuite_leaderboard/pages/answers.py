"""Which criterion is best for one workload and budget, how sure, how fast, and where is its network."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from benchsuite.store import metric_names
from benchsuite_leaderboard.board import threads_of
from benchsuite_leaderboard.pages.certainty import Certainty, certainty
from benchsuite_leaderboard.pages.views import is_unstable
from benchsuite_leaderboard.protocol import is_shared

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchsuite_leaderboard.board import BoardTrial, Criterion, Workload
    from benchsuite_leaderboard.pages.views import View, Views
    from benchsuite_leaderboard.protocol import Sparsity
    from benchsuite_leaderboard.report import BoardReport
    from benchsuite_leaderboard.standings import Standings
    from benchsuite_leaderboard.statistics.intervals import Estimate
    from benchsuite_leaderboard.verdicts import Verdict


@dataclass(frozen=True)
class Speedup:
    """A measured speedup over the dense network, for one sample.

    Attributes:
        threads: number of CPU threads.
        mean: over the networks.
        low: the lowest end of the networks' 95% intervals; None if one has no interval.
        high: the highest end.
        networks: number of networks that were measured.
        devices: number of different devices that they were measured on.
        is_settled: whether every interval is as narrow as it should be.
    """

    threads: int
    mean: float
    low: float | None
    high: float | None
    networks: int
    devices: int
    is_settled: bool


@dataclass(frozen=True)
class Option:
    """A criterion that has the highest mean, or may be the best too.

    Attributes:
        accuracies: by the short name of each metric of the board, over the criterion's own cells.
        speedups: one for each number of threads that was measured.
        unstable: whether its scores say more of the samples than of the network.
        macs_left: mean share of the dense network's MACs; None if unknown.
        macs_counted: whether every operation of the networks has a formula.
        trials: those whose pruned networks can be taken, one for each seed, in the order of seeds.
    """

    criterion: Criterion
    accuracies: dict[str, Estimate]
    speedups: tuple[Speedup, ...]
    unstable: bool
    macs_left: float | None
    macs_counted: bool
    trials: tuple[BoardTrial, ...]


@dataclass(frozen=True)
class Answer:
    """What is known of one workload, or of all of a board, at one sparsity.

    Attributes:
        verdict: None if no criterion has enough of the cells.
        sure: the verdict's certainty in words; None without a verdict.
        dense: mean accuracy of the dense networks of these workloads.
        part: of how many workloads the means are, in words; empty if of all.
        options: those with the highest mean, then the others that may be the best.
    """

    pair: Workload | None
    sparsity: Sparsity
    verdict: Verdict | None
    sure: Certainty | None
    dense: float | None
    options: tuple[Option, ...]
    part: str = ""

    @cached_property
    def highest(self) -> tuple[Option, ...]:
        """The options with the highest mean: one, or several that are equal."""
        return self.options[: len(self.verdict.highest)] if self.verdict else ()


def answers(
    views: Views, board: BoardReport, standings: Standings, pair: Workload | None
) -> tuple[Answer, ...]:
    """One answer for each sparsity that all criteria had as their target."""
    view = views.overall(board, standings) if pair is None else views.workload(board, standings, pair)
    tables = {
        key: views.overall(board, other) if pair is None else views.workload(board, other, pair)
        for key, _, other in board.metrics
        # A mean over other workloads is another quantity, and would stand beside this one.
        if (other.workloads == standings.workloads if pair is None else pair in other.workloads)
    }
    trials = board.trials_of(pair)
    found = []
    for column, (sparsity, verdict) in enumerate(
        zip(view.table.sparsities, view.table.verdicts, strict=True)
    ):
        if not is_shared(sparsity):
            continue
        chosen = () if verdict is None else (*verdict.highest, *_others(verdict))
        options = tuple(
            _option(board, c, tables, column, trials.get((c, sparsity), ()), pair) for c in chosen
        )
        sure = None if verdict is None else certainty(verdict)
        dense, part = view.dense_at[column], view.table.part(column)
        found.append(Answer(pair, sparsity, verdict, sure, dense, options, part))
    return tuple(found)


def _others(verdict: Verdict) -> Sequence[Criterion]:
    return [c for c in verdict.may_be_best or () if c not in verdict.highest]


def _option(
    board: BoardReport,
    criterion: Criterion,
    tables: dict[str, View],
    column: int,
    trials: Sequence[BoardTrial],
    pair: Workload | None,
) -> Option:
    cells = {key: view.table.rows[criterion][column] for key, view in tables.items()}
    left = [value for trial in trials if (value := trial.remaining("macs")) is not None]
    first: dict[str, BoardTrial] = {}
    for trial in sorted(trials, key=lambda t: (_numeric(t.block.dense_model.seed), _numeric(t.draw))):
        if trial.status == "done":
            first.setdefault(trial.block.dense_model.seed, trial)
    return Option(
        criterion,
        {key: cell.estimate for key, cell in cells.items() if cell.estimate is not None},
        tuple(s for cost in board.board.times if (s := _speedup(trials, threads_of(cost))) is not None),
        is_unstable(board.after, criterion, pair),
        math.fsum(left) / len(left) if left else None,
        not any(trial.metric(metric_names.UNCOUNTED_MODULES) for trial in trials),
        () if pair is None else tuple(first.values()),
    )


def _speedup(trials: Sequence[BoardTrial], threads: int) -> Speedup | None:
    measured = [t for t in trials if t.metric(metric_names.latency(1, threads, "speedup"))]
    if not measured:
        return None

    def values(what: str) -> list[float]:
        found = (t.metric(metric_names.latency(1, threads, what)) for t in measured)
        return [value for value in found if value is not None]

    means, lows, highs = values("speedup"), values("speedup_low"), values("speedup_high")
    is_precise = len(lows) == len(highs) == len(means)
    return Speedup(
        threads,
        math.fsum(means) / len(means),
        min(lows) if is_precise else None,
        max(highs) if is_precise else None,
        len(means),
        len({str(t.record.provenance.get("device")) for t in measured}),
        not any(values("speedup_wide")),
    )


def _numeric(text: str) -> tuple[int, str]:
    """Sorts numbers in texts by their size."""
    return len(text), text
