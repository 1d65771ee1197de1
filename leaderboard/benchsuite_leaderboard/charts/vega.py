"""Layers in the terms of Vega-Lite as a specification for Vega, which draws it in half the time.

Vega-Lite would compile each chart anew, and give every line a group with a data flow of its own. Here places
are in pixels and lines are paths, so that Vega has only the axes and the size to compute. Known are the marks
and channels that the charts use. A test compares the drawings with those of Vega-Lite.
"""

from __future__ import annotations

import math
from itertools import pairwise, starmap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Channel = dict[str, Any]
Layer = dict[str, Any]
Row = dict[str, Any]

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"
TEXT = 11.5
"""Size of texts in pixels."""
ASCENT, DESCENT = 9.0, 3.0
"""How far letters reach above and below the line that they stand on."""
_TICK_LABEL = 32.0
"""Room for the labels of a vertical axis."""
_TICK = 40
"""Pixels for each tick of an axis, about, where their number is not given."""

PADDING = {"left": 4 + ASCENT, "right": 16, "top": 1 + ASCENT, "bottom": 4 + DESCENT}
AXES: dict[str, dict[str, Any]] = {
    "axis": {
        "domain": False,
        "ticks": False,
        "gridColor": "var(--line)",
        "labelColor": "var(--ink-2)",
        "titleColor": "var(--ink-2)",
        "labelFontSize": 0,
        "titleFontSize": 0,
        "titleFontWeight": "normal",
    },
    "axisX": {"labelPadding": 6 + ASCENT, "titlePadding": 8 + ASCENT},
    "axisTop": {"labelPadding": 6 + DESCENT, "titlePadding": 8 + ASCENT + DESCENT},
    "axisY": {"labelPadding": 6, "labelOffset": 0.3 * TEXT, "titlePadding": 8 + _TICK_LABEL + DESCENT},
}
"""The look of axes. Their texts have no size, see `vegalite.labels`; where they stand is said here."""

_PATHS = {"line", "area"}
"""Marks of a whole series."""
_OUTLINES = {"line", "rule"}
"""Marks whose colour is that of a stroke, as that of points is that are not filled."""
_DEFAULTS: dict[str, dict[str, Any]] = {
    "point": {"opacity": 0.7, "strokeWidth": 2},
    "line": {"strokeWidth": 2},
    "text": {
        "align": "center",
        "baseline": "middle",
        "color": "var(--ink)",
        "font": FONT,
        "fontSize": TEXT,
    },
}
_HANDLED = {"type", "aria", "color", "filled", "interpolate", "xOffset", "x2Offset"}
"""Properties of a mark that are no properties of Vega's."""
_PLACES = ("x", "x2", "y", "y2")


def specification(layers: Sequence[Layer], width: int, height: int) -> dict[str, Any]:
    """The layers, the first at the bottom, as one chart for Vega; its inner size is in pixels."""
    size = {"x": width, "y": height}
    channels = [
        (name, layer["encoding"][name]) for layer in layers for name in size if name in layer["encoding"]
    ]
    domains = {"x": [0, 1], "y": [0, 1]} | {
        name: channel["scale"]["domain"] for name, channel in reversed(channels)
    }
    described = {name: channel for name, channel in reversed(channels) if channel.get("axis") is not None}
    axes = [(name, described[name], size[name]) for name in size if name in described]
    return {
        "width": width,
        "height": height,
        "padding": PADDING,
        "background": "transparent",
        "config": {**AXES, "style": {style: {"font": FONT} for style in ("guide-label", "guide-title")}},
        "scales": list(starmap(_scale, domains.items())),
        "axes": [
            *(_grid(*each) for each in axes if each[1]["axis"].get("grid", True)),
            *starmap(_axis, axes),
        ],
        "data": [{"name": str(i), "values": _rows(layer, size)} for i, layer in enumerate(layers)],
        "marks": [_mark(layer, str(i), size) for i, layer in enumerate(layers)],
    }


def _scale(name: str, domain: Sequence[float]) -> dict[str, Any]:
    extent: list[Any] = [0, {"signal": "width"}] if name == "x" else [{"signal": "height"}, 0]
    return {"name": name, "type": "linear", "domain": domain, "range": extent, "nice": False, "zero": False}


def _grid(name: str, channel: Channel, extent: int) -> dict[str, Any]:
    """The lines across the plot, which lie below everything else."""
    bare = dict.fromkeys(("domain", "labels", "ticks", "aria"), False)
    across = {"grid": True, "gridScale": "y" if name == "x" else "x", "minExtent": 0, "maxExtent": 0}
    return {**_ticks(name, channel, extent), **bare, **across}


