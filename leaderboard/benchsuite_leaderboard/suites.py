"""The suites that a site's records come from: names, files from which they run again, published values."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import ValidationError

from benchsuite.errors import UsageError
from benchsuite.publishing.results_file import read_header
from benchsuite.store.files import read_regular
from benchsuite.suite.published import MOST, PublishedValue
from benchsuite_leaderboard.pages.addresses import slug

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

FOLDER = "suites"
"""Where a site has its suites' files."""
_LARGEST = 1 << 20


@dataclass(frozen=True)
class Suite:
    """A suite of the site.

    Attributes:
        name: as its file has it.
        file: how a command names its file.
        text: the file itself, where the site offers it: the first line of a results file has it. Empty for a
            run directory, whose own file may tell of the machine.
    """

    name: str
    file: str
    text: str = ""


@dataclass(frozen=True)
class PublishedSuite:
    """A suite with published values.

    Attributes:
        name: as its file has it, or that of the run directory or results file.
        description: likewise; empty without one.
        values: what has been published.
    """

    name: str
    description: str
    values: tuple[PublishedValue, ...]


def suites_of(sources: Sequence[Path]) -> tuple[Suite, ...]:
    """The suites of run directories and results files, each once; what cannot be read is left out."""
    found = (_of_run(source) if source.is_dir() else _of_results(source) for source in sources)
    return tuple(dict.fromkeys(suite for suite in found if suite is not None))


def suite_text(source: Path) -> str | None:
    """The text of the suite of a run directory or a results file; None where there is none to be read."""
    try:
        if source.is_dir():
            return read_regular(source / "suite.toml", _LARGEST, follow=False).decode()
        header = read_header(source)
    except (OSError, ValueError, UsageError):
        return None
    return None if header is None else header.suite


def published_suites(sources: Sequence[Path]) -> tuple[tuple[PublishedSuite, ...], tuple[str, ...]]:
    """The suites with published values of run directories and results files, and what could not be read.

    A suite may be anybody's: what is no published value is left out, and said in a sentence.
    """
    found: dict[str, PublishedSuite] = {}
    notes = []
    for source in sources:
        try:
            content = tomllib.loads(suite_text(source) or "")
        except (ValueError, RecursionError):
            continue  # that the suite cannot be read is said where its records are
        tables, section = content.get("reference", []), content.get("suite")
        wrong = [] if isinstance(tables, list) else [0]
        values: dict[str, PublishedValue] = {}
        for number, table in enumerate(tables[:MOST] if isinstance(tables, list) else []):
            try:
                reference = PublishedValue.model_validate(table)
                values.setdefault(repr(reference), reference)
            except (ValidationError, TypeError, RecursionError):
                wrong.append(number)
        if wrong:
            listed = ", ".join(map(str, wrong[:5])) + (", …" if len(wrong) > 5 else "")
            notes.append(f"{source.resolve().name}: reference[{listed}] cannot be read and is left out")
        if values:
            texts = section if isinstance(section, dict) else {}
            name = str(texts.get("name") or source.resolve().name)
            suite = PublishedSuite(name, str(texts.get("description") or ""), tuple(values.values()))
            found.setdefault(repr(suite), suite)
    return tuple(found.values()), tuple(notes)


def published_values(suites: Sequence[PublishedSuite]) -> tuple[PublishedValue, ...]:
    """The published values of all suites, each once."""
    found = {repr(value): value for suite in suites for value in suite.values}
    return tuple(found.values())


def _of_run(folder: Path) -> Suite | None:
    try:
        content = tomllib.loads(suite_text(folder) or "")
    except (ValueError, RecursionError):
        return None
    section = content.get("suite")
    name = section.get("name") if isinstance(section, dict) else None
    # Only the folder's name: a site may be published, and paths tell of the machine.
    return Suite(name, f"{folder.resolve().name}/suite.toml") if isinstance(name, str) else None


def _of_results(file: Path) -> Suite | None:
    try:
        header = read_header(file)
    except UsageError:
        return None
    if header is None:
        return None
    words = slug(header.name).rpartition("-")[0] or "suite"
    digest = hashlib.sha256(f"{header.name}\x1f{header.suite}".encode("utf-8", "surrogatepass")).hexdigest()[
        :8
    ]
    return Suite(header.name, f"{words}-{digest}.toml", header.suite)
