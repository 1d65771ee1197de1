"""Tables that the host fills for all criteria, against each criterion alone with none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from benchsuite.hardware.devices import prepare
from benchsuite.plan.matrix import build_plan
from benchsuite.registry.discovery import discover
from benchsuite.scoring.shared import SharedPasses
from benchsuite.store import stages
from benchsuite.suite import load_suite
from benchsuite.trials.scores import score_dense
from benchsuite.trials.tables import fill_tables
from benchsuite.trials.training_trace import train_with_traces
from benchsuite.trials.worker_context import RunConfiguration, WorkerContext

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from benchsuite.plan.score_task import ScoreTask

READING = ["mean-activation", "apoz", "hrank", "taylor-weight", "fisher"]
"""Criteria that share tables or statistics."""


def prepared(folder: Path) -> tuple[WorkerContext, list[ScoreTask]]:
    """A trained dense model in a run directory of its own, and the scorings of it."""
    registry, _ = discover()
    file = folder / "suite.toml"
    names = ", ".join(f'"{name}"' for name in READING)
    file.write_text(
        f"""
[suite]
name = "tables"
seeds = [0]
sparsities = [0.5]
scorers = [{names}]
controls = []
[[workload]]
dataset = {{ name = "shapes", size = 16, samples = 150 }}
models = ["small-resnet"]
[training]
epochs = 1
[scoring]
samples = 48
batch_size = 20
[metrics]
latency = false
"""
    )
    trials = build_plan(load_suite(file, registry), registry, folder)
    worker = WorkerContext(RunConfiguration(folder, folder), registry, prepare("cpu", 1), 1)
    train_with_traces(worker, trials[0].dense, trials[0].traces)
    return worker, [trial.score for trial in trials]


def test_scores_from_shared_tables_are_those_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("shared", "alone"):
        (tmp_path / name).mkdir()
    worker, tasks = prepared(tmp_path / "shared")
    fill_tables(worker, tasks)
    passes: list[Any] = []
    compute = SharedPasses._compute_tables
    monkeypatch.setattr(
        SharedPasses, "_compute_tables", lambda *given: passes.append(given) or compute(*given)
    )
    shared = [score_dense(worker, task) for task in tasks]
    assert not passes, "everything that was announced is there"
    other, same = prepared(tmp_path / "alone")
    assert [task.key for task in same] == [task.key for task in tasks]
    alone = [score_dense(other, task) for task in same]
    for task, one, two in zip(tasks, shared, alone, strict=True):
        assert one.scores.keys() == two.scores.keys()
        assert one.facts.stability == two.facts.stability
        for layer, scores in one.scores.items():
            assert torch.equal(scores, two.scores[layer]), (task.scorer.label, layer)
    assert stages.is_complete(worker.folder(tasks[0].key))
