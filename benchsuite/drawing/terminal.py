"""Consoles that print no text from outside as a terminal would obey it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console, RenderHook
from rich.measure import Measurement
from rich.segment import Segment

from benchsuite.store.texts import without_controls

if TYPE_CHECKING:
    from rich.console import ConsoleOptions, ConsoleRenderable, RenderableType, RenderResult


class Printable:
    """Anything that a console can draw, its texts without signs that control a terminal.

    What `rich` itself sends to control the terminal stays.
    """

    def __init__(self, drawn: RenderableType) -> None:
        self._drawn = drawn

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self._drawn, options):
            yield segment if segment.control else Segment(without_controls(segment.text), segment.style)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement.get(console, options, self._drawn)


class _Filter(RenderHook):
    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [Printable(drawn) for drawn in renderables]


def open_console(width_in_pipe: int | None = None) -> Console:
    """The console of a command, on standard output.

    Args:
        width_in_pipe: columns where it is no terminal; None is what `rich` finds.
    """
    made = Console(highlight=False)
    if width_in_pipe is not None and not made.is_terminal:
        made = Console(highlight=False, width=width_in_pipe)
    made.push_render_hook(_Filter())
    return made
