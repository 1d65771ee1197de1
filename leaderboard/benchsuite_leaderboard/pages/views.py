"""Tables and charts of one board, ready to be written into a page."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from benchsuite_leaderboard.charts.curves import accuracy_curves
from benchsuite_leaderboard.pages.formats import percent, sparsity, workload

if TYPE_CHECKING:
    from benchsuite_leaderboard.cells import Criterion, Workload
    from benchsuite_leaderboard.report import BoardReport
    from benchsuite_leaderboard.standings import Cell, Standings, Table
    from benchsuite_leaderboard.statistics.intervals import Estimate


@dataclass(frozen=True)
class TableRow:
    """One line of a table of criteria, ready to be written."""

    criterion: Criterion
    cells: tuple[Cell, ...]
    place: int | None
    place_interval: tuple[int, int] | None
    mean_rank: float | None
    gain: Estimate | None


@dataclass(frozen=True)
class View:
    """One metric of one workload, or of all of them: a table and, for a workload, its chart."""

    table: Table
    rows: tuple[TableRow, ...]
    chart: Markup | None
    compact_chart: Markup | None
    dense: float | None


def overall_view(report: BoardReport, standings: Standings) -> View:
    """The table over all workloads, in the order of rank."""
    table = standings.table()
    dense = [d for w in report.board.workloads if (d := _dense(report, w)) is not None]
    mean_dense = math.fsum(dense) / len(dense) if len(dense) == len(report.board.workloads) else None
    return View(table, _rows(standings, table, None), None, None, mean_dense)


def workload_view(report: BoardReport, standings: Standings, pair: Workload, *, charts: bool = True) -> View:
    """The table and charts of one workload."""
    table = standings.table(pair)
    dense = _dense(report, pair)
    label = _alternative(table, pair, dense)
    made = [
        accuracy_curves(
            table,
            report.looks,
            dense=dense,
            budget=report.board.protocol.budget,
            label=label,
            compact=compact,
        )
        for compact in (False, True)
        if charts
    ]
    # vl-convert escapes the texts of a chart; the label is escaped where it is put in.
    wide, compact = [Markup(svg) if svg else None for svg in made] or [None, None]  # noqa: S704
    return View(table, _rows(standings, table, pair), wide, compact, dense)


def _dense(report: BoardReport, pair: Workload) -> float | None:
    values = report.board.dense_accuracy(pair).values()
    return math.fsum(values) / len(values) if values else None


def _rows(standings: Standings, table: Table, pair: Workload | None) -> tuple[TableRow, ...]:
    ranking = standings.ranking if pair is None else None
    positions = {criterion: i for i, criterion in enumerate(standings.competitors)} if ranking else {}
    rows = []
    for criterion, cells in table.rows.items():
        i = positions.get(criterion)
        random = standings.random
        gain = None
        if random is not None and criterion != random and criterion in standings.values:
            gain = standings.gain(criterion, random, pair)
        interval = None
        if ranking is not None and i is not None and ranking.place_intervals is not None:
            interval = (int(ranking.place_intervals[i, 0]), int(ranking.place_intervals[i, 1]))
        rows.append(
            TableRow(
                criterion,
                cells,
                None if ranking is None or i is None else int(ranking.places[i]),
                interval,
                None if ranking is None or i is None else float(ranking.mean_ranks[i]),
                gain,
            )
        )
    return tuple(sorted(rows, key=_row_order))


def _row_order(row: TableRow) -> tuple[float, float, str]:
    """By rank where there is one, else by gain or mean; what has no number comes last."""
    means = [c.estimate.mean for c in row.cells if c.estimate is not None]
    mean = math.fsum(means) / len(means) if means else -1.0
    return (math.inf if row.mean_rank is None else row.mean_rank, -mean, row.criterion.label)


def _alternative(table: Table, pair: Workload, dense: float | None) -> str:
    """The chart in a sentence, for who cannot see it."""
    parts = [f"Line chart: test accuracy against sparsity for {workload(pair)}."]
    if dense is not None:
        parts.append(f"The dense network reaches {percent(dense)}%.")
    for column, value in enumerate(table.sparsities):
        best = table.best(column)
        if best is not None and (estimate := table.rows[best][column].estimate):
            parts.append(f"At {sparsity(value)} {best.label} is highest with {percent(estimate.mean)}%.")
    parts.append("The table beside it has every number.")
    return " ".join(parts)
