"""Reading texts and their labels, with errors that name the file and line; and the words of texts."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import benchsuite

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_WORDS = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True)
class Labelled:
    """The texts of a file.

    Attributes:
        file: the file.
        texts: the texts; an empty one is a text too.
        labels: their labels, without surrounding blanks.
        places: where each of them stands; for messages.
    """

    file: Path
    texts: tuple[str, ...]
    labels: tuple[str, ...]
    places: tuple[str, ...]


def read(file: Path) -> Labelled:
    """The texts of a `.csv` or `.jsonl` file.

    Raises:
        DataError: the file cannot be read, or a line has no text or label.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            rows = list(_of_table(file, lines) if file.suffix == ".csv" else _of_json(file, lines))
    except (OSError, UnicodeDecodeError) as error:
        raise benchsuite.DataError(f"{file} cannot be read: {error}") from error
    if not rows:
        raise benchsuite.DataError(f"{file} holds no text")
    places, texts, labels = zip(*rows, strict=True)
    for place, label in zip(places, labels, strict=True):
        if not label:
            raise benchsuite.DataError(f"{place}: the label is empty")
    return Labelled(file, texts, labels, places)


def words_of(text: str) -> list[str]:
    """The words of a text in lower case: runs of letters, digits and underscores, and single other signs."""
    return _WORDS.findall(text.lower())


def vocabulary_of(texts: Iterable[str], most: int) -> dict[str, int]:
    """Numbers of the most frequent words from 0, equally frequent ones in the order of their characters."""
    counts = Counter(word for text in texts for word in words_of(text))
    ordered = sorted(counts, key=lambda word: (-counts[word], word))
    return {word: number for number, word in enumerate(ordered[:most])}


def _of_table(file: Path, lines: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """Place, text and label of each row."""
    reader = csv.reader(lines, strict=True)
    try:
        header = next(reader, [])
        for column in ("text", "label"):
            if header.count(column) != 1:
                found = ", ".join(header)[:200] or "nothing"
                raise benchsuite.DataError(f"{file}: the header needs one column {column!r}; it has {found}")
        text, label = header.index("text"), header.index("label")
        for row in reader:
            where = f"{file}, line {reader.line_num}"
            if len(row) not in (0, len(header)):
                raise benchsuite.DataError(f"{where}: {len(row)} fields where the header has {len(header)}")
            if row:
                yield where, row[text], row[label].strip()
    except csv.Error as error:
        raise benchsuite.DataError(f"{file}, line {reader.line_num}: {error}") from error


def _of_json(file: Path, lines: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """Place, text and label of each line that is not blank."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{file}, line {number}"
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise benchsuite.DataError(f"{where} is no JSON: {error}") from error
        if not isinstance(entry, dict) or not {"text", "label"} <= entry.keys():
            raise benchsuite.DataError(f'{where} is no object with "text" and "label"')
        text, label = entry["text"], entry["label"]
        if not isinstance(text, str):
            raise benchsuite.DataError(f"{where}: the text is {type(text).__name__}; it must be a string")
        if isinstance(label, bool) or not isinstance(label, str | int):
            raise benchsuite.DataError(
                f"{where}: the label is {type(label).__name__}; it must be a string or a whole number"
            )
        yield where, text, str(label).strip()
