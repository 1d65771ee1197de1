"""Merging several runs and results files into one collection; conflicts are reported."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchsuite.errors import UsageError
from benchsuite.publishing.plausibility.ranges import ranges
from benchsuite.publishing.results_file import read_published
from benchsuite.store import metric_names
from benchsuite.store.counting import counted
from benchsuite.store.files import read_regular
from benchsuite.store.record import SETTLED, TrialRecord
from benchsuite.store.run_directory import RunDirectory

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_COMPARED = (metric_names.ACCURACY, metric_names.COST, metric_names.SPARSITY)
"""Metrics that are the same on every machine, unlike times and latencies."""
_DISAGREES = "differs"
_KEY_SHOWN = 8
_LONGEST_SUITE = 1 << 20
_NAMED = {
    "dataset": "",
    "model": "",
    "seed": "seed",
    "scorer": "",
    "sparsity": "sparsity",
    "draw": "draw",
    "recovery_epochs": "recovery epochs",
}
"""The axes that name a cell, each with what stands before its value."""


@dataclass(frozen=True)
class Merged:
    """Records of several sources.

    Attributes:
        records: one for each cell, unchanged from its source.
        pending: cells of the sources' suites without an outcome.
        notes: sentences about what was left out and where sources disagree.
    """

    records: tuple[TrialRecord, ...]
    pending: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Source:
    """A run directory or a results file.

    Attributes:
        suite: the suite's text, which several sources may share; None if there is none.
        cells: number of its cells.
        outcomes: those that have a record here, left-out ones included.
    """

    path: Path
    records: tuple[TrialRecord, ...]
    notes: tuple[str, ...]
    suite: str | None
    cells: int
    outcomes: frozenset[str]


def merge(paths: Sequence[Path]) -> Merged:
    """Merge run directories and results files.

    If several sources have a cell, the first one's outcome counts, unless the cell failed there and has an
    outcome in another source. Cells are matched even if their keys differ: code, plugins or data differed
    then.

    Raises:
        UsageError: a path is neither a run directory nor a results file.
    """
    collected: dict[str, tuple[TrialRecord, Path]] = {}
    cells: dict[str, str] = {}
    notes: list[str] = []
    sources = [_read(path) for path in paths]
    for source in sources:
        notes += source.notes
        added: dict[str, str] = {}
        told: dict[tuple[str, Path], list[TrialRecord]] = defaultdict(list)
        for record in source.records:
            cell = _cell(record)
            taken = record.key if record.key in collected else cells.get(cell)
            if taken is None:
                collected[record.key] = record, source.path
                added[cell] = record.key
                continue
            known, origin = collected[taken]
            if known.status not in SETTLED and record.status in SETTLED:
                told["has an outcome that {origin} lacks, and is shown", origin].append(record)
                del collected[taken]
                collected[record.key] = record, source.path
                added[cell] = record.key
            elif taken != record.key:
                what = "was computed with other code, plugins or data than in {origin}, which is shown"
                told[what, origin].append(record)
            elif differing(known, record):
                told[_DISAGREES, origin].append(record)
        # Cells of one source are not compared with each other: its suite distinguishes them.
        cells |= added
        notes += [
            _disagreement(source.path, origin, about, collected)
            if what == _DISAGREES
            else _note(source.path, what.format(origin=origin), about)
            for (what, origin), about in told.items()
        ]
    records = tuple(record for record, _ in collected.values())
    return Merged(records, _pending(sources), tuple(notes))


def _pending(sources: Sequence[_Source]) -> int:
    """Cells without an outcome; those of one suite are counted once, wherever they have been computed."""
    suites: dict[str | int, list[_Source]] = defaultdict(list)
    for number, source in enumerate(sources):
        suites[source.suite or number].append(source)
    return sum(
        max(0, max(source.cells for source in of) - len(frozenset().union(*(s.outcomes for s in of))))
        for of in suites.values()
    )


def differing(first: TrialRecord, second: TrialRecord) -> list[str]:
    """The values that differ in two records of one trial, though they should be equal on every machine."""
    if first.status != second.status:
        return ["status"]
    ours, theirs = _compared(first.metrics), _compared(second.metrics)
    return sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))


def title(record: TrialRecord, further: Sequence[str] = ()) -> str:
    """The cell in words, of at most 200 characters; `further` names more axes that tell it from others."""
    words = [
        f"{_NAMED.get(axis, axis.replace('_', ' '))} {value}".lstrip()
        for axis in (*_NAMED, *further)
        if (value := str(record.axes.get(axis, ""))[:200])
    ]
    text = "".join(c if c.isprintable() else "?" for c in " · ".join(words))
    key = f" (key {record.key[:_KEY_SHOWN]})"
    most = 200 - len(key)
    return f"{text if len(text) <= most else f'{text[: most - 1]}…'}{key}"


def _read(path: Path) -> _Source:
    if path.is_file():
        found = read_published(path)
        cells = found.header.cells if found.header else 0
        records, impossible = _possible(path, found.records)
        suite = found.header.suite if found.header else None
        notes = (*_shortened(found.problems), *impossible)
        return _Source(path, records, notes, suite, cells, _outcomes(found.records))
    if not path.is_dir():
        raise UsageError(f"there is no run directory and no results file {path}")
    results = RunDirectory(path).results()
    records, impossible = _possible(path, results.records)
    notes = (*_shortened(results.problems), *impossible)
    if results.superseded:
        left_out = f"{counted(len(results.superseded), 'record')} of an earlier form of the suite left out"
        notes = (*notes, f"{path}: {left_out}")
    try:
        suite = read_regular(RunDirectory(path).suite_file, _LONGEST_SUITE).decode()
    except (OSError, UnicodeDecodeError):
        suite = None
    cells = len(results.records) + results.pending
    return _Source(path, records, notes, suite, cells, _outcomes(results.records))


def _outcomes(records: Sequence[TrialRecord]) -> frozenset[str]:
    return frozenset(_cell(record) for record in records)


def _possible(path: Path, records: Sequence[TrialRecord]) -> tuple[tuple[TrialRecord, ...], tuple[str, ...]]:
    """The records without those that hold a number which cannot be, with a note that says how many."""
    kept, first, left = [], "", 0
    for record in records:
        oddity = next(iter(ranges(record.metrics)), None)
        if oddity is None:
            kept.append(record)
        else:
            left, first = left + 1, first or f"{oddity.kind}: {oddity.detail}"
    if not left:
        return tuple(kept), ()
    many = f"{counted(left, 'record')} {'is' if left == 1 else 'are'}"
    return tuple(kept), (f"{path}: {many} left out for a number that cannot be ({first[:150]})",)


def _shortened(problems: tuple[str, ...]) -> tuple[str, ...]:
    shown = tuple(text if len(text) <= 300 else f"{text[:299]}…" for text in problems[:10])
    left = len(problems) - len(shown)
    return shown if left == 0 else (*shown, f"… and {left} more lines that could not be read")


def _cell(record: TrialRecord) -> str:
    return json.dumps([record.axes, record.settings], sort_keys=True)


def _compared(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if name.startswith(_COMPARED)}


def _note(path: Path, what: str, records: Sequence[TrialRecord]) -> str:
    if len(records) == 1:
        return f"{path}: the trial {title(records[0])} {what}"
    return f"{path}: each of {len(records)} trials, such as {title(records[0])}, {what}"


def _disagreement(
    path: Path,
    origin: Path,
    records: Sequence[TrialRecord],
    collected: Mapping[str, tuple[TrialRecord, Path]],
) -> str:
    """A sentence that blames neither of two sources."""
    first = records[0]
    names = differing(collected[first.key][0], first)
    values = ", ".join(names[:3]) + (f" and {len(names) - 3} more values" if len(names) > 3 else "")
    which = f"{title(first)}: {values}"
    what = f"the trial {which}" if len(records) == 1 else f"{len(records)} trials, such as {which}"
    return (
        f"{origin} and {path} disagree on {what}. Which of them is right is not known; "
        f"{origin} is shown, as it was named first"
    )
