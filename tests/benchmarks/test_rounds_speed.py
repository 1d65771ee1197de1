"""Rewinding at the sparsities of its rounds, beside trials that each begin at the first round.

A trial that shares nothing makes all its rounds; what is counted are trainings.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from benchsuite.hardware.devices import prepare
from benchsuite.plan.matrix import build_plan
from benchsuite.pruning.rounds import rounds_of
from benchsuite.registry.discovery import discover
from benchsuite.suite import load_suite
from benchsuite.trials import recovery
from benchsuite.trials.run_trial import run_trial
from benchsuite.trials.scores import score_dense
from benchsuite.trials.training_trace import train_with_traces
from benchsuite.trials.worker_context import RunConfiguration, WorkerContext

if TYPE_CHECKING:
    from pathlib import Path

    from benchsuite.plan.trial import Trial

SPARSITIES = [0.2, 0.36, 0.488, 0.5904, 0.67232, 0.737856, 0.7902848, 0.83222784]
SUITE = f"""
[suite]
name = "rounds"
seeds = [0]
scorers = ["magnitude-l1"]
sparsities = {SPARSITIES}
[[workload]]
dataset = "digits"
models = ["mlp"]
training = {{ epochs = 1 }}
[pruning]
granularity = "weight"
scope = "global"
budget = "params"
schedule = "rewind"
[metrics]
latency = false
"""


def test_trials_at_the_sparsities_of_the_rounds(benchmark, tmp_path: Path, monkeypatch) -> None:
    registry, _ = discover()
    (tmp_path / "suite.toml").write_text(SUITE)
    trials = build_plan(load_suite(tmp_path / "suite.toml", registry), registry, tmp_path)
    worker = WorkerContext(RunConfiguration(tmp_path, tmp_path), registry, prepare("cpu", 1), 1)
    trainings = []
    train = recovery.train

    def counted(*arguments: Any, **options: Any) -> Any:
        trainings.append(1)
        return train(*arguments, **options)

    monkeypatch.setattr(recovery, "train", counted)
    train_with_traces(worker, trials[0].dense, trials[0].traces)
    scored = score_dense(worker, trials[0].score)

    def run(trials: list[Trial]) -> list[float]:
        return [run_trial(worker, trial, [scored]).metrics["accuracy/top1"] for trial in trials]

    found = benchmark.pedantic(partial(run, trials), rounds=1)
    alone = sum(len(rounds_of(trials[0].schedule, sparsity)) for sparsity in SPARSITIES)
    assert len(found) == len(trainings) == len(SPARSITIES)
    assert alone == 36
    benchmark.extra_info["trainings"] = len(trainings)
    benchmark.extra_info["ratio"] = round(alone / len(trainings), 1)
