"""Writing tables of data sets for tests, and damaging them."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def write_csv(path: Path, *rows: tuple[Any, ...]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def change_csv(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
