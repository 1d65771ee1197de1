"""Latencies: measured once for equal architectures, and never shared between different ones."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from benchsuite.commands.host import latency_conditions
from benchsuite.execution.jobs import Job, LatencyJob
from benchsuite.execution.messages import Ended, Measured, Message, Started
from benchsuite.execution.pending_work import needs_latency, pending_work
from benchsuite.execution.run import Run
from benchsuite.hardware.devices import device_libraries
from benchsuite.metrics.network_cost import Cost
from benchsuite.plan import matrix, stage_keys
from benchsuite.plan.matrix import build_plan
from benchsuite.registry.discovery import discover
from benchsuite.store.record import TrialRecord
from benchsuite.store.run_directory import RunDirectory
from benchsuite.suite import load_suite
from benchsuite.trials.facts import WEIGHTS, DenseFacts, PrunedFacts, dense_stage, pruned_stage

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchsuite.plan.trial import Trial

SUITE = """
[suite]
name = "small"
seeds = [0]
sparsities = [0.3, 0.6]
scorers = ["magnitude-l1", "lamp"]

[[workload]]
dataset = "digits"
models = ["mlp"]
"""
DENSE = DenseFacts(
    top1=0.9,
    loss=0.1,
    recall={},
    confusion=[],
    train_seconds=1.0,
    cost=Cost(100, 1000, 90, 900, 4000, ()),
    file_bytes=5,
    data_digest="",
    device="a chip",
)
HERE = {
    "device": "a chip",
    "host": "here",
    "platform": "Linux",
    "cores": "2",
    "python": "3.12",
    "torch": "2.6",
}


class Stopwatch:
    """An executor that notes which trials are timed, and returns a different number each time."""

    def __init__(self) -> None:
        self.timed: list[str] = []
        self._events: list[tuple[int, Job, Message]] = []

    def slots(self) -> Sequence[str]:
        return ["cpu"]

    def free_slots(self) -> int:
        return 1

    def start(self, job: Job) -> int:
        assert isinstance(job, LatencyJob)
        for trial in job.trials:
            self.timed.append(trial.key)
            number = float(len(self.timed))
            metrics = {"latency/batch1_ms": number, "latency/batch128_ms": number, "energy/batch1_mj": number}
            self._events += [(0, job, Started(trial.key, "")), (0, job, Measured(trial.key, metrics))]
        self._events.append((0, job, Ended("finished")))
        return 0

    def wait(self, seconds: float) -> list[tuple[int, Job, Message]]:
        events, self._events = self._events, []
        return events

    def finish(self) -> None:
        pass

    def close(self) -> None:
        pass


class Bench:
    """A run directory in which every trial is done; a test sets which ones have the same architecture."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.directory = RunDirectory(folder / "run")
        self.directory.path.mkdir()
        self.records: dict[str, TrialRecord] = {}

    def trials(self, suite: str = SUITE) -> list[Trial]:
        path = self.folder / "suite.toml"
        path.write_text(suite)
        registry, _ = discover()
        return build_plan(load_suite(path, registry), registry, self.folder)

    def finish(self, trials: Sequence[Trial], architectures: Sequence[str]) -> None:
        for trial, architecture in zip(trials, architectures, strict=True):
            dense, data = map(self.directory.stage, (trial.dense.key, trial.dense.data_key))
            dense.mkdir(parents=True, exist_ok=True)
            (dense / WEIGHTS).write_bytes(b"weights")
            dense_stage(dense, data).complete(DENSE)
            folder = self.directory.stage(trial.key)
            folder.mkdir(parents=True)
            pruned_stage(folder).complete(PrunedFacts(axes=trial.axes, removed={}))
            stages = {**trial.stages, "architecture": architecture}
            self.records[trial.key] = TrialRecord(
                trial.key, trial.axes, "done", metrics={"accuracy/top1": 0.9}, stages=stages
            )

    def measure(self, trials: Sequence[Trial], conditions: dict[str, str]) -> list[str]:
        """Measure what is missing and return the keys of the trials that were timed."""
        watch = Stopwatch()
        work = pending_work(trials, self.records, self.directory, retry_failed=False)
        Run(self.directory, self.records, {}, []).measure_latencies(work, lambda: watch, conditions)
        assert not any(needs_latency(trial, self.records[trial.key]) for trial in trials)
        return watch.timed

    def forget(self, trial: Trial) -> None:
        """Remove a trial's latency, as if the trial had just been run."""
        record = self.records[trial.key]
        stages = {name: key for name, key in record.stages.items() if name != "latency"}
        metrics = {n: v for n, v in record.metrics.items() if not n.startswith(("latency/", "energy/"))}
        self.records[trial.key] = replace(record, stages=stages, metrics=metrics, provenance={})


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def times(bench: Bench, trial: Trial) -> dict[str, float]:
    metrics = bench.records[trial.key].metrics
    return {n: v for n, v in metrics.items() if n.startswith(("latency/", "energy/"))}