def _axis(name: str, channel: Channel, extent: int) -> dict[str, Any]:
    """The labels and the title."""
    written = {"title": channel["title"], "labelFlush": name == "x", "aria": False}
    if "format" in channel["axis"]:
        written["format"] = channel["axis"]["format"]
    return {**_ticks(name, channel, extent), **written}


def _ticks(name: str, channel: Channel, extent: int) -> dict[str, Any]:
    """On which side an axis lies and at which values it has ticks."""
    orient = "bottom" if name == "x" else "left"
    known = ("orient", "tickCount", "tickMinStep", "values")
    given = {key: channel["axis"][key] for key in known if key in channel["axis"]}
    return {"scale": name, "orient": orient, "tickCount": math.ceil(extent / _TICK), **given}


def _mark(layer: Layer, data: str, size: Mapping[str, int]) -> dict[str, Any]:
    """All marks of a layer; their rows are named like the channels."""
    encoding, kind = layer["encoding"], layer["mark"]["type"]
    look = {**_DEFAULTS.get(kind, {}), **layer["mark"]}
    is_outline = kind in _OUTLINES or (kind == "point" and not look.get("filled"))
    colour = "stroke" if is_outline else "fill"
    shown = {name: {"value": value} for name, value in look.items() if name not in _HANDLED}
    if "color" in look:
        shown[colour] = {"value": look["color"]}
    if kind in _PATHS:
        shown["path"] = {"field": "path"}
    else:
        shown |= {name: {"field": name} for name in _PLACES if name in encoding}
    if kind == "rule" and "x" not in encoding:
        shown |= {"x": {"value": size["x"]}, "x2": {"value": 0}}
    for name in encoding.keys() - {*_PLACES, "detail"}:
        shown[colour if name == "color" else name] = {"field": name}
    if kind == "point" and is_outline:
        shown["fill"] = {"value": "transparent"}
    return {
        "type": "path" if kind in _PATHS else "symbol" if kind == "point" else kind,
        "from": {"data": data},
        "aria": "description" in encoding,
        "interactive": False,
        "encode": {"enter": shown},
    }


def _rows(layer: Layer, size: Mapping[str, int]) -> list[Row]:
    """What the channels of each mark show, places in pixels."""
    encoding, values = layer["encoding"], layer["data"]["values"]
    places = {name: _pixels(name, layer, size) for name in _PLACES if name in encoding}
    looks = {name: channel["field"] for name, channel in encoding.items() if name not in _PLACES}
    if layer["mark"]["type"] not in _PATHS:
        return [
            {name: pixel(row) for name, pixel in places.items()}
            | {name: row[field] for name, field in looks.items()}
            for row in values
        ]
    series: dict[str, list[Row]] = {}
    for row in values:
        series.setdefault(repr([row[field] for field in looks.values()]), []).append(row)
    paths = []
    for rows in series.values():
        rows.sort(key=places["x"])
        points = {name: [pixel(row) for row in rows] for name, pixel in places.items()}
        path = _path(points, is_step=layer["mark"].get("interpolate") == "step-before")
        paths.append({"path": path} | {name: rows[0][field] for name, field in looks.items()})
    return paths


def _pixels(name: str, layer: Layer, size: Mapping[str, int]) -> Callable[[Row], float]:
    """Where a channel places a row; the steps are those of Vega's scales, so that all digits are equal."""
    axis = name[0]
    field = layer["encoding"][name]["field"]
    start, end = layer["encoding"][axis]["scale"]["domain"]
    first, last = (0, size["x"]) if axis == "x" else (size["y"], 0)
    if end < start:
        start, end, first, last = end, start, last, first
    offset = layer["mark"].get(f"{name}Offset", 0)

    def pixel(row: Row) -> float:
        share = (row[field] - start) / (end - start)
        return float(first * (1 - share) + last * share + offset)

    return pixel


def _path(points: Mapping[str, Sequence[float]], *, is_step: bool) -> str:
    """A line through the points, or the area from "y" to "y2"."""
    there = list(zip(points["x"], points["y"], strict=True))
    if "y2" in points:
        there += reversed(list(zip(points["x"], points["y2"], strict=True)))
    elif is_step:
        corners = [(before, y) for (before, _), (_, y) in pairwise(there)]
        there = [there[0], *(place for pair in zip(corners, there[1:], strict=True) for place in pair)]
    path = "M" + "L".join(f"{_rounded(x)},{_rounded(y)}" for x, y in there)
    return path + "Z" if "y2" in points or len(there) == 1 else path


def _rounded(pixel: float) -> float:
    """With three digits, as Vega writes paths."""
    return math.floor(1000 * pixel + 0.5) / 1000
