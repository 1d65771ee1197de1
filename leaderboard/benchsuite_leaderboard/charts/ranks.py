"""The critical-difference diagram: mean ranks, and bars over criteria that do not differ significantly."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchsuite_leaderboard.charts.theme import shorten
from benchsuite_leaderboard.charts.vegalite import as_is, axis, end, layer, position, text, to_svg

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from markupsafe import Markup

    from benchsuite_leaderboard.board import Criterion
    from benchsuite_leaderboard.charts.theme import Look
    from benchsuite_leaderboard.statistics.critical_difference import CriticalDifference

_ROW = 20


def critical_difference_diagram(
    criteria: Sequence[Criterion],
    found: CriticalDifference,
    looks: Mapping[Criterion, Look],
    *,
    label: str,
    compact: bool = False,
) -> Markup:
    """One line per criterion from the best to the worst; a vertical bar joins those of one group."""
    order = sorted(range(len(criteria)), key=lambda i: (found.mean_ranks[i], criteria[i].label))
    row_of = {i: row for row, i in enumerate(order)}
    ranks = (1.0, float(len(order)))
    # The first row is at the top.
    lines = (len(order) - 0.5, -0.5)
    rows = [
        {
            "x": found.mean_ranks[i],
            "y": row_of[i],
            "colour": looks[criteria[i]].colour,
            "name": shorten(criteria[i].label, 22 if compact else 34),
            "right": len(order),
        }
        for i in order
    ]
    x = axis("x", ranks, "mean rank (1 is best)", tickMinStep=1, tickCount=min(len(order), 10), orient="top")
    y = position("y", lines) | {"axis": None}
    right = position("right", ranks)
    layers = [
        layer("rule", rows, {"x": x, "x2": end("right"), "y": y}, strokeWidth=0.6, color="var(--line)"),
        layer("point", rows, {"x": x, "y": y, "color": as_is("colour")}, filled=True, size=60, opacity=1),
        layer(
            "text",
            rows,
            {"x": right, "y": y, "text": text("name")},
            align="left",
            baseline="middle",
            dx=16 + 9 * len(found.groups),
        ),
    ]
    # Each group's bar has its own column, so that overlapping groups remain distinguishable.
    for column, group in enumerate(found.groups):
        ends = [row_of[i] for i in group]
        bar = {"right": len(order), "y": min(ends) - 0.3, "bottom": max(ends) + 0.3}
        encoding = {"x": right, "y": y, "y2": end("bottom")}
        layers.append(
            layer("rule", [bar], encoding, strokeWidth=3, color="var(--ink-2)", xOffset=12 + 9 * column)
        )
    return to_svg(layers, width=170 if compact else 430, height=_ROW * len(order), label=label)
