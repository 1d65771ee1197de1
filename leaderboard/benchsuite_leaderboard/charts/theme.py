"""How charts look: colours by name of the page's CSS variables, so that one SVG serves light and dark."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import altair as alt

    from benchsuite_leaderboard.cells import Criterion

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"
COLOURS = 7
"""Number of `--series-n` variables in the style sheet, which are told apart by the colour-blind."""

_DASHES = ((), (7, 3))
_CONTROL_DASHES = {"reversed": (1, 3), "shuffled": (6, 2, 1, 2), "scratch": (10, 3)}
_RANDOM_DASH = (3, 3)


@dataclass(frozen=True)
class Look:
    """How the marks of one criterion are drawn on every chart of a site."""

    colour: str
    dash: tuple[int, ...]
    width: float


def looks(ranked: Sequence[Criterion], controls: Iterable[Criterion]) -> dict[Criterion, Look]:
    """Colours to the best criteria, a second dash to the next, ink to the rest; grey dashes to controls."""
    given: dict[Criterion, Look] = {}
    for position, criterion in enumerate(ranked):
        dash, colour = divmod(position, COLOURS)
        given[criterion] = (
            Look(f"var(--series-{colour + 1})", _DASHES[dash], 2.0)
            if dash < len(_DASHES)
            else Look("var(--ink-3)", (), 1.0)
        )
    for control in controls:
        dash_of = _CONTROL_DASHES.get(control.wrapper or "", _RANDOM_DASH)
        given[control] = Look("var(--ink-3)", dash_of, 1.5)
    return given


def config() -> dict[str, Any]:
    """The Vega-Lite configuration common to all charts."""
    axis = {
        "domain": False,
        "ticks": False,
        "grid": True,
        "gridColor": "var(--line)",
        "labelColor": "var(--ink-2)",
        "titleColor": "var(--ink-2)",
        "labelFontSize": 11,
        "titleFontSize": 11.5,
        "titleFontWeight": "normal",
        "labelPadding": 6,
        "titlePadding": 8,
    }
    return {
        "background": "transparent",
        "font": FONT,
        "view": {"stroke": None},
        "axis": axis,
        "text": {"color": "var(--ink)", "fontSize": 11.5},
    }


def to_svg(chart: alt.TopLevelMixin, label: str) -> str:
    """The chart as an inline SVG element with a text alternative, scaling to its container's width."""
    import vl_convert

    spec = chart.to_dict()
    spec["config"] = config()
    svg: str = vl_convert.vegalite_to_svg(spec, vl_version=_vegalite_version())
    width, height = re.findall(r'(?:width|height)="([\d.]+)"', svg)[:2]
    body = svg[svg.index(">") + 1 :]
    body = re.sub(r' (?:role|aria-[a-z]+|pointer-events|class)="[^"]*"', "", body)
    body = re.sub(r"(\.\d\d)\d+", r"\1", body)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'style="max-width:{width}px" role="img" aria-label="{escape(label, quote=True)}">{body}'
    )


def shorten(text: str, length: int = 30) -> str:
    """The text without control characters, cut in the middle where it is too long for a chart."""
    clean = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if len(clean) <= length:
        return clean
    head = (length - 1) * 2 // 3
    return f"{clean[:head]}…{clean[len(clean) - (length - 1 - head) :]}"


def _vegalite_version() -> str:
    import altair
    import vl_convert

    wanted = ".".join(altair.SCHEMA_VERSION.lstrip("v").split(".")[:2])
    known: list[str] = vl_convert.get_vegalite_versions()
    return wanted if wanted in known else max(known, key=lambda v: tuple(map(int, v.split("."))))
