"""A metric against a quantity: lines with interval bands and names, and the line of the dense networks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchsuite_leaderboard.charts.layout import spread_apart
from benchsuite_leaderboard.charts.theme import share_format, shorten
from benchsuite_leaderboard.charts.vegalite import (
    LETTER,
    as_is,
    axis,
    dash,
    end,
    labels,
    layer,
    lines,
    position,
    text,
    to_svg,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markupsafe import Markup

    from benchsuite_leaderboard.charts.theme import Look
    from benchsuite_leaderboard.charts.vega import Layer
    from benchsuite_leaderboard.statistics.intervals import Estimate

_LINE = 14.5
_MOST_TICKS = 8
"""Of more different places an axis has round ones."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Scale:
    """How a metric is written on its axis.

    Attributes:
        title: of the axis.
        is_share: whether it is a number between 0 and 1, shown in percent; otherwise it is a count.
        unit: of a quantity that may be any number, neither share nor count; None of those.
    """

    title: str
    is_share: bool = True
    unit: str | None = None

    def say(self, value: float) -> str:
        """The value as text."""
        if self.unit is not None:
            return f"{value:.3g} {self.unit}".rstrip()
        return f"{100 * value:.1f}%" if self.is_share else f"{value:.1f}"

    def around(self, means: Sequence[float]) -> tuple[float, float]:
        """The ends of an axis on which these means lie: within what the metric can be."""
        low, high = min(means), max(means)
        if self.unit is not None:
            margin = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
            return low - margin, high + margin
        margin = max(0.01 if self.is_share else 0.5, (high - low) * 0.08)
        return max(0.0, low - margin), min(1.0 if self.is_share else math.inf, high + margin)

    def format(self, ends: tuple[float, float]) -> str:
        """How the axis' numbers are written: without a format, those from ten on are like 5e+1."""
        if self.unit is not None:
            return ".3~g"
        if self.is_share:
            return share_format(ends, 6)
        return ",.0f" if ends[1] - ends[0] > 6 else ",.1f"

    def say_estimate(self, estimate: Estimate) -> str:
        """A mean with its interval."""
        interval = ""
        if estimate.half_width is not None:
            interval = f" ± {self.say(estimate.half_width)}"
        elif estimate.low is not None and estimate.high is not None:
            interval = f" ({self.say(estimate.low)} to {self.say(estimate.high)})"
        return f"{self.say(estimate.mean)}{interval}"


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
        name: what stands at its end.
        points: places on the horizontal axis with what was measured there.
        note: what hovering over any of its dots shows.
    """

    name: str
    look: Look
    points: tuple[tuple[float, Estimate], ...]
    note: str
    is_control: bool = False


@dataclass(frozen=True)
class Diamond:
    """A published value.

    Attributes:
        note: what hovering shows.
    """

    x: float
    y: float
    colour: str
    note: str


@dataclass(frozen=True)
class Across:
    """The horizontal axis.

    Attributes:
        title: what it is.
        format: of its labels, in d3's words.
        letters: how long the longest label is.
        least: what it spans at least.
        always_at_points: whether the labels stand at the points, however many there are.
    """

    title: str
    format: str
    letters: int
    least: float
    always_at_points: bool = True


def line_chart(
    drawn: Sequence[Line],
    across: Across,
    scale: Scale,
    *,
    dense: float | None,
    label: str,
    compact: bool,
    has_notes: bool,
    published: Sequence[Diamond] = (),
) -> Markup:
    """The chart as SVG.

    Args:
        drawn: at least one line with a point.
        across: the horizontal axis.
        scale: how the metric is written.
        dense: mean of the unpruned networks.
        label: the text alternative (alt text).
        compact: for a phone, or beside others: narrow, and without names, which are in the page's legend.
        has_notes: whether hovering over a dot shows the numbers.
        published: published values, as diamonds.
    """
    points = [row for i, line in enumerate(drawn) for row in _rows(str(i), line)]
    diamonds: list[Row] = [vars(each) for each in published]
    frame = _frame([*points, *diamonds], dense, scale, across, names=len(drawn) + 1, compact=compact)
    xs = sorted({p["x"] for p in points})
    x = axis("x", frame.x, across.title, **_ticks(xs, frame, across), format=across.format, grid=False)
    y = axis("y", frame.y, _axis_title(scale), format=scale.format(frame.y), tickCount=6)
    detail = {"x": x, "y": y, "color": as_is("colour"), "detail": text("series")}
    layers: list[Layer] = []
    bands = [
        p | {"low": max(p["low"], frame.y[0]), "high": min(p["high"], frame.y[1])}
        for p in points
        if drawn[int(p["series"])].look.has_band and p["high"] > p["low"]
    ]
    if bands:
        band = {"y": position("low", frame.y), "y2": end("high")}
        layers.append(layer("area", bands, detail | band, opacity=0.13))
    if dense is not None:
        rule = {"y": position("y", frame.y)}
        layers.append(layer("rule", [{"y": dense}], rule, color="var(--ink)", strokeWidth=1))
    layers.append(lines(sorted(points, key=lambda p: (p["width"], p["dash"])), detail))
    noted = {"description": text("note")} if has_notes else {}
    layers.append(layer("point", points, detail | noted, filled=True, size=26, opacity=1))
    if diamonds:
        mark = {"x": x, "y": y, "color": as_is("colour")}
        layers.append(layer("point", diamonds, mark | noted, shape="diamond", size=80, opacity=1))
    if not compact:
        layers += _names(frame, x, points, drawn, dense, scale)
    return to_svg(layers, width=frame.width, height=frame.height, label=label)


def _axis_title(scale: Scale) -> str:
    return shorten(f"{scale.title}, {scale.unit}" if scale.unit else scale.title, 60)


def _rows(series: str, line: Line) -> list[Row]:
    return [
        {
            "series": series,
            "x": x,
            "y": estimate.mean,
            "colour": line.look.colour,
            "width": line.look.width,
            "dash": dash(line.look.dash),
            "note": line.note,
            "low": estimate.mean if estimate.low is None else estimate.low,
            "high": estimate.mean if estimate.high is None else estimate.high,
        }
        for x, estimate in line.points
    ]


@dataclass(frozen=True)
class _Frame:
    """The plot's size in pixels and its data ranges."""

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


