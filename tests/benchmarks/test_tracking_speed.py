"""Logging a thousand trials to SQLite, compared with MLflow's own fluent calls for the same content.

The trials are made up like those of a real matrix: 12 axes, 40 metrics, a dozen provenance fields, a recovery
curve and five small files each; ten of them prune one dense model. The fluent way is what a script would do:
`start_run`, `log_params`, `log_metrics`, `set_tags`, `log_input`, `log_artifact`. It logs fewer trials, and
the seconds per trial are compared. Neither way waits for the disk.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from benchsuite.store.keys import content_key
from benchsuite.store.record import TrialRecord
from benchsuite.store.run_directory import RunDirectory
from benchsuite.tracking import Tracker, curves
from benchsuite.tracking import mlflow_fields as content

if TYPE_CHECKING:
    from pathlib import Path

TRIALS, FLUENT, TRIALS_OF_A_MODEL = 1000, 50, 10
FILES = ("layers.csv", "confusion.csv", "confusion.svg", "pruning.json")


def made_up(directory: Path, number: int) -> TrialRecord:
    """A trial with its files, and its dense model's the first time."""
    key, train = content_key(["trial", number]), content_key(["train", number // TRIALS_OF_A_MODEL])
    folder, dense = directory / "stages" / key, directory / "stages" / train
    folder.mkdir(parents=True)
    for name in FILES:
        (folder / name).write_text("x" * 4000)
    (folder / "recovery.json").write_text(json.dumps({"losses": [1.0 / epoch for epoch in range(1, 11)]}))
    if not dense.exists():
        dense.mkdir()
        course = {"losses": [2.0 / epoch for epoch in range(1, 31)], "learning_rates": [0.1] * 30}
        (dense / "training.json").write_text(json.dumps(course))
        (dense / "stage.json").write_text(json.dumps({"top1": 0.9, "train_seconds": 30.0}))
    axes = {name: f"{name} {number}" for name in ("dataset", "model", "scorer", "granularity", "scope")}
    axes |= {"seed": number % 5, "sparsity": 0.5, "draw": 0, "budget": "macs", "schedule": "one-shot"}
    provenance = {f"fact {index}": f"{index}" * 10 for index in range(10)}
    return TrialRecord(
        key,
        {**axes, "scorer_params": {"bins": 32}, "recovery_epochs": 1.0},
        "done",
        metrics={f"accuracy/class/{index}": index / 40 for index in range(40)},
        provenance={**provenance, "training_recipe": {"epochs": 30.0}, "data_digest": "d" * 64},
        stages={"train": train, "trial": key},
    )


def log_fluently(directory: Path, records: list[TrialRecord]) -> None:
    """The same content by MLflow's own calls."""
    import mlflow
    from mlflow.data.code_dataset_source import CodeDatasetSource
    from mlflow.data.meta_dataset import MetaDataset

    mlflow.set_tracking_uri(f"sqlite:///{directory / 'fluent.db'}")
    mlflow.set_experiment("fluent")
    with mlflow.start_run(run_name="all"):
        for record in records:
            with mlflow.start_run(run_name=content.run_name(record.axes), nested=True):
                data = CodeDatasetSource({"mlflow.source.name": "benchmark"})
                mlflow.log_input(MetaDataset(data, name=record.axes["dataset"], digest="d" * 12), "training")
                mlflow.set_tags(content.tags(record))
                mlflow.log_params(content.params(record.axes))
                mlflow.log_metrics(content.metrics(record))
                folder = directory / "stages" / record.key
                for point in curves.trial_curves(folder):
                    mlflow.log_metric(point.name, point.value, step=point.step)
                for file in sorted(folder.iterdir()):
                    mlflow.log_artifact(str(file))


@pytest.mark.slow
def test_a_thousand_trials(benchmark, tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    directory = tmp_path / "run"
    store = RunDirectory(directory)
    records = [made_up(directory, number) for number in range(TRIALS)]
    for record in records:
        store.append(record)
    with Tracker(tmp_path / "warm", "warm") as tracker:  # imports MLflow, which both ways need
        tracker.log(records[0])
        tracker.start({})

    used = []

    def track() -> None:
        with Tracker(directory, "quick") as tracker:
            before = time.process_time()
            tracker.start({})
            tracker.close()
            used.append(time.process_time() - before)
        assert (tracker.shown, tracker.warnings) == (TRIALS, [])

    benchmark.pedantic(track, rounds=1)
    monkeypatch.chdir(tmp_path)  # where MLflow puts artifacts
    before = time.perf_counter()
    log_fluently(directory, records[:FLUENT])
    fluent = (time.perf_counter() - before) / FLUENT
    seconds = benchmark.stats.stats.mean
    benchmark.extra_info["seconds for 1000 trials"] = round(seconds, 1)
    benchmark.extra_info["processor seconds"] = round(used[0], 1)
    benchmark.extra_info["fluent milliseconds per trial"] = round(1000 * fluent, 1)
    benchmark.extra_info["ratio"] = round(fluent * TRIALS / seconds, 1)
