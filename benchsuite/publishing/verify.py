"""Checks of a results file by itself: completeness, provenance and plausibility."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchsuite.errors import UsageError
from benchsuite.publishing.merge import title
from benchsuite.publishing.plausibility.accuracies import accuracies
from benchsuite.publishing.plausibility.costs import costs
from benchsuite.publishing.plausibility.dissections import dissections
from benchsuite.publishing.plausibility.oddity import Oddity
from benchsuite.publishing.plausibility.ranges import ranges
from benchsuite.publishing.plausibility.rounds import rounds
from benchsuite.publishing.plausibility.shared import differences
from benchsuite.publishing.plausibility.times import times
from benchsuite.store import metric_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from benchsuite.plan.trial import Trial
    from benchsuite.publishing.plausibility.oddity import Oddities
    from benchsuite.store.record import TrialRecord

PROVENANCE = ("benchsuite", "torch", "python", "platform")
"""Provenance fields that every record must have."""
MEASURED = ("device", "device_type", "data_digest", "training_recipe", "recovery_recipe")
"""Further provenance fields that the record of a finished trial must have."""

_ALWAYS = (metric_names.TOP1, metric_names.TOP1_DENSE, metric_names.PARAMS, metric_names.MACS)
"""Metrics that every finished trial has."""


@dataclass(frozen=True)
class Problem:
    """Something wrong with a file.

    Attributes:
        kind: what is wrong, in the same words for all trials concerned.
        detail: where, with the values.
    """

    kind: str
    detail: str


def names_no_files(suite: Mapping[str, Any]) -> None:
    """Raise `UsageError` if a suite from somebody else has a path outside the data folder."""
    section = suite.get("suite")
    # Prose may begin with any letter.
    if isinstance(section, dict):
        section = {name: value for name, value in section.items() if name != "description"}
    for text in _texts({**suite, "suite": section, "reference": None}):
        if re.match(r"[/\\~]|[A-Za-z]:[/\\]", text) or ".." in re.split(r"[/\\]", text) or "\0" in text:
            raise UsageError(
                f"its suite names a file on its author's machine ({text[:80]!r}), which nobody else has: "
                "nothing of it is read"
            )


def completeness(records: Sequence[TrialRecord], trials: Sequence[Trial]) -> list[Problem]:
    """Cells of the suite without a record, and records that are no cell of the suite."""
    planned: dict[str, list[Trial]] = defaultdict(list)
    for trial in trials:
        planned[_identity(trial.axes)].append(trial)
    problems = []
    for record in records:
        waiting = planned.get(_identity(record.axes))
        if waiting:
            shared = dict(_leaves(waiting.pop().shared))
            # An older or newer benchsuite may have fewer or more settings; those in both must agree.
            wrong = [name for name, value in _leaves(record.settings) if shared.get(name, value) != value]
            if wrong:
                problems.append(
                    Problem(f"settings are not the suite's: {', '.join(wrong)[:200]}", title(record))
                )
        else:
            problems.append(Problem("is no cell of the suite, or stands there twice", title(record)))
    for trial in (trial for left in planned.values() for trial in left):
        axes = ", ".join(
            f"{n} {v}" for n, v in trial.axes.items() if n in ("model", "seed", "scorer", "sparsity")
        )
        problems.append(Problem("cells of the suite have no record", axes[:200]))
    return problems


def keys(records: Sequence[TrialRecord], trials: Sequence[Trial]) -> list[Problem]:
    """Keys that stand at another cell than theirs, and those that a record contradicts itself.

    A key that is none of this machine's is no problem: it comes of other code, plugins or data.
    """
    known = {trial.key: trial for trial in trials}
    problems = []
    for record in records:
        trial = known.get(record.key)
        if trial is not None and _identity(trial.axes) != _identity(record.axes):
            problems.append(Problem("has the key of another cell of the suite", title(record)))
        elif trial is not None:
            wrong = [name for name, key in trial.stages.items() if record.stages.get(name, key) != key]
            if wrong:
                problems.append(
                    Problem("has other stages than its key", f"{title(record)}: {', '.join(wrong)}")
                )
        if record.stages.get("trial", record.key) != record.key:
            detail = f"{title(record)}: its trial is {record.stages['trial'][:20]}"
            problems.append(Problem("has another key than its trial", detail))
    return problems


def matched(records: Sequence[TrialRecord], trials: Sequence[Trial]) -> list[tuple[Trial, TrialRecord]]:
    """Each record with its cell of the suite."""
    planned = {_identity(trial.axes): trial for trial in trials}
    pairs = ((planned.get(_identity(record.axes)), record) for record in records)
    return [(trial, record) for trial, record in pairs if trial is not None]


def provenance(records: Iterable[TrialRecord]) -> list[Problem]:
    """Records that do not say where they come from."""
    problems = []
    for record in records:
        wanted = PROVENANCE + (MEASURED if record.status == "done" else ())
        absent = [name for name in wanted if record.provenance.get(name) in (None, "", {})]
        if absent:
            problems.append(Problem(f"provenance lacks {', '.join(absent)}", title(record)))
        if record.status != "done" and not record.error:
            problems.append(Problem(f"is {record.status} without a reason", title(record)))
    return problems


def plausibility(records: Iterable[TrialRecord]) -> list[Problem]:
    """Impossible numbers, and numbers that differ between trials that share them."""
    done = [record for record in records if record.status == "done"]
    problems = [
        Problem(kind, f"{title(record)}: {detail}") for record in done for kind, detail in _oddities(record)
    ]
    for kind, record, other, values in differences(done):
        problems.append(Problem(kind, f"{title(record)}: {values} in {title(other)}"))
    return problems


def _oddities(record: TrialRecord) -> Oddities:
    metrics = {name: float(value) for name, value in record.metrics.items()}
    for name in _ALWAYS:
        if name not in metrics:
            yield Oddity(f"{name} is missing", record.status)
    yield from ranges(metrics)
    yield from accuracies(record, metrics)
    yield from costs(record, metrics)
    yield from times(metrics)
    yield from dissections(record, metrics)
    yield from rounds(record, metrics)


def _identity(axes: Mapping[str, Any]) -> str:
    return json.dumps(axes, sort_keys=True)


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Nested tables as dotted names with JSON values."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{name}.{key}" if name else str(key))
    else:
        yield name, json.dumps(value)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)
