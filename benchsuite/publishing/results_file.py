"""Results files: a run's records with their suite, in one file that can be sent to others."""

from __future__ import annotations

import gzip
import json
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from benchsuite.errors import UsageError
from benchsuite.store.files import open_regular, write_atomically
from benchsuite.store.record import TrialRecord
from benchsuite.store.texts import read_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_LONGEST_LINE = 1 << 20
_LARGEST = 1 << 30
_MOST_LINES = 4_000_000
_MOST_PROBLEMS = 1000
"""Lines that cannot be read, of a file with fewer that can, which then is no results file."""
_GZIP = b"\x1f\x8b"


class Header(BaseModel):
    """The first line of a results file.

    Attributes:
        name: the suite's name.
        suite: the suite file's text.
        cells: number of cells in the suite.
        versions: what the records were made with.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: Literal["benchsuite-results"] = "benchsuite-results"
    format_version: Literal[1] = 1
    name: Annotated[str, Field(max_length=100)]
    suite: Annotated[str, Field(max_length=65_536)]
    cells: Annotated[int, Field(ge=0)]
    versions: dict[str, str]


@dataclass(frozen=True)
class Published:
    """The content of a results file.

    Attributes:
        header: None for a bare file of records, such as a run directory's own.
        problems: lines that could not be read, each with file and line number.
    """

    path: Path
    header: Header | None
    records: tuple[TrialRecord, ...]
    problems: tuple[str, ...]


def write_published(path: Path, header: Header, records: Sequence[TrialRecord]) -> None:
    """Write a results file atomically, compressed if named `.gz`."""
    write_atomically(path, packed(header, records, compress=path.suffix == ".gz"))


def packed(header: Header, records: Sequence[TrialRecord], *, compress: bool) -> bytes:
    """The bytes of a results file; equal content gives equal bytes."""
    lines = [json.dumps(header.model_dump(), ensure_ascii=False), *(record.to_json() for record in records)]
    content = ("\n".join(lines) + "\n").encode()
    return gzip.compress(content, mtime=0) if compress else content


def read_published(path: Path) -> Published:
    """Read a results file from any source, compressed or not; nothing in it is trusted.

    Raises:
        UsageError: it is not a file, cannot be read at all, or has another format version.
    """
    header: Header | None = None
    records: dict[str, TrialRecord] = {}
    problems: list[str] = []
    if not str(path).isprintable():
        raise UsageError(f"rename {str(path)!r}: its name has line breaks or other control characters")
    try:
        for number, line in enumerate(_lines(path), start=1):
            where = f"{path}:{number}"
            if len(line) > _LONGEST_LINE:
                raise UsageError(f"{where}: the line is longer than {_LONGEST_LINE:,} bytes")
            if number > _MOST_LINES:
                raise UsageError(f"{path} has more than {_MOST_LINES:,} lines")
            if len(problems) > max(_MOST_PROBLEMS, len(records)):
                raise UsageError(
                    f"{path} is no results file: {problems[0]}, and {_MOST_PROBLEMS:,} more lines"
                )
            if not line.strip():
                continue
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")  # some editors write a mark there
                if number == 1 and (header := _header(text, where)) is not None:
                    continue
                record = TrialRecord.from_json(text)
            except (ValueError, TypeError, RecursionError) as error:
                problems.append(f"{where}: {error}")
                continue
            if header is not None and record.key in records:
                problems.append(f"{where}: the trial {record.key!r} stands in the file already")
            else:
                records[record.key] = record
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    if problems and header is None and not records:
        raise UsageError(f"{path} is no results file: {problems[0]}")
    if header is None and not records:
        raise UsageError(f"{path} is no results file: it has no record")
    return Published(path, header, tuple(records.values()), tuple(problems))


def read_header(path: Path) -> Header | None:
    """The first line of a results file; None for a bare file of records.

    Raises:
        UsageError: the file cannot be read, or has another format version.
    """
    try:
        line = next(_lines(path), b"")
        if len(line) > _LONGEST_LINE:
            raise UsageError(f"{path}:1: the line is longer than {_LONGEST_LINE:,} bytes")
        return _header(line.decode("utf-8-sig"), f"{path}:1")
    except (ValueError, RecursionError):
        return None
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error


def _lines(path: Path) -> Iterator[bytes]:
    with open_regular(path) as file:
        compressed = file.read(len(_GZIP)) == _GZIP
    with gzip.open(path) if compressed else open_regular(path) as lines:
        total = 0
        while line := lines.readline(_LONGEST_LINE + 1):
            total += len(line)
            if total > _LARGEST:
                raise UsageError(f"{path} holds more than {_LARGEST:,} bytes")
            yield line


def _header(text: str, where: str) -> Header | None:
    """The header if the line is one; raises `UsageError` for one that this version cannot read."""
    content: Any = read_json(text)
    if not isinstance(content, dict) or "format" not in content:
        return None
    try:
        return Header.model_validate(content)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise UsageError(f"{where}: the header is not one that this benchsuite reads: {wrong}") from error
