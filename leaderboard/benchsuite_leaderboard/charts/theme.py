"""How criteria look on every chart: colours are names of the page's CSS variables, for light and dark."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchsuite_leaderboard.cells import Criterion

COLOURS = 7
"""Number of `--series-n` variables in the style sheet, which are told apart by the colour-blind."""

_DASHES = ((), (7, 3))
_CONTROL_DASHES = {"reversed": (1, 3), "shuffled": (6, 2, 1, 2), "scratch": (10, 3)}
_RANDOM_DASH = (3, 3)


@dataclass(frozen=True)
class Look:
    """How the marks of one criterion are drawn."""

    colour: str
    dash: tuple[int, ...]
    width: float


def looks(ranked: Sequence[Criterion], controls: Iterable[Criterion]) -> dict[Criterion, Look]:
    """Colours to the best criteria, a second dash to the next, ink to the rest; grey dashes to controls."""
    given: dict[Criterion, Look] = {}
    for place, criterion in enumerate(ranked):
        dash, colour = divmod(place, COLOURS)
        given[criterion] = (
            Look(f"var(--series-{colour + 1})", _DASHES[dash], 2.0)
            if dash < len(_DASHES)
            else Look("var(--ink-3)", (), 1.0)
        )
    for control in controls:
        given[control] = Look("var(--ink-3)", _CONTROL_DASHES.get(control.wrapper or "", _RANDOM_DASH), 1.5)
    return given


def shorten(text: str, length: int = 30) -> str:
    """The text without control characters, cut in the middle where it is too long for a chart."""
    clean = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if len(clean) <= length:
        return clean
    head = (length - 1) * 2 // 3
    return f"{clean[:head]}…{clean[len(clean) - (length - 1 - head) :]}"
