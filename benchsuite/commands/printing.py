"""Printing what may come from strangers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def say(console: Console, text: str) -> None:
    """Print a text that may come from a stranger, without the signs that control a terminal."""
    shown = "".join(c if c.isprintable() or c == "\n" else "?" for c in text)
    console.print(shown, markup=False, soft_wrap=True)


def size(count: int) -> str:
    """A number of bytes as a person says it, in powers of 1000."""
    number, units = float(count), ["kB", "MB", "GB", "TB"]
    if number < 1000:
        return f"{count} B"
    while number >= 1000 and units:
        number, unit = number / 1000, units.pop(0)
    return f"{number:.1f} {unit}"
