"""What the run makes of workers' messages: a trial that fails takes no other along."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchsuite.execution.jobs import DescribeJob, TrainJob, TrialsJob, needed_plugins, title_of
from benchsuite.execution.messages import Completed, Ended, StageFailed, Started
from benchsuite.execution.phases import DescribePhase, TrialPhase
from benchsuite.plan.matrix import build_plan
from benchsuite.registry.discovery import discover
from benchsuite.suite import load_suite
from benchsuite.trials.description import DescribeTask

if TYPE_CHECKING:
    from pathlib import Path

    from benchsuite.plan.trial import Trial
    from benchsuite.store.record import TrialRecord

SUITE = """
[suite]
name = "phases"
seeds = [0]
sparsities = [0.3, 0.5]
scorers = ["magnitude-l1"]
controls = []
[[workload]]
dataset = "digits"
models = ["mlp"]
"""


@pytest.fixture
def trials(tmp_path: Path) -> list[Trial]:
    path = tmp_path / "phases.toml"
    path.write_text(SUITE)
    registry, _ = discover()
    return build_plan(load_suite(path, registry), registry, tmp_path)


def test_a_failure_within_a_trial_is_that_trials_and_the_rest_goes_on(trials: list[Trial]) -> None:
    recorded: list[TrialRecord] = []
    phase = TrialPhase(trials, lambda _, record: recorded.append(record))
    phase.queue.clear()
    job = TrialsJob(tuple(trials))
    for message in (
        Started(None, ""),
        Started(trials[0].key, ""),
        StageFailed("failed", "it could not write"),
        Completed(),
        Ended("finished"),
    ):
        phase.handle(0, job, message)
    assert [(r.key, r.status, r.error) for r in recorded] == [(trials[0].key, "failed", "it could not write")]
    (left,) = phase.queue
    assert isinstance(left, TrialsJob)
    assert left.trials == tuple(trials[1:])


def test_a_failure_before_the_first_trial_is_that_of_all(trials: list[Trial]) -> None:
    recorded: list[TrialRecord] = []
    phase = TrialPhase(trials, lambda _, record: recorded.append(record))
    job = TrialsJob(tuple(trials))
    for message in (Started(None, ""), StageFailed("failed", "no plugin"), Completed(), Ended("finished")):
        phase.handle(0, job, message)
    assert {r.key for r in recorded} == {trial.key for trial in trials}


def test_a_dense_model_that_is_there_is_not_said_to_be_trained(trials: list[Trial], tmp_path: Path) -> None:
    job = TrainJob(trials[0].dense)
    assert title_of(job, tmp_path) == job.title
    assert job.title.startswith("training ")
    (tmp_path / job.key).mkdir()
    (tmp_path / job.key / "stage.json").touch()
    assert title_of(job, tmp_path) == job.title.replace("training", "taking up")


def test_a_dense_model_that_cannot_be_described_is_told_of(trials: list[Trial]) -> None:
    told: list[str] = []
    phase = DescribePhase([DescribeTask(trials[0].dense, (), "key")], told.append)
    (job,) = phase.queue
    assert isinstance(job, DescribeJob)
    assert needed_plugins(job) == [("dataset", "digits"), ("model", "mlp")], "and no scorer"
    phase.handle(0, job, Ended("finished"))
    assert told == []
    phase.handle(0, job, StageFailed("failed", "it broke"))
    phase.handle(0, job, Ended("timeout", "longer than 3 s"))
    assert told[0].startswith("describing mlp · digits · seed 0 failed")
    assert told[0].endswith("it broke")
    assert "was not finished: the description of the dense model took longer than 3 s (--timeout)" in told[1]
