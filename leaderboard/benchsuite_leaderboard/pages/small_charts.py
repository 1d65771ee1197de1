"""Small charts beside each other: one for each of several metrics against sparsity."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchsuite.store import metric_names
from benchsuite_leaderboard.charts.curves import curves
from benchsuite_leaderboard.charts.lines import Scale
from benchsuite_leaderboard.pages.formats import workload

if TYPE_CHECKING:
    from collections.abc import Iterable

    from markupsafe import Markup

    from benchsuite_leaderboard.board import Criterion, Workload
    from benchsuite_leaderboard.pages.views import Views
    from benchsuite_leaderboard.report import BoardReport
    from benchsuite_leaderboard.standings import Table

INTERPRETABILITY = (
    ("detectors", Scale("detectors: units with a concept", is_share=False)),
    ("detectors_share", Scale("detectors, of all units")),
    ("concepts", Scale("different concepts detected", is_share=False)),
    ("still_interpretable", Scale("of the dense detectors, still detectors")),
    ("same_concept", Scale("of these, with the same concept")),
)
"""The metrics of network dissection for a pruned network: metric and scale."""


@dataclass(frozen=True)
class Drawing:
    """One of several small charts.

    Attributes:
        dense: the dense networks' mean in words; empty if unknown.
    """

    svg: Markup
    title: str
    dense: str


@dataclass(frozen=True)
class Drawings:
    """Small charts, and the criteria in them in the order of their colours."""

    drawings: tuple[Drawing, ...]
    criteria: tuple[Criterion, ...]


def interpretability(views: Views, board: BoardReport, pair: Workload) -> Drawings | None:
    """The dissection metrics against sparsity; None without any."""
    named = ((f"{metric_names.INTERPRETABILITY}{name}", scale) for name, scale in INTERPRETABILITY)
    return small_charts(views, board, pair, named)


@dataclass(frozen=True)
class Drawn:
    """What a small chart shows.

    Attributes:
        table: its cells.
        scale: how the metric is written.
        dense: the dense networks' mean; None if unknown.
        published: see `Views.diamonds`.
    """

    table: Table
    scale: Scale
    dense: float | None
    published: tuple[tuple[Criterion | None, float, float, str], ...] = ()


def small_charts(
    views: Views, board: BoardReport, pair: Workload, metrics: Iterable[tuple[str, Scale]]
) -> Drawings | None:
    """Metrics against sparsity on one workload; None if no cell has any.

    Args:
        views: makes the tables.
        board: the board.
        pair: the workload.
        metrics: names of metrics, and how each is written.
    """
    drawn = (
        Drawn(
            views.means_of(board, pair, metric),
            scale,
            dense_mean(board, pair, f"{metric}_dense"),
            views.diamonds(board, metric, pair),
        )
        for metric, scale in metrics
        if metric in board.board.metrics
    )
    return drawings_of(board, pair, drawn, "against sparsity")


def drawings_of(board: BoardReport, pair: Workload, charts: Iterable[Drawn], over: str) -> Drawings | None:
    """A small chart of each table; None if no cell has a mean.

    Args:
        board: the board.
        pair: the workload.
        charts: what to draw.
        over: what the charts are against, in words.
    """
    drawings: list[Drawing] = []
    drawn: set[Criterion] = set()
    for chart in charts:
        table, scale, dense = chart.table, chart.scale, chart.dense
        svg = curves(
            table,
            board.looks,
            dense=dense,
            budget=board.board.protocol.budget,
            label=f"Line chart: {scale.title} {over} for {workload(pair)}.",
            scale=scale,
            compact=True,
            has_notes=True,
            published=chart.published,
        )
        if svg is not None:
            drawings.append(Drawing(svg, scale.title, "" if dense is None else scale.say(dense)))
            drawn |= {c for c, cells in table.rows.items() if any(cell.estimate for cell in cells)}
    if not drawings:
        return None
    return Drawings(tuple(drawings), tuple(c for c in board.looks if c in drawn))


def dense_mean(board: BoardReport, pair: Workload, metric: str) -> float | None:
    """The mean over the dense networks of a metric that is the same in all trials of a dense network."""
    values = {
        trial.block.dense_model: value
        for trial in board.board.by_workload[pair]
        if (value := trial.metric(metric)) is not None
    }
    return math.fsum(values.values()) / len(values) if values else None
