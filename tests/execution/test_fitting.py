"""What a worker may say of its job: its own trials in order, and of them what the plan does not know."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from benchsuite.execution.fitting import MOST_TOLD, Fitting, Unfitting
from benchsuite.execution.jobs import LatencyJob, ScoreJob, TablesJob, TrainJob, TrialsJob
from benchsuite.execution.messages import (
    Completed,
    Finished,
    Measured,
    Sent,
    StageFailed,
    Started,
    Told,
    decoded,
    encoded,
)
from benchsuite.execution.progress import outcome_line
from benchsuite.plan.matrix import build_plan
from benchsuite.registry.discovery import discover
from benchsuite.store.record import TrialRecord
from benchsuite.suite import load_suite

if TYPE_CHECKING:
    from benchsuite.plan.trial import Trial

SUITE = """
[suite]
name = "small"
seeds = [0]
sparsities = [0.3, 0.6, 0.9]
scorers = ["magnitude-l1"]

[[workload]]
dataset = "digits"
models = ["mlp"]
"""
METRICS = {"accuracy/top1": 0.5, "accuracy/top1_dense": 0.75}
CONTENT = {name: f"{number:020}" for number, name in enumerate(("architecture", "train_content"))}


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> list[Trial]:
    path = tmp_path_factory.mktemp("suite") / "suite.toml"
    path.write_text(SUITE)
    registry, _ = discover()
    return build_plan(load_suite(path, registry), registry, path.parent)


def done(trial: Trial, **changes: Any) -> Finished:
    record = TrialRecord(trial.key, trial.axes, "done", METRICS, {"device": "a chip"}, stages=CONTENT)
    return Finished(replace(record, **changes))


def sent(fitting: Fitting, *messages: Sent) -> list[Sent]:
    return [fitting.check(decoded(encoded(message))) for message in messages]


def test_what_an_honest_worker_says_is_taken(trials: list[Trial]) -> None:
    fitting = Fitting(TrialsJob(tuple(trials)))
    said: list[Sent] = [Started(None, "x"), Told("a sentence")]
    for trial in trials:
        said += [Started(trial.key, "x"), done(trial, settings=dict(trial.shared))]
    found = sent(fitting, *said, Completed())
    assert fitting.completed
    assert fitting.left() is None
    records = [message.record for message in found if isinstance(message, Finished)]
    assert [record.key for record in records] == [trial.key for trial in trials]
    for record, trial in zip(records, trials, strict=True):
        assert record.axes == trial.axes
        assert record.stages == {**CONTENT, **trial.stages}
        assert record.provenance == {"device": "a chip"}
        assert record.metrics == METRICS


def test_what_the_plan_knows_is_taken_from_the_plan(trials: list[Trial]) -> None:
    trial = trials[0]
    lies = {
        "axes": {},
        "settings": {"a": 1},
        "error": "x",
        "stages": {"train": "0" * 20, "latency": "1" * 20},
    }
    _, message = sent(Fitting(TrialsJob((trial,))), Started(trial.key, ""), done(trial, **lies))
    assert isinstance(message, Finished)
    record = message.record
    assert (record.axes, record.settings) == (trial.axes, dict(trial.shared))
    assert (record.stages, record.error) == (trial.stages, None)
    assert outcome_line(record)


def test_an_outcome_without_a_result_has_no_numbers(trials: list[Trial]) -> None:
    trial = trials[0]
    _, message = sent(
        Fitting(TrialsJob((trial,))), Started(trial.key, ""), done(trial, status="failed", axes={})
    )
    assert isinstance(message, Finished)
    assert (message.record.metrics, message.record.axes) == ({}, trial.axes)
    assert message.record.error


@pytest.mark.parametrize(
    "changes",
    [
        {"metrics": {}},
        {"metrics": {"accuracy/top1": 0.5}},
        {"metrics": {**METRICS, "accuracy/top1": 99.9}},
        {"metrics": {**METRICS, "accuracy/top1_dense": -1}},
        {"status": "timeout"},
        {"status": "killed"},
        {"key": "0" * 20},
    ],
)
def test_outcomes_that_cannot_be_are_refused(trials: list[Trial], changes: dict[str, Any]) -> None:
    fitting = Fitting(TrialsJob(tuple(trials)))
    sent(fitting, Started(trials[0].key, ""))
    with pytest.raises(Unfitting):
        sent(fitting, done(trials[0], **changes))


def test_no_other_job_has_an_outcome_of_trials_or_begins_one(trials: list[Trial]) -> None:
    score = trials[0].score
    for job in (TrainJob(score.dense), TablesJob((score,)), ScoreJob(score), LatencyJob(tuple(trials))):
        for message in (Started(trials[0].key, ""), done(trials[0])):
            if isinstance(job, LatencyJob) and isinstance(message, Started):
                continue
            with pytest.raises(Unfitting):
                sent(Fitting(job), Started(None, ""), message)


def test_trials_come_one_after_another_and_once(trials: list[Trial]) -> None:
    first, second, _ = trials
    begun, ended = Started(first.key, ""), done(first)
    for said in (
        [ended],
        [begun, Started(second.key, "")],
        [begun, done(second)],
        [begun, ended, ended],
        [begun, ended, begun],
        [Started(None, ""), Started(None, "")],
        [Started("../..", "")],
        [Completed(), Completed()],
        [Completed(), begun],
        [StageFailed("failed", ""), begun],
        [StageFailed("done", "")],
        [Told("x")] * (MOST_TOLD + 1),
        [Measured(first.key, {"latency/batch1_ms": 1.0})],
    ):
        fitting = Fitting(TrialsJob(tuple(trials)))
        sent(fitting, *said[:-1])
        with pytest.raises(Unfitting):
            sent(fitting, said[-1])


@pytest.mark.parametrize(
    ("key", "metrics"),
    [
        ("nobody", {"latency/batch1_ms": 1.0}),
        (None, {"accuracy/top1": 1.0}),
        (None, {"latency/batch1_ms": math.inf}),
    ],
)
def test_latencies_that_cannot_be_are_refused(
    trials: list[Trial], key: str | None, metrics: dict[str, float]
) -> None:
    fitting = Fitting(LatencyJob(tuple(trials)))
    sent(fitting, Started(trials[0].key, ""), Measured(trials[0].key, {"latency/batch1_ms": 1.0}))
    sent(fitting, Started(trials[1].key, ""))
    with pytest.raises(Unfitting):
        fitting.check(Measured(key or trials[1].key, metrics))


@pytest.mark.parametrize("number", [math.nan, math.inf, 10**400])
def test_no_number_of_a_message_is_other_than_finite(trials: list[Trial], number: float) -> None:
    fitting = Fitting(LatencyJob(tuple(trials)))
    sent(fitting, Started(trials[0].key, ""))
    message = {"kind": "measured", "trial": trials[0].key, "metrics": {"latency/batch1_ms": number}}
    with pytest.raises(ValueError):
        fitting.check(decoded(json.dumps(message).encode()))


def test_what_is_left_of_a_job_begins_with_the_trial_in_work(trials: list[Trial]) -> None:
    first, second, third = trials
    fitting = Fitting(TrialsJob(tuple(trials)))
    sent(fitting, Started(first.key, ""), done(first), Started(second.key, ""))
    assert fitting.left() == TrialsJob((second, third))
    score = ScoreJob(first.score)
    assert Fitting(score).left() == score