def test_each_architecture_is_timed_once_and_its_energy_goes_along(bench: Bench) -> None:
    trials = bench.trials()
    bench.finish(trials, ["a", "b", "a", "c"])
    assert bench.measure(trials, HERE) == [trials[0].key, trials[1].key, trials[3].key]
    assert times(bench, trials[0]) == times(bench, trials[2]) != times(bench, trials[1])
    assert times(bench, trials[2]).keys() >= {"energy/batch1_mj", "latency/batch1_ms"}
    assert bench.records[trials[2].key].provenance["latency"] == HERE
    assert bench.measure(trials, HERE) == []
    # A later network of the same architecture reuses it too.
    bench.forget(trials[2])
    assert bench.measure(trials, HERE) == []
    assert times(bench, trials[2]) == times(bench, trials[0])


@pytest.mark.parametrize("condition", HERE)
def test_nothing_is_shared_between_other_conditions(bench: Bench, condition: str) -> None:
    trials = bench.trials()
    bench.finish(trials, ["a"] * 4)
    bench.measure(trials, HERE)
    before = times(bench, trials[0])
    bench.forget(trials[1])
    assert bench.measure(trials, {**HERE, condition: "other"}) == [trials[1].key]
    assert bench.records[trials[1].key].provenance["latency"] == {**HERE, condition: "other"}
    # Measurements under other conditions are kept, since they name their conditions.
    assert times(bench, trials[0]) == before
    assert bench.records[trials[0].key].provenance["latency"] == HERE


def test_these_are_the_conditions_of_a_run() -> None:
    conditions = latency_conditions("cpu")
    assert conditions.keys() == HERE.keys()
    assert conditions["torch"] == torch.__version__.partition("+")[0]
    assert 1 <= int(conditions["cores"]) <= (os.cpu_count() or 1)
    assert device_libraries("cuda:0")["cuda"] == str(torch.version.cuda)


@pytest.mark.parametrize("latency", ["{ batch_sizes = [1] }", "{ threads = 2 }", "{ threads = [1, 2] }"])
def test_other_settings_are_measured_anew_for_all(bench: Bench, latency: str) -> None:
    first = bench.trials()
    bench.finish(first, ["a", "b", "a", "b"])
    bench.measure(first, HERE)
    second = bench.trials(SUITE + f"[metrics]\nlatency = {latency}\n")
    assert [t.key for t in second] == [t.key for t in first]
    assert len(bench.measure(second, HERE)) == 2


def test_a_change_of_the_code_that_measures_is_measured_anew(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = bench.trials()
    bench.finish(first, ["a"] * 4)
    bench.measure(first, HERE)
    digest = stage_keys.code_digest

    def edited(module: str) -> str:
        return digest(module) + ("edited" if module == stage_keys.LATENCY else "")

    monkeypatch.setattr(stage_keys, "code_digest", edited)
    second = bench.trials()
    assert [t.key for t in second] == [t.key for t in first]
    assert bench.measure(second, HERE) == [first[0].key]
    assert matrix.latency_key is stage_keys.latency_key


def test_strange_records_are_no_source_of_latencies(bench: Bench) -> None:
    """A results file can hold anything that is JSON."""
    trials = bench.trials()
    bench.finish(trials, ["a"] * 4)
    odd: list[Any] = [None, "here", 7, [], {"device": 1}]
    for number, value in enumerate(odd):
        key = f"{number:020}"
        bench.records[key] = TrialRecord(
            key,
            trials[0].axes,
            "done",
            metrics={"latency/batch1_ms": 0.0},
            stages={"architecture": "a", "latency": str(trials[0].latency_key)},
            provenance={"latency": value},
        )
    assert bench.measure(trials, HERE) == [trials[0].key]
    assert times(bench, trials[3])["latency/batch1_ms"] == 1.0


@pytest.mark.parametrize("damaged", ["dense", "pruned"])
def test_a_network_that_is_damaged_is_made_anew_before_it_is_timed(bench: Bench, damaged: str) -> None:
    """The latency of the dense model is measured beside that of the pruned one: both are needed."""
    trials = bench.trials()
    bench.finish(trials, ["a", "b", "c", "d"])
    if damaged == "dense":
        (bench.directory.stage(trials[0].dense.key) / WEIGHTS).write_bytes(b"damaged")
    else:
        (bench.directory.stage(trials[0].key) / "stage.json").write_text("{}")
    work = pending_work(trials, bench.records, bench.directory, retry_failed=False)
    keys = [[trial.key for trial in part] for part in (work.to_run, work.to_time)]
    every = [trial.key for trial in trials]
    assert keys == ([every, []] if damaged == "dense" else [every[:1], every[1:]])


class Broken(Stopwatch):
    """An executor whose worker ends before it measured anything."""

    def start(self, job: Job) -> int:
        self._events.append((0, job, Ended("killed", "no memory")))
        return 0


def test_latencies_that_were_not_measured_are_told_of_and_noted(bench: Bench) -> None:
    trials = bench.trials()
    bench.finish(trials, ["a", "b", "a", "c"])
    told: list[str] = []
    work = pending_work(trials, bench.records, bench.directory, retry_failed=False)
    Run(bench.directory, bench.records, {}, [], told.append).measure_latencies(work, Broken, HERE)
    assert told
    assert all("was not measured" in line for line in told)
    for trial in trials:
        assert "latency was not measured" in str(bench.records[trial.key].error)
        assert not times(bench, trial)
