"""Plausibility of rounds: silent on what can be, and each number that cannot is caught."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from benchsuite.publishing.verify import plausibility
from benchsuite.store.record import TrialRecord

DENSE = {"cost/params_dense": 1000.0, "cost/macs_dense": 2000.0, "accuracy/top1_dense": 0.9}


def point(top1: float, removed: float, **changes: float) -> dict[str, float]:
    left = 1 - removed
    return {
        "accuracy/top1": top1,
        "accuracy/loss": 1.5,
        "accuracy/top1_before_recovery": 0.1,
        "sparsity/units": removed,
        "sparsity/params": removed,
        "sparsity/macs": removed,
        "cost/params": round(1000 * left),
        "cost/params_nonzero": round(1000 * left),
        "cost/macs": round(2000 * left),
        "cost/macs_nonzero": round(2000 * left),
        "cost/flops": 2 * round(2000 * left),
        **changes,
    }


def trial(*points: dict[str, float], schedule: str = "rewind", **changes: Any) -> TrialRecord:
    axes = {
        "scorer": "s",
        "schedule": schedule,
        "sparsity": 0.5,
        "budget": "params",
        "granularity": "unit",
        "recovery_epochs": 2.0,
    }
    provenance = {"test_samples": {"a": 5, "b": 5}}
    metrics = points[-1] | DENSE | {"accuracy/class/a": 0.8, "accuracy/class/b": 0.8}
    return TrialRecord("0" * 20, axes, "done", metrics, provenance, rounds=points, **changes)


HONEST = (point(0.9, 0.25), point(0.7, 0.375), point(0.8, 0.5))


def kinds(record: TrialRecord) -> list[str]:
    return [problem.kind for problem in plausibility([record])]


def test_what_can_be_is_not_told():
    assert kinds(trial(*HONEST)) == []
    assert kinds(trial(*HONEST, schedule="iterative")) == []


@pytest.mark.parametrize(
    ("number", "changes", "said"),
    [
        (0, {"accuracy/top1": 1.25}, "after a round, accuracy is no fraction"),
        (1, {"accuracy/top1": 0.75}, "after a round, accuracy/top1 is no share of the test samples"),
        (0, {"accuracy/top1": 0.1, "accuracy/loss": 0.1}, "after a round, accuracy/loss is less than"),
        (0, {"cost/params": 800.0}, "after a round, sparsity/params does not fit the costs"),
        (0, {"cost/flops": 7.0}, "after a round, cost/flops is not twice cost/macs"),
        (0, {"cost/macs": 2500.0}, "after a round, cost/macs is above the dense network's"),
        (0, point(0.9, 0.45), "cost/params grows from round to round"),
        (0, point(0.9, 0.45), "sparsity/macs falls from round to round"),
        (0, {"cost/params_nonzero": 600.0}, "after a round, more is zero than can be"),
        (2, {"accuracy/top1": 0.7}, "the last round is not what the trial came to"),
        (2, {"other": 1.0}, "the last round is not what the trial came to"),
    ],
)
def test_what_cannot_be_is_told(number, changes, said):
    record = trial(*HONEST)
    rounds = list(record.rounds)
    rounds[number] = rounds[number] | changes
    assert any(kind.startswith(said) for kind in kinds(replace(record, rounds=tuple(rounds))))


def test_rounds_of_a_schedule_without_them_are_told():
    assert kinds(trial(*HONEST, schedule="one-shot")) == ["it has rounds, and its schedule has none"]


def test_a_trial_may_take_less_than_its_parts_where_rounds_were_there():
    times = {"time/trial_s": 1.0, "time/prune_s": 5.0, "time/recover_s": 2.0}
    record = trial(*HONEST)
    short = replace(record, metrics=record.metrics | times)
    assert kinds(short) == ["time/trial_s is less than its parts"]
    assert kinds(replace(short, metrics=short.metrics | {"time/reused_s": 6.5})) == []
