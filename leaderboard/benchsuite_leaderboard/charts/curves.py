"""A metric against sparsity, one line per criterion, with interval bands and the dense line."""

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
    from collections.abc import Mapping, Sequence

    from markupsafe import Markup

    from benchsuite_leaderboard.board import Criterion
    from benchsuite_leaderboard.charts.theme import Look
    from benchsuite_leaderboard.charts.vega import Layer
    from benchsuite_leaderboard.standings import Table
    from benchsuite_leaderboard.statistics.intervals import Estimate

_LINE = 14.5
_BUDGETS = {"units": "units", "params": "parameters", "macs": "MACs"}

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
    points = _points(table, looks, scale)
    if not points:
        return None
    series = {p["series"] for p in points}
    drawn = {str(i): c for i, c in enumerate(table.rows) if str(i) in series}
    diamonds = _diamonds(published, looks)
    frame = _frame([*points, *diamonds], dense, scale, names=len(drawn) + 1, compact=compact)
    xs = sorted({p["x"] for p in points})
    x = axis(
        "x",
        frame.x,
        f"removed of the {_BUDGETS.get(budget, shorten(budget))}",
        values=_labelled(xs, frame),
        format=f".{_decimals(xs)}%",
        grid=False,
    )
    y = axis("y", frame.y, _axis_title(scale), format=scale.format(frame.y), tickCount=6)
    detail = {"x": x, "y": y, "color": as_is("colour"), "detail": text("series")}
    layers: list[Layer] = []
    bands = [
        p | {"low": max(p["low"], frame.y[0]), "high": min(p["high"], frame.y[1])}
        for p in points
        if looks[drawn[p["series"]]].has_band and p["high"] > p["low"]
    ]
    if bands:
        band = {"y": position("low", frame.y), "y2": end("high")}
        layers.append(layer("area", bands, detail | band, opacity=0.13))
    if dense is not None:
        rule = {"y": position("y", frame.y)}
        layers.append(layer("rule", [{"y": dense}], rule, color="var(--ink)", strokeWidth=1))
    layers.append(lines(sorted(points, key=lambda p: (p["width"], p["dash"])), detail))
    noted = not compact if has_notes is None else has_notes
    dots = detail | {"description": text("note")} if noted else detail
    layers.append(layer("point", points, dots, filled=True, size=26, opacity=1))
    if diamonds:
        mark = {"x": x, "y": y, "color": as_is("colour")}
        mark |= {"description": text("note")} if noted else {}
        layers.append(layer("point", diamonds, mark, shape="diamond", size=80, opacity=1))
    if not compact:
        layers += _names(frame, x, points, drawn, dense, scale)
    return to_svg(layers, width=frame.width, height=frame.height, label=label)


def _axis_title(scale: Scale) -> str:
    return shorten(f"{scale.title}, {scale.unit}" if scale.unit else scale.title, 60)


def _labelled(shares: Sequence[float], frame: _Frame) -> list[float]:
    """Those that have room for their label in percent, from the smallest on."""
    letters = len("100%") + 1 + _decimals(shares)
    room = letters * LETTER * (frame.x[1] - frame.x[0]) / frame.width
    kept: list[float] = []
    for share in shares:
        if not kept or share - kept[-1] >= room:
            kept.append(share)
    return kept


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


def _points(table: Table, looks: Mapping[Criterion, Look], scale: Scale) -> list[Row]:
    notes = {criterion: _note(table, criterion, scale) for criterion in table.rows}
    return [
        {
            "series": str(i),
            "x": sparsity,
            "y": cell.estimate.mean,
            "colour": look.colour,
            "width": look.width,
            "dash": dash(look.dash),
            "note": notes[criterion],
            "low": cell.estimate.mean if cell.estimate.low is None else cell.estimate.low,
            "high": cell.estimate.mean if cell.estimate.high is None else cell.estimate.high,
        }
        for i, (criterion, cells) in enumerate(table.rows.items())
        for look in [looks[criterion]]
        for sparsity, cell in zip(table.sparsities, cells, strict=True)
        if cell.estimate is not None and not isinstance(sparsity, str)
    ]


def _diamonds(
    published: Sequence[tuple[Criterion | None, float, float, str]], looks: Mapping[Criterion, Look]
) -> list[Row]:
    return [
        {
            "x": sparsity,
            "y": value,
            "colour": "var(--ink)" if criterion is None else looks[criterion].colour,
            "note": shorten(note, 160),
        }
        for criterion, sparsity, value, note in published
    ]


def _note(table: Table, criterion: Criterion, scale: Scale) -> str:
    """All numbers of a criterion: its dots are one mark, and hovering over any of them shows these."""
    found = [
        f"{_said(cell.estimate, scale)} at {100 * sparsity:.10g}%"
        for sparsity, cell in zip(table.sparsities, table.rows[criterion], strict=True)
        if cell.estimate is not None and not isinstance(sparsity, str)
    ]
    return f"{shorten(criterion.label, 60)}: {', '.join(found)}"


def _said(estimate: Estimate, scale: Scale) -> str:
    interval = ""
    if estimate.half_width is not None:
        interval = f" ± {scale.say(estimate.half_width)}"
    elif estimate.low is not None and estimate.high is not None:
        interval = f" ({scale.say(estimate.low)} to {scale.say(estimate.high)})"
    return f"{scale.say(estimate.mean)}{interval}"


def _frame(points: Sequence[Row], dense: float | None, scale: Scale, *, names: int, compact: bool) -> _Frame:
    # Wide intervals of few seeds would flatten the lines, so the range is that of the means; bands may be cut
    # off.
    means = [p["y"] for p in points] + ([] if dense is None else [dense])
    xs = [p["x"] for p in points]
    spread = max(max(xs) - min(xs), 0.1)
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
    drawn: Mapping[str, Criterion],
    dense: float | None,
    scale: Scale,
) -> list[Layer]:
    """Names next to the ends of the lines, moved apart if they would overlap, and connected to them."""
    right = frame.x[1]
    rows: list[Row] = []
    for i, criterion in drawn.items():
        last = max((p for p in points if p["series"] == i), key=lambda p: p["x"])
        ink = "var(--ink-2)" if criterion.is_control else "var(--ink)"
        rows.append(last | {"right": right, "name": shorten(criterion.label, 34), "ink": ink})
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
