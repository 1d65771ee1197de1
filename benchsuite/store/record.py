"""One trial's outcome as a line of `results.jsonl`."""

from __future__ import annotations

import io
import json
import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from benchsuite.store.files import open_regular
from benchsuite.store.keys import is_content_key
from benchsuite.store.texts import all_printable, printable, read_json

if TYPE_CHECKING:
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
        stages: content keys of the stages behind the trial (data, train, trace, early, score, trial), of the
            network's architecture and of how its latency was measured, and what identifies the numbers of
            the dense model and of the scores (train_content, score_content). Where some layers have a
            criterion of their own, its scores stand in score_2, score_3, ...; what metric plugins measured
            on the dense model stands in metric, metric_2, ...
        error: the reason of any status but done.
        rounds: of a schedule with rounds, the metrics after each round, the last one's as in `metrics`.
    """

    key: str
    axes: dict[str, Any]
    status: Status
    metrics: dict[str, float] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    stages: dict[str, str] = field(default_factory=dict)
    error: str | None = None
    rounds: tuple[dict[str, float], ...] = ()
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> str:
        """One line of JSON without a line break."""
        fields = asdict(self)
        if not self.rounds:
            del fields["rounds"]
        return json.dumps(fields, ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, line: str) -> TrialRecord:
        """Parse one line; raises `ValueError` that says what is wrong with it.

        Texts are made printable, and the error's is cut to a length (`benchsuite.store.texts`).
        """
        data = read_json(line)
        if "\\u" in line or not line.rstrip("\n").isprintable():
            data = all_printable(data)
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
        _check_keys(data)
        if "stages" in data:
            data["stages"] = {name: key for name, key in data["stages"].items() if key}
        _check_axes(data["axes"])
        bad = [n for n, v in data.get("metrics", {}).items() if not _is_finite_number(v)]
        if bad:
            raise ValueError(f"metrics {', '.join(bad)} are not numbers")
        data["rounds"] = _rounds(data.get("rounds", []))
        try:
            json.dumps(data, allow_nan=False)
        except ValueError:
            raise ValueError("NaN and infinity are no JSON") from None
        if isinstance(data.get("error"), str):
            data["error"] = printable(data["error"])
        return cls(**{name: data[name] for name in _FIELD_TYPES if name in data})


def _rounds(told: list[Any]) -> tuple[dict[str, float], ...]:
    """The metrics after each round; raises `ValueError` for what is none."""
    for number, metrics in enumerate(told, start=1):
        if not isinstance(metrics, dict):
            raise ValueError(f"round {number} of rounds is no table of metrics")
        bad = [str(name)[:50] for name, value in metrics.items() if not _is_finite_number(value)]
        if bad:
            raise ValueError(f"{', '.join(bad)} of round {number} are not numbers")
    return tuple(told)


def _check_keys(data: dict[str, Any]) -> None:
    """Raise `ValueError` for content keys that are none: they name folders.

    The key of a stage may be empty: one from before checksums has nothing that identifies its numbers.
    """
    if not is_content_key(data["key"]):
        raise ValueError(f"{data['key'][:50]!r} is no content key, which is 20 hexadecimal digits")
    for name, key in data.get("stages", {}).items():
        if key not in (None, "") and not is_content_key(key):
            raise ValueError(
                f"stages.{name[:50]} is no content key, which is 20 hexadecimal digits: {str(key)[:50]!r}"
            )


def _check_axes(axes: dict[str, Any]) -> None:
    """Raise `ValueError` for axes of the wrong type, and for numbers that no table could hold."""
    for name, kinds in _AXES.items():
        if name in axes and (not isinstance(axes[name], kinds) or isinstance(axes[name], bool)):
            raise ValueError(f"axes.{name} has the wrong type: {str(axes[name])[:50]!r}")
    for name, value in axes.items():
        if isinstance(value, int) and not _is_finite_number(value) and not isinstance(value, bool):
            raise ValueError(f"axes.{name[:50]} is a number beyond what a float holds")


def _is_finite_number(value: object) -> bool:
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number beyond what a float holds
        return False


_AXES: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("dataset", "model", "scorer", "granularity", "scope", "budget", "schedule"), str),
    **dict.fromkeys(("seed", "draw"), int),
    "recovery_epochs": (int, float),
    "sparsity": (int, float, str),
    "scorer_params": dict,
}
_FIELD_TYPES: dict[str, type | tuple[type, ...]] = {
    "key": str,
    "axes": dict,
    "status": str,
    "metrics": dict,
    "provenance": dict,
    "settings": dict,
    "stages": dict,
    "error": (str, type(None)),
    "rounds": list,
    "schema_version": int,
}


def read_records(path: Path) -> tuple[dict[str, TrialRecord], list[str]]:
    """Read a results file: the last record of each key, and a message for each line that is none.

    A last line without a line break is the trace of a crash and is left out.
    """
    records: dict[str, TrialRecord] = {}
    problems: list[str] = []
    if not path.exists():
        return records, problems
    with io.TextIOWrapper(open_regular(path), encoding="utf-8", errors="replace") as handle:
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
