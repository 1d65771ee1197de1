"""Charts in the terms of Vega-Lite, drawn by Vega as SVG that takes its colours from the page."""

from __future__ import annotations

import re
from html import unescape
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from benchsuite_leaderboard.charts.smaller import smaller
from benchsuite_leaderboard.charts.vega import TEXT, specification

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchsuite_leaderboard.charts.vega import Channel, Layer

LETTER = 6.3
"""Width of a letter, about: a reader's font is not known here."""
_UNSIZED = re.compile(
    r'<text text-anchor="start" [^>]*?translate\(([\d.]+),[^>]* font-size="0px"[^>]*>([^<]*)<'
)

_DOT = re.compile(
    r'<path transform="translate\(([-\d.]+),([-\d.]+)\)" d="M([\d.]+),0A[^"]*" '
    r'fill="([^"]*)" stroke-width="[^"]*"'
    r"([^>]*?)(?:/>|>(<title>[^<]*</title>)?</path>)"
)


def layer(
    mark: str, rows: Sequence[Mapping[str, Any]], encoding: Mapping[str, Channel], **properties: Any
) -> Layer:
    """One mark per row, or per series of rows; only a channel "description" gives a mark a text."""
    form = {"type": mark, "aria": "description" in encoding, **properties}
    # What no channel shows would only make the renderer slower.
    shown = {channel["field"] for channel in encoding.values()}
    values = [{name: value for name, value in row.items() if name in shown} for row in rows]
    return {"data": {"values": values}, "mark": form, "encoding": dict(encoding)}


def lines(rows: Sequence[Mapping[str, Any]], encoding: Mapping[str, Channel], **properties: Any) -> Layer:
    """One line per series of rows, each as the rows' "dash" and "width" say; later series lie on top.

    A layer for each look would be the same picture, and more for the renderer to do.
    """
    look = {"strokeDash": as_is("dash"), "strokeWidth": as_is("width")}
    return layer("line", rows, {**encoding, **look}, **properties)


def dash(pattern: Sequence[int]) -> list[int]:
    """Lengths of strokes and gaps as the rows of `lines` have them; without any, a line without gaps."""
    return list(pattern) or [1, 0]


def labels(rows: Sequence[Mapping[str, Any]], encoding: Mapping[str, Channel], **properties: Any) -> Layer:
    """Names to the right of their places, the last of the layers.

    Measuring many texts takes the renderer as long as all else, so it is told that they have no size;
    `to_svg` makes room for them.
    """
    place = {"align": "left", "baseline": "middle", "dy": 0.3 * TEXT}
    return layer("text", rows, encoding, fontSize=0, **place, **properties)


def axis(field: str, domain: tuple[float, float], title: str, **properties: Any) -> Channel:
    """A quantity on an axis that has exactly the given range."""
    return {**position(field, domain), "title": title, "axis": properties}


def position(field: str, domain: tuple[float, float]) -> Channel:
    """A quantity on an axis that another layer describes."""
    scale = {"domain": list(domain), "nice": False, "zero": False}
    return {"field": field, "type": "quantitative", "scale": scale}


def end(field: str) -> Channel:
    """The far end of a rule or a band."""
    return {"field": field}


def as_is(field: str) -> Channel:
    """A colour or a text that the rows contain."""
    return {"field": field, "type": "nominal", "scale": None}


def text(field: str) -> Channel:
    """The text that is written, or the description of a mark."""
    return {"field": field, "type": "nominal"}


def to_svg(layers: Sequence[Layer], *, width: int, height: int, label: str) -> Markup:
    """The layers as one inline SVG element with a text alternative, scaling to its container's width."""
    import vl_convert

    return inline(vl_convert.vega_to_svg(specification(layers, width, height)), label=label)


def inline(svg: str, *, label: str) -> Markup:
    """A drawing by Vega as an element of a page, in few letters."""
    full_width, full_height = map(float, re.findall(r'(?:width|height)="([\d.]+)"', svg)[:2])
    body = svg[svg.index(">") + 1 :]
    full_width = max(full_width, _right_end(body))
    # Hovering over a mark shows its description; the whole drawing has one text alternative.
    body = re.sub(r'<path (?:role="[^"]*" )?aria-label="([^"]*)"([^>]*?)(?:/>|></path>)', _with_title, body)
    body = re.sub(r' (?:role|aria-[a-z]+|pointer-events|class)="[^"]*"', "", body)
    # Attributes with default values, and marks that draw nothing, are most of a chart's size.
    body = re.sub(
        r' (?:font-family="[^"]*"|opacity="1"|font-weight="normal"|transform="translate\(0,0\)")', "", body
    )
    body = re.sub(r'<path d="(?:M0,0h[\d.]+v[\d.]+h-?[\d.]+Z)?"(?: display="none")?/>', "", body)
    body = re.sub(r' (?:stroke-dasharray="1,0"|text-anchor="start"|font-size="(?:11.5|0)px")', "", body)
    body = _DOT.sub(r'<circle cx="\1" cy="\2" r="\3" fill="\4"\5>\6</circle>', body)
    body = body.replace('"></circle>', '"/>')
    body = re.sub(
        r'<text([^>]*) transform="translate\(([-\d.]+),([-\d.]+)\)"', r'<text x="\2" y="\3"\1', body
    )
    body = smaller(_without_bare_groups(body).removesuffix("</svg>"))
    # The renderer escaped the texts of the body.
    return Markup(  # noqa: S704 - see above
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {full_width:.0f} {full_height:.0f}" '
        f'style="max-width:{full_width:.0f}px" font-size="11.5px" role="img" '
        f'aria-label="{escape(label)}">{body}</svg>'
    )


def _right_end(body: str) -> float:
    """Where the longest of the unmeasured names ends, about."""
    origin = re.search(r"translate\(([\d.]+),", body)
    ends = [float(x) + LETTER * len(unescape(name)) for x, name in _UNSIZED.findall(body)]
    return float(origin[1]) + max(ends) if origin and ends else 0.0


def _with_title(match: re.Match[str]) -> str:
    return f"<path{match[2]}><title>{match[1]}</title></path>"


def _without_bare_groups(body: str) -> str:
    """SVG without useless groups: those without attributes, and the empty ones."""
    open_groups: list[bool] = []

    def kept(match: re.Match[str]) -> str:
        if match[0] == "</g>":
            return match[0] if open_groups and open_groups.pop() else ""
        open_groups.append(match[0] != "<g>")
        return match[0] if open_groups[-1] else ""

    body = re.sub(r"<g(?: [^>]*)?>|</g>", kept, body)
    while (shorter := re.sub(r"<g [^>]*></g>", "", body)) != body:
        body = shorter
    return body
