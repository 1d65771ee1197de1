"""Tables that a scorer reports of its own work, as files in the folders of its scores and of the trials."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchsuite.scoring.reports import NAME
from benchsuite.store.files import read_regular, write_atomically

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_LARGEST = 1 << 26
"""Bytes of a table's file."""


def keep_tables(folder: Path, tables: Mapping[str, str]) -> None:
    """Leave tables in a stage's folder, in place of those of an earlier attempt."""
    for name in _names(folder):
        _file(folder, name).unlink()
    for name, table in tables.items():
        write_atomically(_file(folder, name), table)


def tables_in(folder: Path) -> dict[str, str]:
    """By name, the tables in a stage's folder, as CSV.

    Raises:
        OSError: one cannot be read.
    """
    return {name: read_regular(_file(folder, name), _LARGEST).decode() for name in _names(folder)}


def _file(folder: Path, name: str) -> Path:
    return folder / f"report-{name}.csv"


def _names(folder: Path) -> list[str]:
    names = (path.name[len("report-") : -len(".csv")] for path in folder.glob("report-*.csv"))
    return sorted(name for name in names if NAME.fullmatch(name))
