"""Numbers that trials share because they were computed once, and so are the same in each of them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator

    from benchsuite.store.record import TrialRecord

_DENSE = re.compile(r"accuracy/top\d+_dense|cost/(params|macs|file_bytes)_dense|interpretability/.*_dense")
_SCORED = re.compile(r"scoring/(ties|stability)")
_BUILT = re.compile(r"cost/(params|macs|flops|file_bytes|activation_peak_bytes)|interpretability/units")
_REMOVED = re.compile(r"sparsity/(units|params|macs)")
_TIMED = re.compile(r"(latency|energy)/.*")


@dataclass(frozen=True)
class Family:
    """Numbers that are the same in all records of one group.

    Attributes:
        metrics: their names.
        of: what the records have in common, in words.
        group: which group a record is of; None of none.
    """

    metrics: re.Pattern[str]
    of: str
    group: Callable[[TrialRecord], Hashable]


def differences(records: Iterable[TrialRecord]) -> Iterator[tuple[str, TrialRecord, TrialRecord, str]]:
    """Numbers that differ between records that share them: what, the two records, and the values."""
    first: dict[Hashable, tuple[Any, TrialRecord]] = {}
    for record in records:
        for number, family in enumerate(_FAMILIES):
            group = family.group(record)
            if group is None:
                continue
            for name, value in record.metrics.items():
                if not family.metrics.fullmatch(name):
                    continue
                known, other = first.setdefault((number, group, name), (value, record))
                if known != value:
                    yield f"{name[:80]} differs on {family.of}", record, other, f"{value}, but {known}"
        samples = record.provenance.get("test_samples")
        data = record.provenance.get("data_digest")
        if samples is not None and isinstance(data, str):
            known, other = first.setdefault(("samples", data), (samples, record))
            if known != samples:
                yield "provenance.test_samples differ on the same data", record, other, "other counts"


def _stage(record: TrialRecord, *names: str) -> Hashable:
    """What the record says of these stages; None if it does not say all of them."""
    found = tuple(record.stages.get(name) or "" for name in names)
    return found if all(found) else None


def _scoring(record: TrialRecord) -> Hashable:
    """The scoring of a trial that has one alone; with several, the numbers are those of all together."""
    return None if "score_2" in record.stages else _stage(record, "score", "score_content")


def _architecture(record: TrialRecord) -> Hashable:
    """One architecture, on one kind of device: another may keep other tensors meanwhile."""
    stage = _stage(record, "architecture")
    return None if stage is None else (stage, str(record.provenance.get("device_type")))


def _smaller(record: TrialRecord) -> Hashable:
    """An architecture whose removed units are really gone; masks leave it as it was."""
    return _architecture(record) if record.axes.get("granularity") == "unit" else None


def _timing(record: TrialRecord) -> Hashable:
    """An architecture with how and under which conditions it was timed: it is timed once."""
    stage, conditions = _stage(record, "architecture", "latency"), record.provenance.get("latency")
    return None if stage is None else (stage, json.dumps(conditions, sort_keys=True))


_FAMILIES = (
    Family(_DENSE, "one dense model", lambda record: _stage(record, "train")),
    Family(_SCORED, "one scoring", _scoring),
    Family(_BUILT, "one architecture", _architecture),
    Family(_REMOVED, "one architecture", _smaller),
    Family(_TIMED, "one architecture", _timing),
)
