"""The lines of a run's results file: which are records, and how those that are none are set aside."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchsuite.store.files import open_regular
from benchsuite.store.record import TrialRecord
from benchsuite.store.texts import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import BinaryIO

ASIDE = "results.damaged.jsonl"
"""Where lines go that are no records."""
_LONGEST = 16 << 20
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True)
class Lines:
    """What a results file holds.

    Attributes:
        records: the last record of each key.
        damaged: number of each line that is no record, and why it is none.
        torn: bytes of a last line without a line break, the trace of a crash.
    """

    records: dict[str, TrialRecord] = field(default_factory=dict)
    damaged: tuple[tuple[int, str], ...] = ()
    torn: int = 0


def read_lines(path: Path) -> Lines:
    """Read a results file; raises `OSError` if it is no regular file."""
    records: dict[str, TrialRecord] = {}
    damaged: list[tuple[int, str]] = []
    torn = 0
    with open_regular(path, follow=False) as file:
        for number, line in enumerate(_lines(file, lambda _: None), start=1):
            if not line.ended:
                torn = line.length
                continue
            try:
                record = _record(line)
            except ValueError as error:
                damaged.append((number, printable(str(error), 200)))
            else:
                if record is not None:
                    records[record.key] = record
    return Lines(records, tuple(damaged), torn)


def set_aside(path: Path) -> int:
    """Move the lines of a results file that are no records to `results.damaged.jsonl` beside it.

    Returns:
        How many were moved.

    Raises:
        OSError: a file could not be read or written; the results are as they were.
    """
    moved = 0
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    aside = os.open(path.with_name(ASIDE), _APPEND, 0o644)
    try:
        with (
            os.fdopen(aside, "wb") as bad,
            open_regular(path, follow=False) as file,
            temporary.open("xb") as good,
        ):
            for line in _lines(file, bad.write):
                try:
                    _record(line)
                except ValueError:
                    bad.write(line.text or b"")
                    moved += 1
                else:
                    good.write(line.text or b"")
            for handle in (bad, good):
                handle.flush()
                os.fsync(handle.fileno())
        shutil.copymode(path, temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return moved


@dataclass(frozen=True)
class _Line:
    """A line of a file; its text is None where it is too long to be held."""

    text: bytes | None
    length: int
    ended: bool


def _lines(file: BinaryIO, long: Callable[[bytes], object]) -> Iterator[_Line]:
    """The lines of a file; of those that are too long, `long` gets the text piece by piece."""
    while piece := file.readline(_LONGEST):
        if piece.endswith(b"\n") or len(piece) < _LONGEST:
            yield _Line(piece, len(piece), piece.endswith(b"\n"))
            continue
        length = 0
        while piece:
            long(piece)
            length += len(piece)
            ended = piece.endswith(b"\n")
            piece = b"" if ended else file.readline(_LONGEST)
        yield _Line(None, length, ended)


def _record(line: _Line) -> TrialRecord | None:
    """The record of a line, None for an empty one; raises `ValueError` for one that is no record."""
    if line.text is None:
        raise ValueError(f"it is longer than {_LONGEST >> 20} MiB")
    text = line.text.decode("utf-8", "replace")
    if not text.strip():
        return None
    try:
        return TrialRecord.from_json(text)
    except TypeError as error:
        raise ValueError(str(error)) from error
