"""A metric against sparsity, one line per criterion, with interval bands and the dense line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchsuite_leaderboard.charts.lines import Across, Diamond, Line, Scale, line_chart
from benchsuite_leaderboard.charts.theme import shorten

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from markupsafe import Markup

    from benchsuite_leaderboard.board import Criterion
    from benchsuite_leaderboard.charts.theme import Look
    from benchsuite_leaderboard.standings import Table

_BUDGETS = {"units": "units", "params": "parameters", "macs": "MACs"}


ACCURACY = Scale("test accuracy (top-1)")


def curves(
    table: Table,
    looks: Mapping[Criterion, Look],
    *,
    dense: float | None,
    budget: str,
    label: str,
    compact: bool = False,
    has_notes: bool | None = None,
    scale: Scale = ACCURACY,
    published: Sequence[tuple[Criterion | None, float, float, str]] = (),
) -> Markup | None:
    """The chart of one table as SVG; None when no cell with a sparsity has a mean.

    Args:
        table: the cells.
        looks: how each criterion is drawn.
        dense: mean of the unpruned networks.
        budget: what the sparsity is a fraction of.
        label: the text alternative (alt text).
        compact: for a phone, or beside others: narrow, and without names, which are in the page's legend.
        has_notes: whether hovering over a dot shows the numbers; a phone, so by default what is compact,
            has no pointer.
        scale: how the metric is written.
        published: published values as diamonds: criterion (None for one that is not in the table), sparsity,
            value, and what hovering shows.
    """
    drawn = [line for criterion in table.rows if (line := _line(table, criterion, looks, scale)).points]
    if not drawn:
        return None
    decimals = _decimals(sorted({x for line in drawn for x, _ in line.points}))
    return line_chart(
        drawn,
        Across(
            f"removed of the {_BUDGETS.get(budget, shorten(budget))}",
            format=f".{decimals}%",
            letters=len("100%") + 1 + decimals,
            least=0.1,
        ),
        scale,
        dense=dense,
        label=label,
        compact=compact,
        has_notes=not compact if has_notes is None else has_notes,
        published=[
            Diamond(x, y, "var(--ink)" if criterion is None else looks[criterion].colour, shorten(note, 160))
            for criterion, x, y, note in published
        ],
    )


def _decimals(shares: Sequence[float]) -> int:
    """So many decimals, up to three, that different shares are written differently in percent."""
    return next((n for n in range(3) if all(abs(round(x, n + 2) - x) < 1e-9 for x in shares)), 3)


def banded(table: Table, looks: Mapping[Criterion, Look]) -> list[Criterion]:
    """The criteria whose intervals are drawn as bands."""
    return [
        criterion
        for criterion, cells in table.rows.items()
        if looks[criterion].has_band
        and any(
            cell.estimate is not None and cell.estimate.has_interval and not isinstance(sparsity, str)
            for sparsity, cell in zip(table.sparsities, cells, strict=True)
        )
    ]


def _line(table: Table, criterion: Criterion, looks: Mapping[Criterion, Look], scale: Scale) -> Line:
    """A criterion's line; its dots are one mark, and hovering over any of them shows all of its numbers."""
    points = tuple(
        (sparsity, cell.estimate)
        for sparsity, cell in zip(table.sparsities, table.rows[criterion], strict=True)
        if cell.estimate is not None and not isinstance(sparsity, str)
    )
    said = [f"{scale.say_estimate(estimate)} at {100 * sparsity:.10g}%" for sparsity, estimate in points]
    note = f"{shorten(criterion.label, 60)}: {', '.join(said)}"
    return Line(criterion.label, looks[criterion], points, note, criterion.is_control)
