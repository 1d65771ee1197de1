"""Reading `.csv` tables, with errors that name the file and line."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import benchsuite

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class Table:
    """The rows of a `.csv` file with a header.

    Args:
        path: the file.
        columns: names that the header must have; it may have more.

    Raises:
        DataError: the file is absent, lacks a column, or has a row of another length.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path = path
        try:
            text = path.read_text(encoding="utf-8-sig")
        except FileNotFoundError as error:
            raise benchsuite.DataError(f"there is no {path}") from error
        except (OSError, UnicodeDecodeError) as error:
            raise benchsuite.DataError(f"{path} cannot be read: {error}") from error
        lines = list(csv.reader(text.splitlines()))
        self.header = tuple(lines[0]) if lines else ()
        absent = [column for column in columns if column not in self.header]
        if absent:
            raise benchsuite.DataError(
                f"{path}: the header has no column {', '.join(map(repr, absent))};"
                f" it needs {', '.join(columns)} and has {', '.join(self.header) or 'nothing'}"
            )
        self.rows: list[Row] = []
        for number, fields in enumerate(lines[1:], start=2):
            if not fields:
                continue
            if len(fields) != len(self.header):
                raise benchsuite.DataError(
                    f"{path}, line {number}: {len(fields)} fields where the header has {len(self.header)}"
                )
            self.rows.append(Row(path, number, dict(zip(self.header, fields, strict=True))))


class Row:
    """One row: its fields, with file and line."""

    def __init__(self, path: Path, line: int, fields: dict[str, str]) -> None:
        self.where = f"{path}, line {line}"
        self._fields = fields

    def text(self, column: str) -> str:
        """The field without surrounding blanks."""
        return self._fields[column].strip()

    def whole(self, column: str) -> int:
        """The field as a whole number; raises `DataError` for anything else."""
        try:
            return int(self.text(column))
        except ValueError as error:
            raise benchsuite.DataError(
                f"{self.where}: {column} is {self.text(column)!r}; it must be a whole number"
            ) from error

    def number(self, column: str) -> float:
        """The field as a number; raises `DataError` for anything else."""
        try:
            return float(self.text(column))
        except ValueError as error:
            raise benchsuite.DataError(
                f"{self.where}: {column} is {self.text(column)!r}; it must be a number"
            ) from error
