"""The details of a trial that only the run's own folder has: layers, recovery, errors by class, pictures."""

from __future__ import annotations

import csv
import io
import math
import re
from typing import TYPE_CHECKING

from benchsuite.store.keys import is_content_key
from benchsuite.store.texts import read_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

TEXTS = ("layers.csv", "recovery.json", "confusion.csv")
PNG = b"\x89PNG\r\n\x1a\n"
PICTURES = {"detectors.jpg": b"\xff\xd8\xff", "concepts.png": PNG}
"""Names of a trial's pictures of dissection, with the first bytes of such a file."""

_LARGEST = 1 << 18
_MOST_CLASSES = 20
_MOST_LAYERS = 1000
_MOST_REPORTS = 50
_MOST_COLUMNS = 30
_SHOWN_ROWS = 50
_TABLE = re.compile(r"(?:report|measured-([a-z0-9._-]{1,100}))-([a-z][a-z0-9_]{0,39})\.csv")
"""Tables of a criterion, and of metric plugins, whose names stand before."""
_DRAWN = re.compile(r"measured-[a-z0-9._-]{1,100}-[a-z][a-z0-9_]{0,39}\.png")
_LAYER_COLUMNS = ["layer", "units_dense", "units", "weights_dense", "weights_nonzero"]

Layer = tuple[str, int, int, int, int]


class RunFolders:
    """The run directories among a site's sources."""

    def __init__(self, sources: Iterable[Path] = ()) -> None:
        self._stages = [source / "stages" for source in sources if (source / "stages").is_dir()]

    def find(self, key: str) -> Path | None:
        """The folder of a trial; None if its record came without one."""
        if not is_content_key(key):
            return None
        return next((folder for stages in self._stages if (folder := stages / key).is_dir()), None)

    def stamp(self, keys: Iterable[str]) -> str:
        """A text that changes with the folders' content: the sizes of the files that a site shows."""
        if not self._stages:
            return ""
        found = []
        for key in keys:
            folder = self.find(key)
            if folder is not None:
                shown = [folder / name for name in (*TEXTS, *pictures_in(folder))]
                found.append((key, [(path.name, _size(path)) for path in (*shown, *_tables(folder))]))
        return repr(found)


def layers(folder: Path) -> list[Layer] | None:
    """Name, units of the dense network, units left, weights of the dense network, non-zero weights left.

    None if the file is absent or malformed, as for all that is read here.
    """
    rows = _rows(folder / "layers.csv")
    if not rows or rows[0] != _LAYER_COLUMNS or len(rows) > _MOST_LAYERS:
        return None
    found = []
    try:
        for name, units_dense, units, weights_dense, weights in rows[1:]:
            numbers = _count(units_dense), _count(units), _count(weights_dense), _count(weights)
            found.append((name, *numbers))
    except ValueError:
        return None
    return found


def recovery_losses(folder: Path) -> list[float] | None:
    """The mean training loss of each epoch of recovery."""
    text = _text(folder / "recovery.json")
    try:
        losses = read_json(text or "null")["losses"]
        return [float(f"{loss:.5g}") for loss in losses if math.isfinite(loss)]
    except (ValueError, TypeError, KeyError):
        return None


def confusion(folder: Path) -> tuple[list[str], list[list[int]]] | None:
    """Class names, if they are few, and test samples by true class (rows) and predicted class (columns)."""
    rows = _rows(folder / "confusion.csv")
    if not rows or not 1 < len(rows) <= _MOST_CLASSES + 1:
        return None
    try:
        counts = [[_count(text) for text in row[1:]] for row in rows[1:]]
    except ValueError:
        return None
    names = rows[0][1:]
    return (names, counts) if all(len(row) == len(names) == len(counts) for row in counts) else None


def tables(folder: Path) -> list[tuple[str, str, list[str], list[list[str]], int]] | None:
    """The tables of the criterion and of metric plugins.

    Of each the file's name, what a person calls it, columns, first rows, and how many rows there are.
    """
    found = []
    for path in _tables(folder):
        columns, *rows = _rows(path) or [[]]
        if 0 < len(columns) <= _MOST_COLUMNS and all(len(row) == len(columns) for row in rows):
            found.append((path.name, _title(path.name), columns, rows[:_SHOWN_ROWS], len(rows)))
    return found or None


def _title(name: str) -> str:
    match = _TABLE.fullmatch(name)
    assert match is not None
    return f"Reported by the criterion: {match[2]}" if match[1] is None else f"{match[1]}: {match[2]}"


def _tables(folder: Path) -> list[Path]:
    return _matching(folder, _TABLE)


def pictures_in(folder: Path) -> list[str]:
    """Names of the pictures that a trial's folder may have: of dissection, and of metric plugins."""
    return [*PICTURES, *(path.name for path in _matching(folder, _DRAWN))]


def _matching(folder: Path, names: re.Pattern[str]) -> list[Path]:
    try:
        found = sorted(path for path in folder.iterdir() if names.fullmatch(path.name))
    except OSError:
        return []
    return found[:_MOST_REPORTS]


def picture(folder: Path, name: str, most: int) -> bytes | None:
    """A picture's bytes; None if there is none, it is larger than `most` bytes, or not a picture."""
    size = _size(folder / name)
    if not 0 < size <= most:
        return None
    try:
        content = (folder / name).read_bytes()
    except OSError:
        return None
    return content if content.startswith(PICTURES.get(name, PNG)) else None


def has_picture(folder: Path, name: str) -> bool:
    """Whether the folder has it."""
    return _size(folder / name) > 0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:
        return 0


def _text(path: Path) -> str | None:
    try:
        if not path.is_file() or path.stat().st_size > _LARGEST:  # a pipe has no end
            return None
        return path.read_text("utf-8", "replace")
    except OSError:
        return None


def _rows(path: Path) -> Sequence[list[str]]:
    text = _text(path)
    try:
        return [] if text is None else list(csv.reader(io.StringIO(text)))
    except csv.Error:
        return []


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise ValueError(f"{text} is no number of things")
    return value
