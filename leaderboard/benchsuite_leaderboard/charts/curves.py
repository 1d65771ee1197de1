"""Accuracy against sparsity, one line a criterion, with interval bands and the dense line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import altair as alt

from benchsuite_leaderboard.charts.layout import spread_apart
from benchsuite_leaderboard.charts.theme import shorten, to_svg

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchsuite_leaderboard.cells import Criterion
    from benchsuite_leaderboard.charts.theme import Look
    from benchsuite_leaderboard.standings import Table

_LINE = 14.5
_BUDGETS = {"units": "units", "params": "parameters", "macs": "MACs"}


def accuracy_curves(
    table: Table,
    looks: Mapping[Criterion, Look],
    *,
    dense: float | None,
    budget: str,
    label: str,
    compact: bool = False,
) -> str | None:
    """The chart of one table as SVG; None when no cell with a sparsity has a mean.

    Args:
        table: the cells.
        looks: how each criterion is drawn.
        dense: mean accuracy of the unpruned networks.
        budget: what the sparsity is a fraction of.
        label: the text alternative.
        compact: for a phone: narrow and without names, which the page's legend gives.
    """
    points = _points(table)
    if not points:
        return None
    drawn = {str(i): c for i, c in enumerate(table.rows) if any(p["series"] == str(i) for p in points)}
    frame = _frame(points, dense, names=len(drawn) + 1, compact=compact)
    channels = _Channels(frame, points, drawn, looks, budget)
    layers = []
    bands = [p for p in points if not drawn[p["series"]].is_control and p["high"] > p["low"]]
    if bands:
        layers.append(
            alt.Chart(alt.InlineData(values=bands))
            .mark_area(opacity=0.13, clip=True)
            .encode(x=channels.x, y=channels.value("low"), y2="high:Q", color=channels.colour)
        )
    if dense is not None:
        layers.append(
            alt.Chart(alt.InlineData(values=[{"y": dense}]))
            .mark_rule(color="var(--ink)", strokeWidth=1)
            .encode(y=channels.value("y"))
        )
    base = alt.Chart(alt.InlineData(values=points)).encode(x=channels.x, y=channels.y, color=channels.colour)
    layers.append(base.mark_line().encode(strokeDash=channels.dash, strokeWidth=channels.width))
    layers.append(base.mark_point(filled=True, size=22, opacity=1))
    if not compact:
        layers += _names(frame, channels, points, drawn, looks, dense)
    return to_svg(alt.layer(*layers).properties(width=frame.width, height=frame.height), label)


@dataclass(frozen=True)
class _Frame:
    """The plot's size in pixels and its ranges in data units."""

    width: int
    height: int
    x: tuple[float, float]
    y: tuple[float, float]

    def pixel(self, y: float) -> float:
        """Distance from the top."""
        return self.height * (self.y[1] - y) / (self.y[1] - self.y[0])

    def value(self, pixel: float) -> float:
        """The inverse of `pixel`."""
        return self.y[1] - pixel / self.height * (self.y[1] - self.y[0])


class _Channels:
    """Encodings that the layers share."""

    def __init__(
        self,
        frame: _Frame,
        points: Sequence[Mapping[str, Any]],
        drawn: Mapping[str, Criterion],
        looks: Mapping[Criterion, Look],
        budget: str,
    ) -> None:
        xs = sorted({p["x"] for p in points})
        whole = all(round(x, 2) == x for x in xs)
        self._y_scale = alt.Scale(domain=list(frame.y), nice=False, zero=False)
        self.x_scale = alt.Scale(domain=list(frame.x), nice=False, zero=False)
        self.x = alt.X(
            "x:Q",
            scale=self.x_scale,
            axis=alt.Axis(values=xs, format=".0%" if whole else ".1%", grid=False, labelOverlap=True),
            title=f"removed of the {_BUDGETS.get(budget, shorten(budget))}",
        )
        self.y = alt.Y(
            "y:Q",
            scale=self._y_scale,
            axis=alt.Axis(format=".0%" if frame.y[1] - frame.y[0] > 0.06 else ".1%", tickCount=6),
            title="test accuracy (top-1)",
        )
        ids = list(drawn)
        shown = [looks[drawn[i]] for i in ids]
        self.colour = alt.Color(
            "series:N", scale=alt.Scale(domain=ids, range=[s.colour for s in shown]), legend=None
        )
        self.dash = alt.StrokeDash(
            "series:N",
            scale=alt.Scale(domain=ids, range=[list(s.dash) or [1, 0] for s in shown]),
            legend=None,
        )
        self.width = alt.StrokeWidth(
            "series:N", scale=alt.Scale(domain=ids, range=[s.width for s in shown]), legend=None
        )

    def value(self, field: str) -> alt.Y:
        """Another field on the y axis."""
        return alt.Y(f"{field}:Q", scale=self._y_scale)


