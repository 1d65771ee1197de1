"""Charts and tables with a parameter or a threshold as their axis."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from benchsuite.store import metric_names
from benchsuite_leaderboard.charts.curves import ACCURACY
from benchsuite_leaderboard.charts.lines import Across, Diamond, Line, Scale, line_chart
from benchsuite_leaderboard.charts.theme import Look, shorten
from benchsuite_leaderboard.pages.formats import described, sparsity, workload
from benchsuite_leaderboard.sweeps import sweeps_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from markupsafe import Markup

    from benchsuite_leaderboard.board import Workload
    from benchsuite_leaderboard.pages.views import Views
    from benchsuite_leaderboard.report import BoardReport
    from benchsuite_leaderboard.standings import Cell, Table
    from benchsuite_leaderboard.sweeps import Place, Sweep, SweptLine

MOST = 24
"""Charts of a page."""
_REMOVED = (
    ("units", "units removed", metric_names.SPARSITY_UNITS),
    ("params", "parameters removed", metric_names.SPARSITY_PARAMS),
    ("macs", "MACs removed", metric_names.SPARSITY_MACS),
)
_RANDOM = Look("var(--ink-3)", (3, 3), 1.5, has_band=False)


@dataclass(frozen=True)
class Panel:
    """One metric of a sweep.

    Attributes:
        key: a short name.
        title: what is on the vertical axis.
        wide: the chart.
        compact: the chart for a phone.
        has_diamonds: whether published values are marked.
        columns: the names of the lines of the table.
        rows: a place on the axis in words, and a cell for each line; None where a line has none there. The
            control random does not depend on a parameter and has a row of its own then.
    """

    key: str
    title: str
    wide: Markup
    compact: Markup
    has_diamonds: bool
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell | None, ...]], ...]


@dataclass(frozen=True)
class SweptCharts:
    """A sweep with its panels, and the looks of its lines."""

    sweep: Sweep
    panels: tuple[Panel, ...]
    looks: tuple[tuple[str, Look], ...]


def swept_charts(
    views: Views, board: BoardReport, pair: Workload
) -> tuple[tuple[SweptCharts, ...], tuple[Sweep, ...]]:
    """The charts of a workload, and the sweeps beyond their number; those without a result are left out."""
    table = views.workload(board, board.after, pair).table
    found = [
        sweep
        for sweep in sweeps_of(board.board, pair)
        if any(
            _cell(table, place).estimate is not None
            for line in sweep.lines
            if not line.is_random
            for place in line.places
        )
    ]
    made = []
    for sweep in found[:MOST]:
        looks = tuple((_name(sweep, line), _look(sweep, line)) for line in sweep.lines)
        panels = []
        for key, title, scale, means, dense, metric in _metrics(views, board, pair):
            published = _published(views, board, pair, sweep, metric)
            panel = _panel(sweep, looks, key, title, scale, means, dense, pair, published)
            if panel is not None:
                panels.append(panel)
        made.append(SweptCharts(sweep, tuple(panels), looks))
    return tuple(made), tuple(found[MOST:])


def _metrics(
    views: Views, board: BoardReport, pair: Workload
) -> Iterator[tuple[str, str, Scale, Table, float | None, str]]:
    """What a chart may show: key, title, scale, means, the dense networks' mean, and the metric."""
    for key, title, standings in board.metrics:
        if pair in standings.workloads:
            view = views.workload(board, standings, pair)
            yield key, f"accuracy {title}", ACCURACY, view.table, view.dense, standings.metric
    for key, title, metric in _REMOVED:
        if metric in board.board.metrics:
            yield key, title, Scale(title), views.means_of(board, pair, metric), None, metric


