"""Checks of a results file: completeness, provenance, plausibility, and agreement with trials run again."""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchsuite.errors import UsageError
from benchsuite.publishing.merge import title
from benchsuite.store import metric_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from benchsuite.plan.trial import Trial
    from benchsuite.store.record import TrialRecord

PROVENANCE = ("benchsuite", "torch", "python", "platform")
"""Provenance fields that every record must have."""
MEASURED = ("device", "device_type", "data_digest", "training_recipe", "recovery_recipe")
"""Further provenance fields that the record of a finished trial must have."""

SPARSITY_TOLERANCE = 0.05
"""How far the achieved sparsity may be above the requested one; below it, twice as far.

A coupled group of a small network can be a few percent of it, and a floor for each layer may keep more.
"""
STANDARD_ERRORS = 2.0
"""How much the accuracy of a trial may differ when it is run again, in standard errors of the test split."""
COST_TOLERANCE = 0.02
"""How far costs may differ, relative to the dense one, if the dense model was trained on another machine."""

_ROUNDING = 1e-6


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
    for text in _texts(suite):
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
    """Impossible numbers, and numbers that differ between criteria but should be the same for all."""
    problems = []
    shared: dict[tuple[str, str], tuple[float, TrialRecord]] = {}
    for record in records:
        if record.status != "done":
            continue
        problems += [Problem(kind, f"{title(record)}: {detail}") for kind, detail in _oddities(record)]
        for name in (metric_names.TOP1_DENSE, metric_names.PARAMS_DENSE, metric_names.MACS_DENSE):
            value, stage = record.metrics.get(name), record.stages.get("train", "")
            if value is None:
                continue
            first, other = shared.setdefault((stage, name), (value, record))
            if value != first:
                detail = f"{title(record)}: {value}, but {first} in {title(other)}"
                problems.append(Problem(f"{name} differs on one dense model", detail))
    return problems


def _oddities(record: TrialRecord) -> Iterator[tuple[str, str]]:
    metrics = record.metrics
    for name in (metric_names.TOP1, metric_names.TOP1_DENSE, metric_names.PARAMS, metric_names.MACS):
        if name not in metrics:
            yield f"{name} is missing", record.status
    for name, value in metrics.items():
        if (
            name.startswith((metric_names.TOP, metric_names.CLASS, metric_names.SPARSITY))
            and not 0 <= value <= 1
        ):
            yield f"{name.partition('/')[0]} is no fraction", f"{name[:80]} is {value}"
        elif value < 0 and name.startswith(
            (metric_names.COST, metric_names.LATENCY, metric_names.TIME, metric_names.LOSS)
        ):
            yield f"{name[:80]} is negative", f"{value}"
    for cost in ("params", "macs"):
        left, dense = metrics.get(metric_names.cost(cost)), metrics.get(metric_names.cost(cost, "dense"))
        nonzero = metrics.get(metric_names.cost(cost, "nonzero"))
        if left is None or dense is None:
            continue
        if left > dense:
            yield f"cost/{cost} is above the dense network's", f"{left} > {dense}"
        kept = left if nonzero is None or record.axes.get("granularity") != "weight" else nonzero
        removed = metrics.get(metric_names.sparsity(cost))
        if removed is not None and dense and abs(1 - kept / dense - removed) > _ROUNDING:
            yield f"sparsity/{cost} does not fit the costs", f"{removed} where {kept} of {dense} are left"
    flops, macs = metrics.get(metric_names.FLOPS), metrics.get(metric_names.MACS)
    if flops is not None and macs is not None and flops != 2 * macs:
        yield "cost/flops is not twice cost/macs", f"{flops} and {macs}"
    wanted, achieved = (
        record.axes.get("sparsity"),
        metrics.get(metric_names.sparsity(str(record.axes.get("budget")))),
    )
    if isinstance(wanted, int | float) and achieved is not None:
        off = achieved - wanted
        if not -2 * SPARSITY_TOLERANCE <= off <= SPARSITY_TOLERANCE:
            yield "the sparsity is far from the one requested", f"{achieved:.3f} instead of {wanted}"


def disagreement(claimed: TrialRecord, again: TrialRecord, test_samples: int) -> list[Problem]:
    """The values of a trial that was run again that are outside the tolerance.

    Args:
        claimed: the record in the file.
        again: the record made on this machine.
        test_samples: size of the test split.
    """
    where = title(claimed)
    if again.status != claimed.status:
        reason = f" ({again.error})" if again.error else ""
        return [Problem("ends otherwise", f"{where}: {claimed.status}, here {again.status}{reason[:300]}")]
    if claimed.status != "done":
        return []
    problems = []
    if claimed.provenance.get("data_digest") != again.provenance.get("data_digest"):
        problems.append(Problem("was made with other data", where))
    for name in (
        metric_names.TOP1,
        metric_names.TOP1_DENSE,
        metric_names.TOP1_BEFORE_RECOVERY,
        metric_names.TOP1_RECALIBRATED,
    ):
        if name not in again.metrics and name not in claimed.metrics:
            continue  # a network that was trained anew has no accuracy before recovery
        ours, theirs = again.metrics.get(name, math.nan), claimed.metrics.get(name, math.nan)
        if not abs(ours - theirs) <= accuracy_tolerance(ours, theirs, test_samples):
            problems.append(Problem(f"{name} differs", f"{where}: {theirs:.4f}, here {ours:.4f}"))
    for name in (
        metric_names.PARAMS,
        metric_names.MACS,
        metric_names.PARAMS_NONZERO,
        metric_names.MACS_NONZERO,
    ):
        ours, theirs = again.metrics[name], claimed.metrics.get(name, math.nan)
        if not abs(ours - theirs) <= _cost_tolerance(claimed, again, name):
            problems.append(Problem(f"{name} differs", f"{where}: {theirs:,.0f}, here {ours:,.0f}"))
    return problems


def accuracy_tolerance(first: float, second: float, samples: int) -> float:
    """Two standard errors of an accuracy on this many test samples; at least those for one wrong sample."""
    mean = min(max((first + second) / 2, 1 / samples), 1 - 1 / samples)
    return STANDARD_ERRORS * math.sqrt(mean * (1 - mean) / samples)


def _cost_tolerance(claimed: TrialRecord, again: TrialRecord, name: str) -> float:
    """Zero if the suite alone decides how much is removed from each layer, or the machines are the same."""
    fields = ("device", "torch", "threads")
    alike = all(claimed.provenance.get(f) == again.provenance.get(f) for f in fields)
    if alike or claimed.axes.get("scope") == "layer":
        return 0.0
    return COST_TOLERANCE * again.metrics[f"{name.removesuffix('_nonzero')}_dense"]


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
