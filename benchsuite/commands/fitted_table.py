"""A table of text that stays one: on a narrow screen columns are shortened or left out, and it says so."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rich.cells import cell_len

if TYPE_CHECKING:
    from collections.abc import Sequence

_GAP = 2
_MARK = "…"
_SHORTEST = 10


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        heading: its first line.
        cells: its other lines.
        is_number: whether it is aligned to the right, and never shortened.
        rank: columns of a higher rank are left out first; those of rank 0 never.
        name: how messages call it, if not by its heading.
    """

    heading: str
    cells: tuple[str, ...]
    is_number: bool = False
    rank: int = 0
    name: str = ""

    @property
    def width(self) -> int:
        """Places on the screen."""
        return max(map(cell_len, (self.heading, *self.cells)))

    def shortened(self, width: int) -> Column:
        """The column with its cells cut in their middle, so that both ends tell them apart."""
        return replace(self, cells=tuple(_cut(cell, width) for cell in self.cells))


@dataclass(frozen=True)
class Fitted:
    """What of a table is shown.

    Attributes:
        columns: the columns that are left.
        same: of columns that have one value in all rows and were left out first, name and value. Those that
            are empty in all rows are left out before, and not told.
        dropped: names of the other columns that were left out.
    """

    columns: tuple[Column, ...]
    same: tuple[tuple[str, str], ...] = ()
    dropped: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """Heading and rows, none longer than the width it was fitted to if that can be."""
        rows = zip(*((column.heading, *column.cells) for column in self.columns), strict=True)
        return ["".join(self._row(row)).rstrip() for row in rows]

    def _row(self, cells: Sequence[str]) -> list[str]:
        parts = []
        for column, cell in zip(self.columns, cells, strict=True):
            space = " " * (column.width - cell_len(cell))
            parts.append(f" {space}{cell} " if column.is_number else f" {cell}{space} ")
        return parts

    def notes(self) -> list[str]:
        """Sentences on what is not shown."""
        found = []
        if self.same:
            found.append("the same in all rows: " + ", ".join(f"{name} {value}" for name, value in self.same))
        if self.dropped:
            found.append(f"no room for: {', '.join(self.dropped)}")
        return found


def fit(columns: Sequence[Column], width: int | None) -> Fitted:
    """Make a table fit.

    Args:
        columns: all columns, of as many cells each.
        width: places on the screen; None if there is no limit.
    """
    shown, same, dropped = list(columns), [], []
    if width is None:
        return Fitted(tuple(shown))
    if _width(shown) > width:
        shown = [column for column in shown if not column.rank or any(column.cells) or not column.cells]
    while _width(shown) > width and len(shown) > 1 and (column := _constant(shown)) is not None:
        shown.remove(column)
        same.append((column.name or column.heading, column.cells[0]))
    shown = _shortened(shown, width)
    while _width(shown) > width and len(shown) > 1 and any(column.rank for column in shown):
        last = max(reversed(shown), key=lambda column: column.rank)  # of equal ones the last
        shown.remove(last)
        dropped.append(last.name or last.heading)
    if dropped:  # there may be more room now than was needed
        left = [column.heading for column in shown]
        shown = _shortened([column for column in columns if column.heading in left], width)
    return Fitted(tuple(shown), tuple(same), tuple(dropped))


def screen_width(*, is_terminal: bool, width: int) -> int | None:
    """The width to fit tables to: the terminal's, in a pipe that of COLUMNS, else None.

    Args:
        is_terminal: whether standard output is one.
        width: the terminal's width.
    """
    if is_terminal:
        return width
    named = os.environ.get("COLUMNS", "")
    return int(named) if named.isdecimal() and int(named) else None


def _width(columns: Sequence[Column]) -> int:
    return sum(column.width + _GAP for column in columns)


def _constant(columns: Sequence[Column]) -> Column | None:
    """The first column to leave out of those that have one value in all of several rows."""
    alike = [c for c in columns if c.rank and len(c.cells) > 1 and c.cells[0] and len(set(c.cells)) == 1]
    return max(alike, key=lambda column: column.rank, default=None)


def _shortened(columns: Sequence[Column], width: int) -> list[Column]:
    """The columns with the longest texts cut as far as is needed and can be."""
    shown = list(columns)
    while (excess := _width(shown) - width) > 0:
        texts = [c for c in shown if not c.is_number and c.width > max(_SHORTEST, cell_len(c.heading))]
        if not texts:
            break
        longest = max(texts, key=lambda column: column.width)
        others = [c.width for c in texts if c is not longest]
        least = max(_SHORTEST, cell_len(longest.heading), longest.width - excess)
        goal = max(least, min(max(others, default=0), longest.width - 1))
        shown[shown.index(longest)] = longest.shortened(goal)
    return shown


def _cut(text: str, width: int) -> str:
    """The text with its middle left out, where it is too long."""
    if cell_len(text) <= width:
        return text
    kept, end = text[: len(text) // 2], text[len(text) // 2 :]
    while cell_len(kept) + cell_len(end) + 1 > width:
        if cell_len(kept) >= cell_len(end):
            kept = kept[:-1]
        else:
            end = end[1:]
    return f"{kept}{_MARK}{end}"