def _panel(
    sweep: Sweep,
    looks: tuple[tuple[str, Look], ...],
    key: str,
    title: str,
    scale: Scale,
    table: Table,
    dense: float | None,
    pair: Workload,
    published: list[Diamond],
) -> Panel | None:
    cells = [{place.x: _cell(table, place) for place in line.places} for line in sweep.lines]
    drawn = []
    for line, (name, look), of_line in zip(sweep.lines, looks, cells, strict=True):
        points = tuple((x, cell.estimate) for x, cell in of_line.items() if cell.estimate is not None)
        said = [f"{scale.say_estimate(estimate)} at {x:.6g}" for x, estimate in points]
        if points:
            note = f"{shorten(name, 60)}: {', '.join(said)}"
            drawn.append(Line(name, look, points, note, line.is_random))
    if not any(not line.is_control for line in drawn):
        return None
    xs = sorted({x for of_line in cells for x in of_line})
    what = sweep.parameter or "threshold"
    across = Across(
        "threshold: what scores less goes" if sweep.parameter is None else shorten(sweep.parameter),
        format=".4~r",
        letters=1 + max(len(f"{x:.4g}") for x in xs),
        least=0.0,
        always_at_points=False,
    )
    label = (
        f"Line chart: {title} against {shorten(what)} of {shorten(sweep.label, 60)} for {workload(pair)}. "
        "The table beside it has every number."
    )
    wide, compact = (
        line_chart(
            drawn,
            across,
            scale,
            dense=dense,
            label=label,
            compact=narrow,
            has_notes=not narrow,
            published=published,
        )
        for narrow in (False, True)
    )
    return Panel(
        key, title, wide, compact, bool(published), *_table(sweep, xs, [name for name, _ in looks], cells)
    )


def _table(
    sweep: Sweep, xs: Sequence[float], names: Sequence[str], cells: Sequence[Mapping[float, Cell]]
) -> tuple[tuple[str, ...], tuple[tuple[str, tuple[Cell | None, ...]], ...]]:
    """Columns and rows of a panel."""
    every = list(zip(sweep.lines, names, cells, strict=True))
    beside = [each for each in every if sweep.parameter is None or not each[0].is_random]
    rows = [(f"{x:.6g}", tuple(of_line.get(x) for _, _, of_line in beside)) for x in xs]
    if len(beside) < len(every):
        random = {line.sparsity: next(iter(of.values())) for line, _, of in every if line.is_random}
        rows.append(("random", tuple(random.get(line.sparsity) for line, _, _ in beside)))
    return tuple(name for _, name, _ in beside), tuple(rows)


def _cell(table: Table, place: Place) -> Cell:
    """The cell without its mark, which compares it with other criteria."""
    return replace(table.rows[place.criterion][table.sparsities.index(place.sparsity)], mark="")


def _published(views: Views, board: BoardReport, pair: Workload, sweep: Sweep, metric: str) -> list[Diamond]:
    """The published values of the cells of a sweep."""
    found = {
        (each.criterion, each.sparsity): each.reference
        for each in views.published(board, pair)
        if each.criterion is not None and each.reference.metric == metric
    }
    return [
        Diamond(
            place.x,
            found[place.criterion, place.sparsity].in_our_unit,
            _look(sweep, line).colour,
            shorten(described(found[place.criterion, place.sparsity]), 160),
        )
        for line in sweep.lines
        for place in line.places
        if (place.criterion, place.sparsity) in found and not (line.is_random and sweep.parameter)
    ]


def _name(sweep: Sweep, line: SweptLine) -> str:
    what = "random" if line.is_random else sweep.label
    if line.sparsity is None:
        return what
    amount = sparsity(line.sparsity)
    return f"random, {amount}" if line.is_random else amount


def _look(sweep: Sweep, line: SweptLine) -> Look:
    if line.sparsity is None:
        return _RANDOM if line.is_random else Look("var(--series-1)", (), 2.0, has_band=True)
    amounts = list(dict.fromkeys(each.sparsity for each in sweep.lines))
    colour = f"var(--series-{1 + amounts.index(line.sparsity)})"
    if line.is_random:
        return Look(colour, (3, 3), 1.5, has_band=False)
    return Look(colour, (), 2.0, has_band=True)
