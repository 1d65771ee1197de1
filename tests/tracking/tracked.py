from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from benchsuite.cli import main
from benchsuite.metrics.network_cost import Cost
from benchsuite.store.keys import content_key
from benchsuite.store.record import TrialRecord
from benchsuite.store.run_directory import RunDirectory
from benchsuite.store.stages import Stage
from benchsuite.tracking import Tracker, ui_command
from benchsuite.trials.facts import DenseFacts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest
    from mlflow.entities import Run


AXES = {
    "dataset": "digits",
    "model": "mlp",
    "seed": 2,
    "scorer": "weight-entropy",
    "scorer_params": {"bins": 32},
    "granularity": "unit",
    "sparsity": 0.5,
    "draw": 0,
}


def key(name: str) -> str:
    """The content key of what tests call so."""
    return content_key(name)


def record(of: str = key("k1"), status: Any = "done", **changes: Any) -> TrialRecord:
    fields: dict[str, Any] = {
        "metrics": {"accuracy/top1": 0.9, "time/trial_s": 2.0} if status == "done" else {},
        "provenance": {"torch": "2.6", "commit": "abc", "data_digest": "d" * 64, "threads": 1},
        "error": None if status == "done" else f"it {status}",
    }
    return TrialRecord(of, AXES, status, **{**fields, **changes})


def track(directory: Path, *records: TrialRecord, **options: Any) -> Tracker:
    """One invocation that stores and shows some records."""
    store = RunDirectory(directory)
    with Tracker(directory, "quick", "Every *scorer*.") as tracker:
        tracker.start({"command": "run quick.toml", "host": "box"})
        for one in records:
            store.append(one)
            tracker.log(one)
        tracker.close(**options)
    return tracker


class Shown:
    """What MLflow shows, read through a separate client."""

    def __init__(self, uri: str) -> None:
        from mlflow import MlflowClient

        self.client = MlflowClient(tracking_uri=uri)
        self.experiment = self.client.get_experiment_by_name("quick")
        assert self.experiment is not None
        self.runs = list(self.client.search_runs([self.experiment.experiment_id], max_results=1000))
        self.parents = self._of("invocation")
        self.trials = {run.data.tags["benchsuite.key"]: run for run in self._of("trial")}
        self.dense = {run.data.tags["benchsuite.key"]: run for run in self._of("dense")}
        told_apart = len(self.parents) + len(self.trials) + len(self.dense)
        assert told_apart == len(self.runs), "a trial or a dense model is doubled"
        assert {run.info.run_id for run in self.parents} >= {
            run.data.tags["mlflow.parentRunId"] for run in (*self.trials.values(), *self.dense.values())
        }

    def _of(self, kind: str) -> list[Run]:
        return [run for run in self.runs if run.data.tags["benchsuite.kind"] == kind]

    def curve(self, run: Run, metric: str) -> list[tuple[int, float]]:
        history = self.client.get_metric_history(run.info.run_id, metric)
        return [(point.step, point.value) for point in history]


def shown(directory: Path) -> Shown:
    return Shown(f"sqlite:///{directory / 'mlflow.db'}")


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(directory: Path, port: int, log: Path) -> Iterator[str]:
    """The MLflow server of a run, once it answers, until the end of the block."""
    with log.open("w") as file:
        command = ui_command(directory, port=port)
        server = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)
    try:
        address = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 90
        while True:
            try:
                with urllib.request.urlopen(f"{address}/health", timeout=5) as answer:
                    assert answer.status == 200
                break
            except OSError:
                assert server.poll() is None, log.read_text()
                assert time.monotonic() < deadline
                time.sleep(0.2)
        yield address
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def sync(directory: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = main(["mlflow-sync", str(directory)])
    return code, capsys.readouterr().out


def trained(directory: Path, of: str = key("t1"), epochs: int = 3, **facts: Any) -> None:
    """The stage of a dense training, as a run leaves it."""
    folder = directory / "stages" / of
    folder.mkdir(parents=True)
    (folder / ".lock").touch()
    (folder / "worker.log").touch()
    (folder / "model.safetensors").write_bytes(b"large")
    losses = [2.0 / epoch for epoch in range(1, epochs + 1)]
    course = {"losses": losses, "learning_rates": [0.1] * epochs, "seconds": 6.0}
    (folder / "training.json").write_text(json.dumps(course))
    known: dict[str, Any] = {
        "top1": 0.95,
        "loss": None,
        "recall": {"a/b": 0.5, "c": None},
        "confusion": [[1, 0], [0, 1]],
        "train_seconds": 6.0,
        "cost": Cost(100, 1000, 90, 900, 4000, ()),
        "file_bytes": 5,
        "data_digest": "0" * 64,
        "device": "a chip",
    }
    Stage(folder, DenseFacts, ["model.safetensors"]).complete(DenseFacts(**{**known, **facts}))


RECIPE = {"epochs": 3.0, "milestones": [0.5, 0.75]}


def dense_trial(
    of: str = key("k1"), status: Any = "done", train: str = key("t1"), **changes: Any
) -> TrialRecord:
    """A trial of the dense model `train`; only a finished one has the recipe."""
    one = record(of, status, stages={"train": train, "trial": of}, **changes)
    if status == "done":
        one.provenance["training_recipe"] = RECIPE
    return one
