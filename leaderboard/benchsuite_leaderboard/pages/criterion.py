"""The page of one criterion: its rank, where it wins and loses, its cost, and every trial."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchsuite.store import metric_names
from benchsuite_leaderboard.pages.again import run_again
from benchsuite_leaderboard.pages.environment import environment
from benchsuite_leaderboard.pages.views import UNSTABLE, stability_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchsuite_leaderboard.board import Criterion, Workload
    from benchsuite_leaderboard.pages.views import Views
    from benchsuite_leaderboard.report import BoardReport, Report
    from benchsuite_leaderboard.standings import Cell, Standings
    from benchsuite_leaderboard.statistics.intervals import Estimate
    from benchsuite_leaderboard.trials import TrialFiles


@dataclass(frozen=True)
class Comparison:
    """A criterion against one control.

    Attributes:
        meaning: what beating the control shows.
        gain: by how much it is more accurate, on average over sparsities and workloads.
        wider: the same with an interval for other workloads; None with fewer than five.
    """

    control: Criterion
    meaning: str
    gain: Estimate | None
    wider: Estimate | None


@dataclass(frozen=True)
class WorkloadLine:
    """A criterion on one workload: its cells, each with its place among those compared, and their number."""

    pair: Workload
    cells: tuple[tuple[Cell, int | None, int], ...]


@dataclass(frozen=True)
class Section:
    """A criterion on one board; `trials` is their number on each workload."""

    board: BoardReport
    lines: tuple[WorkloadLine, ...]
    comparisons: tuple[Comparison, ...]
    trials: tuple[tuple[Workload, int], ...]
    score_seconds: float | None
    score_memory: float | None
    stability: float | None


_MEANINGS = {
    "shuffled": "knowledge beyond how much goes from each layer",
    "reversed": "that the order of its scores has the right sign",
    "scratch": "that the kept weights, and not the architecture alone, are worth something",
}


def criterion_page(
    report: Report,
    views: Views,
    criterion: Criterion,
    about: Mapping[str, str],
    of_trials: TrialFiles,
) -> str:
    """The page as HTML, on which a script lists the trials.

    Args:
        report: everything the pages show.
        views: tables and charts.
        criterion: whose page it is.
        about: a sentence that describes each scorer, by its name.
        of_trials: the files that have the trials.
    """
    sections = [
        _section(views, board, criterion) for board in report.boards if criterion in board.board.criteria
    ]
    return (
        environment()
        .get_template("criterion.html.j2")
        .render(
            report=report,
            views=views,
            criterion=criterion,
            sections=sections,
            command=run_again(criterion, report.suites),
            about=_about(criterion, about),
            unstable=UNSTABLE,
            shards=of_trials.shards,
            root="../",
            here="",
        )
    )


def _section(views: Views, board: BoardReport, criterion: Criterion) -> Section:
    standings = board.after
    mine = board.board.by_criterion[criterion]
    pairs = sorted({trial.block.dense_model.workload for trial in mine})
    return Section(
        board,
        tuple(_line(views, board, standings, criterion, pair) for pair in pairs),
        tuple(_comparisons(standings, criterion)),
        tuple(
            (pair, number)
            for pair, number in sorted(Counter(t.block.dense_model.workload for t in mine).items())
        ),
        standings.mean_metric(criterion, metric_names.SCORE_SECONDS),
        standings.mean_metric(criterion, metric_names.SCORE_PEAK_MB),
        stability_of(standings, criterion),
    )


def _line(
    views: Views, board: BoardReport, standings: Standings, criterion: Criterion, pair: Workload
) -> WorkloadLine:
    table = views.workload(board, standings, pair).table
    places = [{} if verdict is None else verdict.places for verdict in table.verdicts]
    cells = zip(table.rows[criterion], places, strict=True)
    return WorkloadLine(pair, tuple((cell, found.get(criterion), len(found)) for cell, found in cells))


def _comparisons(standings: Standings, criterion: Criterion) -> list[Comparison]:
    found = []
    if standings.random is not None and criterion != standings.random:
        found.append((standings.random, "any knowledge at all"))
    for wrapper, meaning in _MEANINGS.items():
        control = standings.control_of(criterion, wrapper)
        if control is not None:
            found.append((control, meaning))
    return [
        Comparison(
            control,
            meaning,
            standings.gain(criterion, control),
            standings.gain_over_workloads(criterion, control),
        )
        for control, meaning in found
    ]


def _about(criterion: Criterion, about: Mapping[str, str]) -> str:
    """The description of the scorer, or of a control's underlying scorer; empty if unknown."""
    label = criterion.inner or criterion.scorer
    # A label is a name, followed by the parameters in round or square brackets if the suite sets any.
    return about.get(label) or about.get(re.split(r"[(\[]", label, maxsplit=1)[0].strip(), "")


def distinct_criteria(report: Report) -> Sequence[Criterion]:
    """Every criterion of a site once, sorted by name."""
    return sorted({c for board in report.boards for c in board.board.criteria}, key=lambda c: c.label)
