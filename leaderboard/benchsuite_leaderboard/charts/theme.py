"""The look of criteria on every chart, with colours from the page's CSS variables for light and dark."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchsuite_leaderboard.board import Criterion

COLOURS = 7
"""Number of `--series-n` variables in the style sheet, whose colours colour-blind people can distinguish."""
_BANDS_AMONG_MANY = 3

_CONTROL_DASHES = {"reversed": (1, 3), "shuffled": (6, 2, 1, 2), "scratch": (10, 3)}
_RANDOM_DASH = (3, 3)


@dataclass(frozen=True)
class Look:
    """How the marks of one criterion are drawn.

    Attributes:
        has_band: whether its interval is drawn; too many bands would cover each other.
        is_leader: whether it has a colour of its own.
    """

    colour: str
    dash: tuple[int, ...]
    width: float
    has_band: bool
    is_leader: bool = False


def looks(ranked: Sequence[Criterion], controls: Iterable[Criterion]) -> dict[Criterion, Look]:
    """Colours for the best criteria, thin lines for the rest, grey dashes for controls."""
    bands = COLOURS if len(ranked) <= COLOURS else _BANDS_AMONG_MANY
    given: dict[Criterion, Look] = {}
    for place, criterion in enumerate(ranked):
        given[criterion] = (
            Look(f"var(--series-{place + 1})", (), 2.0, has_band=place < bands, is_leader=True)
            if place < COLOURS
            else Look("var(--faint)", (), 1.0, has_band=False)
        )
    for control in controls:
        dash = _CONTROL_DASHES.get(control.wrapper or "", _RANDOM_DASH)
        given[control] = Look("var(--ink-3)", dash, 1.5, has_band=False)
    return given


def share_format(domain: tuple[float, float], ticks: int) -> str:
    """With as many decimals of a percentage as the steps between about so many ticks need."""
    step = (domain[1] - domain[0]) / ticks
    # A renderer's steps are 1, 2 or 5 times a power of ten, and at least 0.7 of the even step.
    return f".{max(0, math.ceil(-math.log10(0.7 * step * 100)))}%" if step > 0 else ".1%"


def shorten(text: str, length: int = 30) -> str:
    """The text without control characters, cut in the middle if it is too long for a chart."""
    clean = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if len(clean) <= length:
        return clean
    head = (length - 1) * 2 // 3
    return f"{clean[:head]}…{clean[len(clean) - (length - 1 - head) :]}"