def _ticks(xs: Sequence[float], frame: _Frame, across: Across) -> dict[str, Any]:
    """Labels at the points, from the smallest on where there is room; or at round numbers."""
    room = across.letters * LETTER * (frame.x[1] - frame.x[0]) / frame.width
    if len(xs) > _MOST_TICKS and not across.always_at_points:
        return {"tickCount": max(2, min(_MOST_TICKS, int((frame.x[1] - frame.x[0]) / room)))}
    kept: list[float] = []
    for x in xs:
        if not kept or x - kept[-1] >= room:
            kept.append(x)
    return {"values": kept}


def _frame(
    points: Sequence[Row], dense: float | None, scale: Scale, across: Across, *, names: int, compact: bool
) -> _Frame:
    # Wide intervals of few seeds would flatten the lines, so the range is that of the means; bands may be cut
    # off.
    means = [p["y"] for p in points] + ([] if dense is None else [dense])
    xs = [p["x"] for p in points]
    spread = max(max(xs) - min(xs), across.least)
    return _Frame(
        width=310 if compact else 560,
        height=260 if compact else max(320, round(_LINE * names)),
        x=(min(xs) - 0.03 * spread, max(xs) + 0.03 * spread),
        y=scale.around(means),
    )


def _names(
    frame: _Frame,
    x: dict[str, Any],
    points: Sequence[Row],
    drawn: Sequence[Line],
    dense: float | None,
    scale: Scale,
) -> list[Layer]:
    """Names next to the ends of the lines, moved apart if they would overlap, and connected to them."""
    right = frame.x[1]
    rows: list[Row] = []
    for i, line in enumerate(drawn):
        last = max((p for p in points if p["series"] == str(i)), key=lambda p: p["x"])
        ink = "var(--ink-2)" if line.is_control else "var(--ink)"
        rows.append(last | {"right": right, "name": shorten(line.name, 34), "ink": ink})
    if dense is not None:
        name = f"dense {scale.say(dense)}"
        rows.append(
            {
                "x": right,
                "y": dense,
                "right": right,
                "name": name,
                "ink": "var(--ink)",
                "colour": "var(--ink)",
            }
        )
    placed = spread_apart([frame.pixel(row["y"]) for row in rows], _LINE, frame.height)
    rows = [row | {"label": frame.value(pixel)} for row, pixel in zip(rows, placed, strict=True)]
    leader = {
        "x": x,
        "y": position("y", frame.y),
        "x2": end("right"),
        "y2": end("label"),
        "color": as_is("colour"),
    }
    name_at = {
        "x": position("right", frame.x),
        "y": position("label", frame.y),
        "text": text("name"),
        "color": as_is("ink"),
    }
    return [
        layer("rule", rows, leader, strokeWidth=0.8, opacity=0.75, x2Offset=14),
        labels(rows, name_at, dx=19),
    ]
