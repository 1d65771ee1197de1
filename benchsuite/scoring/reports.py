"""What a criterion says of its own work beside its scores: numbers and tables for people to look at."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from benchsuite.errors import PluginError
from benchsuite.store.texts import printable

if TYPE_CHECKING:
    from typing import TypeGuard

    import numpy.typing as npt

NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
"""Names of reports, which become those of metrics and files."""
MOST_REPORTS = 50
MOST_ENTRIES = 1_000_000
"""Entries of one table or array."""
_LONGEST = 200
"""Letters of a text in a table."""

Cell = str | float | int | bool
Row = Mapping[str, Cell]


class Reports:
    """Collects what a criterion reports while it scores.

    Attributes:
        numbers: by name.
        tables: by name, as CSV with a first line of column names.
    """

    def __init__(self) -> None:
        self.numbers: dict[str, float] = {}
        self.tables: dict[str, str] = {}

    def add(self, name: str, value: object) -> None:
        """Add a number, an array or a table; see `ScoringContext.report`.

        Raises:
            PluginError: the name or the value is none that can be kept.
        """
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise PluginError(
                f"report {name!r}: a name is a lower-case letter and at most 39 lower-case letters, digits "
                "and underscores"
            )
        if name in self.numbers or name in self.tables:
            raise PluginError(f"report {name}: it was reported before")
        if len(self.numbers) + len(self.tables) >= MOST_REPORTS:
            raise PluginError(f"report {name}: {MOST_REPORTS} reports are the most")
        if isinstance(value, Tensor) and not value.is_complex():
            value = value.detach().cpu().double().numpy()
        if isinstance(value, Real) or (isinstance(value, np.ndarray) and value.ndim == 0):
            number = float(value)
            if not math.isfinite(number):
                raise PluginError(f"report {name}: {number} is no finite number")
            self.numbers[name] = number
        elif _are_rows(value):
            self.tables[name] = _table(name, value)
        else:
            self.tables[name] = _array(name, value)


def _are_rows(value: object) -> TypeGuard[Sequence[Row]]:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(row, Mapping) for row in value)


def _table(name: str, rows: Sequence[Row]) -> str:
    columns = list(rows[0])
    if not columns or not all(isinstance(column, str) and 0 < len(column) <= _LONGEST for column in columns):
        raise PluginError(f"report {name}: its columns must have texts as names")
    if any(row.keys() != rows[0].keys() for row in rows):
        raise PluginError(f"report {name}: each row must have the columns of the first, {columns}")
    if len(rows) * len(columns) > MOST_ENTRIES:
        raise PluginError(f"report {name}: {MOST_ENTRIES} entries are the most")
    cells = ([_written(name, row[column]) for column in columns] for row in rows)
    return _csv([[printable(column, _LONGEST) for column in columns], *cells])


def _array(name: str, value: object) -> str:
    try:
        array: npt.NDArray[Any] = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise PluginError(f"report {name}: {type(value).__name__} is no number, array or table") from error
    if array.dtype.kind not in "biuf" or array.ndim not in (1, 2) or not 0 < array.size <= MOST_ENTRIES:
        raise PluginError(
            f"report {name}: an array has one or two dimensions and 1 to {MOST_ENTRIES} numbers, not the "
            f"shape {array.shape} and type {array.dtype}"
        )
    numbers = array.astype(float)
    if np.isinf(numbers).any():
        raise PluginError(f"report {name}: it has infinite numbers")
    rows = numbers[:, None] if numbers.ndim == 1 else numbers
    columns = ["value"] if numbers.ndim == 1 else [str(column) for column in range(rows.shape[1])]
    return _csv([columns, *([_written(name, cell) for cell in row] for row in rows.tolist())])


def _written(name: str, cell: object) -> str:
    """A cell of the file; NaN, which stands for what is not known, is empty."""
    if isinstance(cell, Tensor | np.generic):
        cell = cell.item()
    if isinstance(cell, str) and len(cell) <= _LONGEST:
        return printable(cell, _LONGEST)
    if isinstance(cell, bool | int):
        return str(cell)
    if isinstance(cell, float) and not math.isinf(cell):
        return "" if math.isnan(cell) else f"{cell:.9g}"
    raise PluginError(f"report {name}: {str(cell)[:60]!r} is no short text and no finite number")


def _csv(rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
