"""The lower half of a symmetric matrix as coloured squares, with its names along the diagonal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from benchsuite_leaderboard.charts.theme import shorten
from benchsuite_leaderboard.charts.vegalite import as_is, end, layer, position, text, to_svg

if TYPE_CHECKING:
    from markupsafe import Markup

    from benchsuite_leaderboard.agreement import WorkloadAgreement

_CELL = 18
_NARROWEST = 12
_NAME = 28
_SCALE = (1.0, 0.5, 0.0, -0.5, -1.0)


def agreement_heat_map(found: WorkloadAgreement, *, label: str) -> Markup:
    """Kendall's tau of every pair as one SVG: one colour for similar rankings, one for opposite ones."""
    size = len(found.criteria)
    names = [shorten(name, _NAME) for name in found.criteria]
    cells = []
    for row in range(size):
        for column in range(row):
            tau = float(found.tau[row, column])
            if math.isfinite(tau):
                note = f"{names[row]} and {names[column]}: tau {tau:.2f}, "
                note += f"{100 * found.overlap[row, column]:.0f}% of the top in common"
                cells.append({**_square(column, row, tau), "note": note})
    across = (0.0, float(max(size, _NARROWEST)))
    # The first row is at the top; the scale is below the last one.
    down = (size + 2.6, 0.0)
    x = position("x", across) | {"axis": None}
    y = position("y", down) | {"axis": None}
    square = {
        "x": x,
        "x2": end("right"),
        "y": y,
        "y2": end("bottom"),
        "color": as_is("colour"),
        "opacity": {"field": "strength", "type": "quantitative", "scale": None},
    }
    at = {"x": x, "y": y, "text": text("name")}
    labels = [{"x": i, "y": i + 0.5, "name": name} for i, name in enumerate(names)]
    scale = [
        {**_square(2 * i, size + 0.8, tau), "right": 2 * i + 2, "name": f"{tau:+.1f}" if tau else "0"}
        for i, tau in enumerate(_SCALE)
    ]
    layers = [
        layer("rect", cells, square | {"description": text("note")}),
        layer("text", labels, at, align="left", baseline="middle", dx=4),
        layer("rect", scale, square),
        layer(
            "text",
            [{**each, "x": 2 * i + 1, "y": size + 2.2} for i, each in enumerate(scale)],
            at,
            baseline="middle",
            color="var(--ink-2)",
            fontSize=11,
        ),
    ]
    return to_svg(layers, width=round(_CELL * across[1]), height=round(_CELL * down[0]), label=label)


def _square(column: float, row: float, tau: float) -> dict[str, object]:
    return {
        "x": column,
        "right": column + 0.94,
        "y": row,
        "bottom": row + 0.94,
        "colour": "var(--series-1)" if tau >= 0 else "var(--series-2)",
        # The drawing keeps one decimal; a square of tau 0 must still be visible.
        "strength": max(0.1, round(abs(tau), 1)),
    }