def _points(table: Table) -> list[dict[str, Any]]:
    """One row per point; names from outside stay out of the chart's fields and scales."""
    return [
        {
            "series": str(i),
            "x": sparsity,
            "y": cell.estimate.mean,
            "low": max(0.0, cell.estimate.low),
            "high": min(1.0, cell.estimate.high),
        }
        for i, cells in enumerate(table.rows.values())
        for sparsity, cell in zip(table.sparsities, cells, strict=True)
        if cell.estimate is not None and not isinstance(sparsity, str)
    ]


def _frame(points: Sequence[Mapping[str, Any]], dense: float | None, *, names: int, compact: bool) -> _Frame:
    # Wide intervals of few seeds would flatten the lines: the range follows the means, bands may be cut.
    means = [p["y"] for p in points] + ([] if dense is None else [dense])
    margin = max(0.01, (max(means) - min(means)) * 0.08)
    xs = [p["x"] for p in points]
    spread = max(max(xs) - min(xs), 0.1)
    return _Frame(
        width=310 if compact else 560,
        height=260 if compact else max(320, round(_LINE * names)),
        x=(min(xs) - 0.03 * spread, max(xs) + 0.03 * spread),
        y=(max(0.0, min(means) - margin), min(1.0, max(means) + margin)),
    )


def _names(
    frame: _Frame,
    channels: _Channels,
    points: Sequence[Mapping[str, Any]],
    drawn: Mapping[str, Criterion],
    looks: Mapping[Criterion, Look],
    dense: float | None,
) -> list[alt.Chart]:
    """Names beside the ends of the lines, moved apart where they would overlap, and joined to them."""
    right = frame.x[1]
    named: list[tuple[float, float, str, str, str]] = []
    for i, criterion in drawn.items():
        x, y = max((p["x"], p["y"]) for p in points if p["series"] == i)
        ink = "var(--ink-2)" if criterion.is_control else "var(--ink)"
        named.append((x, y, shorten(criterion.label, 34), looks[criterion].colour, ink))
    if dense is not None:
        named.append((right, dense, f"dense {100 * dense:.1f}%", "var(--ink)", "var(--ink)"))
    placed = spread_apart([frame.pixel(y) for _, y, *_ in named], _LINE, frame.height)
    data = alt.InlineData(
        values=[
            {
                "x": x,
                "y": y,
                "right": right,
                "label": frame.value(pixel),
                "text": text,
                "colour": colour,
                "ink": ink,
            }
            for (x, y, text, colour, ink), pixel in zip(named, placed, strict=True)
        ]
    )
    return [
        alt.Chart(data)
        .mark_rule(strokeWidth=0.8, opacity=0.75, x2Offset=14)
        .encode(
            x=channels.x,
            y=channels.value("y"),
            x2="right:Q",
            y2="label:Q",
            color=alt.Color("colour:N", scale=None),
        ),
        alt.Chart(data)
        .mark_text(align="left", baseline="middle", dx=19)
        .encode(
            x=alt.X("right:Q", scale=channels.x_scale),
            y=channels.value("label"),
            text="text:N",
            color=alt.Color("ink:N", scale=None),
        ),
    ]
