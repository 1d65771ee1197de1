"""The run directory: the truth of a run, from which MLflow and the leaderboard are made."""

from __future__ import annotations

import fcntl
import json
import math
import os
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from benchsuite.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

SCHEMA_VERSION = 1

Status = Literal["done", "unsupported", "collapsed", "failed", "timeout", "killed"]
STATUSES: tuple[Status, ...] = get_args(Status)
SETTLED: frozenset[Status] = frozenset({"done", "unsupported", "collapsed"})
"""Outcomes that running again would not change."""


@dataclass(frozen=True)
class TrialRecord:
    """One trial's outcome: one line of `results.jsonl`.

    Attributes:
        key: content key of the trial.
        axes: dataset, model, seed, scorer, scorer_params, granularity, scope, budget, schedule,
            recovery_epochs, sparsity, draw.
        status: see `Status`.
        metrics: flat names as in MLflow, such as `accuracy/top1`.
        provenance: versions, device, host, commit.
        settings: what all trials of the suite share: aggregation, normalisation, recipes.
        stages: content keys of the stages behind the trial: data, train, score, trial.
        error: the reason of any status but done.
    """

    key: str
    axes: dict[str, Any]
    status: Status
    metrics: dict[str, float] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    stages: dict[str, str] = field(default_factory=dict)
    error: str | None = None
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> str:
        """One line of JSON without a line break."""
        return json.dumps(asdict(self), ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, line: str) -> TrialRecord:
        """Parse one line; raises `ValueError` that says what is wrong with it."""
        data = json.loads(line)
        if not isinstance(data, dict):
            raise ValueError("a record is a JSON object")
        version = data.get("schema_version")
        if version != SCHEMA_VERSION:
            raise ValueError(f"schema_version is {version!r}; this benchsuite reads {SCHEMA_VERSION}")
        wrong = [
            name for name, kind in _FIELD_TYPES.items() if name in data and not isinstance(data[name], kind)
        ]
        absent = [name for name in ("key", "axes", "status") if name not in data]
        if wrong or absent:
            raise ValueError(
                "; ".join([f"{n} is missing" for n in absent] + [f"{n} has the wrong type" for n in wrong])
            )
        if data["status"] not in STATUSES:
            raise ValueError(f"status is {data['status']!r}; it is one of {', '.join(STATUSES)}")
        bad = [n for n, v in data.get("metrics", {}).items() if not _is_finite_number(v)]
        if bad:
            raise ValueError(f"metrics {', '.join(bad)} are not numbers")
        return cls(**{name: data[name] for name in _FIELD_TYPES if name in data})


def _is_finite_number(value: object) -> bool:
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number beyond what a float holds
        return False


_FIELD_TYPES: dict[str, type | tuple[type, ...]] = {
    "key": str,
    "axes": dict,
    "status": str,
    "metrics": dict,
    "provenance": dict,
    "settings": dict,
    "stages": dict,
    "error": (str, type(None)),
    "schema_version": int,
}


@dataclass(frozen=True)
class Results:
    """What a run directory holds.

    Attributes:
        records: the cells of the suite as it now stands that have an outcome, in the order of the plan.
        superseded: outcomes of cells that the suite no longer has, such as those of an older recipe.
        pending: number of the suite's cells without an outcome.
        problems: lines that could not be read, each with file and line number.
    """

    records: tuple[TrialRecord, ...]
    superseded: tuple[TrialRecord, ...]
    pending: int
    problems: tuple[str, ...]


class RunDirectory:
    """A folder with a suite, its results and its stages. One writer at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.results_file = path / "results.jsonl"
        self.plan_file = path / "plan.json"
        self.suite_file = path / "suite.toml"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory as its only writer; raises `UsageError` if another run holds it.

        The lock goes with the process, however that ends. A torn last line, left by a crash, is dropped.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / ".lock").open("a+") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UsageError(f"{self.path} is being written by another run") from None
            self._drop_torn_line()
            yield

    def stage(self, key: str) -> Path:
        """The folder of a stage."""
        return self.path / "stages" / key

    def append(self, record: TrialRecord) -> None:
        """Write one record durably."""
        with self.results_file.open("a", encoding="utf-8") as handle:
            handle.write(record.to_json() + "\n")
            handle.flush()
            os.fsync(handle.fileno())

    def write_plan(self, cells: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        """Note which cells the suite now has: key and axes of each."""
        text = json.dumps({"cells": [{"key": key, "axes": axes} for key, axes in cells]}, ensure_ascii=False)
        write_atomically(self.plan_file, text)

    def records(self) -> tuple[dict[str, TrialRecord], list[str]]:
        """The last record of each key, and what could not be read."""
        return read_records(self.results_file)

    def results(self) -> Results:
        """The outcomes of the suite's cells; raises `UsageError` where this is no run directory."""
        if not self.results_file.is_file() and not self.plan_file.is_file():
            raise UsageError(f"{self.path} is not a run directory: it has no results.jsonl")
        records, problems = self.records()
        if not self.plan_file.is_file():
            return Results(tuple(records.values()), (), 0, tuple(problems))
        try:
            cells = [str(cell["key"]) for cell in json.loads(self.plan_file.read_text("utf-8"))["cells"]]
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(
                f"{self.plan_file} is damaged ({error}); run the suite again to rewrite it"
            ) from error
        known = set(cells)
        return Results(
            tuple(records[key] for key in cells if key in records),
            tuple(record for key, record in records.items() if key not in known),
            sum(key not in records for key in cells),
            tuple(problems),
        )

    def _drop_torn_line(self) -> None:
        if not self.results_file.exists():
            return
        with self.results_file.open("rb+") as handle:
            content = handle.read()
            if content and not content.endswith(b"\n"):
                handle.truncate(content.rfind(b"\n") + 1)


def read_records(path: Path) -> tuple[dict[str, TrialRecord], list[str]]:
    """Read a results file: the last record of each key, and a message for each line that is none.

    A last line without a line break is the trace of a crash and is left out.
    """
    records: dict[str, TrialRecord] = {}
    problems: list[str] = []
    if not path.exists():
        return records, problems
    with path.open(encoding="utf-8", errors="replace") as handle:
        for number, line in enumerate(handle, start=1):
            if not line.strip() or not line.endswith("\n"):
                continue
            try:
                record = TrialRecord.from_json(line)
            except (ValueError, TypeError) as error:
                problems.append(f"{path}:{number}: {error}")
                continue
            records[record.key] = record
    return records, problems


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace a file in one step, so that no reader and no crash ever sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content.encode() if isinstance(content, str) else content)
    temporary.replace(path)
