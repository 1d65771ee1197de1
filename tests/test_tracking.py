from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from benchsuite.cli import main
from benchsuite.store import RunDirectory, TrialRecord
from benchsuite.tracking import Tracker, content, is_behind, ui_address, ui_command
from benchsuite.tracking.view import View

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy:DeprecationWarning"
)  # MLflow's own use

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


def record(key: str = "k1", status: Any = "done", **changes: Any) -> TrialRecord:
    fields: dict[str, Any] = {
        "metrics": {"accuracy/top1": 0.9, "time/trial_s": 2.0} if status == "done" else {},
        "provenance": {"torch": "2.6", "commit": "abc", "data_digest": "d" * 64, "threads": 1},
        "error": None if status == "done" else f"it {status}",
    }
    return TrialRecord(key, AXES, status, **{**fields, **changes})


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"):
        monkeypatch.setenv(name, "1")


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
    """What MLflow itself says, read through a client of its own."""

    def __init__(self, uri: str) -> None:
        from mlflow import MlflowClient

        self.client = MlflowClient(tracking_uri=uri)
        self.experiment = self.client.get_experiment_by_name("quick")
        assert self.experiment is not None
        self.runs = list(self.client.search_runs([self.experiment.experiment_id], max_results=1000))
        self.parents = [run for run in self.runs if "mlflow.parentRunId" not in run.data.tags]
        self.trials = {
            run.data.tags["benchsuite.key"]: run for run in self.runs if "mlflow.parentRunId" in run.data.tags
        }
        assert len(self.parents) + len(self.trials) == len(self.runs), "a trial is doubled"


def shown(directory: Path) -> Shown:
    return Shown(f"sqlite:///{directory / 'mlflow.db'}")


# The whole of it, on one store.


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("run of ünits #1")
    folder = directory / "stages" / "k1"
    folder.mkdir(parents=True)
    (folder / "recovery.json").write_text("[1]")
    (folder / "model.safetensors").write_bytes(b"large")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        tracker = track(
            directory,
            record(),
            record("k2", "collapsed", error="<script>alert('层')</script>"),
            record("k3", "failed"),
            record("k4", "timeout"),
        )
    assert tracker.warnings == []
    assert not is_behind(directory)
    return directory


def test_a_trial_is_a_nested_run_with_axes_metrics_and_provenance(finished):
    view = shown(finished)
    assert len(view.parents) == 1
    run = view.trials["k1"]
    assert run.data.tags["mlflow.parentRunId"] == view.parents[0].info.run_id
    assert run.info.run_name == "weight-entropy · mlp · digits · 0.5 · seed 2"
    assert run.data.params == {
        "dataset": "digits",
        "model": "mlp",
        "seed": "2",
        "scorer": "weight-entropy",
        "scorer_params.bins": "32",
        "granularity": "unit",
        "sparsity": "0.5",
        "draw": "0",
    }
    assert run.data.metrics == {"accuracy/top1": 0.9, "time/trial_s": 2.0}
    assert run.data.tags["provenance.torch"] == "2.6"
    assert run.data.tags["provenance.threads"] == "1"
    assert run.data.tags["mlflow.source.git.commit"] == "abc"
    assert run.info.end_time - run.info.start_time >= 2000
    (data,) = run.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == ("digits", "d" * 36)
    assert {tag.key: tag.value for tag in data.tags} == {"mlflow.data.context": "training"}


def test_artifacts_are_the_trials_files_without_checkpoints(finished):
    view = shown(finished)
    run_id = view.trials["k1"].info.run_id
    assert [file.path for file in view.client.list_artifacts(run_id)] == ["recovery.json"]
    assert list((finished / "mlartifacts").rglob("recovery.json"))


def test_outcomes_are_statuses_and_errors_are_readable(finished):
    view = shown(finished)
    assert {key: run.info.status for key, run in view.trials.items()} == {
        "k1": "FINISHED",
        "k2": "FINISHED",
        "k3": "FAILED",
        "k4": "FAILED",
    }
    assert [view.trials[key].data.tags["status"] for key in ("k1", "k2", "k4")] == [
        "done",
        "collapsed",
        "timeout",
    ]
    assert view.trials["k2"].data.tags["error"] == "<script>alert('层')</script>"
    assert view.trials["k3"].data.tags["mlflow.note.content"] == "**failed**\n\n```text\nit failed\n```"


def test_the_parent_run_tells_of_the_invocation(finished):
    view = shown(finished)
    assert f"/experiments/{view.experiment.experiment_id}?" in ui_address()
    (parent,) = view.parents
    assert view.experiment.tags["mlflow.note.content"] == "Every *scorer*."
    assert re.fullmatch(r"quick · \d{4}-\d\d-\d\d \d\d:\d\d:\d\d", parent.info.run_name)
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["invocation.command"] == "run quick.toml"
    assert "`benchsuite run quick.toml`" in parent.data.tags["mlflow.note.content"]
    assert parent.data.metrics == {
        "trials/done": 1,
        "trials/collapsed": 1,
        "trials/failed": 1,
        "trials/timeout": 1,
    }


def test_metrics_that_come_later_are_added_and_the_others_not_repeated(tmp_path):
    early = record()
    track(tmp_path, early)
    track(tmp_path, replace(early, metrics={**early.metrics, "latency/batch1_ms": 1.5}))
    view = shown(tmp_path)
    run = view.trials["k1"]
    assert run.data.metrics == {"accuracy/top1": 0.9, "time/trial_s": 2.0, "latency/batch1_ms": 1.5}
    for metric in run.data.metrics:
        assert len(view.client.get_metric_history(run.info.run_id, metric)) == 1


def test_the_recovery_is_a_curve_and_is_logged_once(tmp_path):
    losses = [2.0, 1.0, 0.5]
    for one, content_ in (("k1", {"losses": losses}), ("k2", [1]), ("k3", {"losses": [None]})):
        (tmp_path / "stages" / one).mkdir(parents=True)
        (tmp_path / "stages" / one / "recovery.json").write_text(json.dumps(content_))
    track(tmp_path, record(), record("k2"), record("k3"), record("k4"))
    track(tmp_path, replace(record(), metrics={**record().metrics, "latency/batch1_ms": 1.5}))
    view = shown(tmp_path)
    history = view.client.get_metric_history(view.trials["k1"].info.run_id, "recovery/loss")
    assert [(point.step, point.value) for point in history] == [(1, 2.0), (2, 1.0), (3, 0.5)]
    assert not any("recovery/loss" in view.trials[key].data.metrics for key in ("k2", "k3", "k4"))


def test_of_a_long_recovery_a_hundred_epochs_are_shown_with_the_last(tmp_path):
    losses = [float(number) for number in range(1, 1051)]
    (tmp_path / "recovery.json").write_text(json.dumps({"losses": [*losses[:-1], float("nan"), 1050.0]}))
    points = content.recovery_curve(tmp_path)
    assert 90 <= len(points) <= 100
    assert points[-1] == (1051, 1050.0)
    assert points == sorted(points)
    assert len({later[0] - earlier[0] for earlier, later in itertools.pairwise(points[:-1])}) == 1


def test_the_parent_run_gets_the_summary_if_there_was_something_to_show(tmp_path):
    made = []

    def make() -> Path:
        folder = tmp_path / "summary"
        folder.mkdir(exist_ok=True)
        (folder / "summary.md").write_text("| place |\n" + "x" * 9000)
        (folder / "ranking.csv").write_text("a,b\n")
        made.append(folder)
        return folder

    RunDirectory(tmp_path).append(record())
    for expected in (1, 1):
        with Tracker(tmp_path, "quick", "Every *scorer*.") as tracker:
            tracker.summarise(make)
            tracker.start({"command": "run quick.toml"})
        assert (len(made), tracker.warnings) == (expected, [])
    view = shown(tmp_path)
    (parent,) = view.parents
    assert [f.path for f in view.client.list_artifacts(parent.info.run_id)] == ["ranking.csv", "summary.md"]
    note = parent.data.tags["mlflow.note.content"]
    assert note.startswith("Every *scorer*.\n\n`benchsuite run quick.toml`\n\n| place |\n")
    assert len(note) == 8000


def test_a_summary_that_cannot_be_made_is_a_warning_and_loses_nothing(tmp_path):
    def fail() -> Path:
        raise ValueError("a renderer of somebody's")

    RunDirectory(tmp_path).append(record())
    with Tracker(tmp_path, "quick") as tracker:
        tracker.summarise(fail)
        tracker.start({})
    assert tracker.warnings == ["no summary was made for MLflow: ValueError: a renderer of somebody's"]
    assert shown(tmp_path).parents[0].info.status == "FINISHED"
    assert not is_behind(tmp_path)


# Interruptions.


def test_nothing_is_doubled_and_a_success_clears_an_earlier_failure(tmp_path):
    track(tmp_path, record("a"), record("b", "failed"), interrupted=True)
    before = shown(tmp_path)
    assert [parent.info.status for parent in before.parents] == ["KILLED"]
    (tmp_path / "stages" / "b").mkdir(parents=True)
    (tmp_path / "stages" / "b" / "log.txt").write_text("now it works")
    track(tmp_path, record("b"), record("c"))
    after = shown(tmp_path)
    assert set(after.trials) == {"a", "b", "c"}
    assert after.trials["a"].info.end_time == before.trials["a"].info.end_time
    assert after.trials["b"].info.run_id == before.trials["b"].info.run_id
    assert after.trials["b"].info.status == "FINISHED"
    assert not {"error", "mlflow.note.content"} & set(after.trials["b"].data.tags)
    assert after.trials["b"].data.metrics["accuracy/top1"] == 0.9
    assert [file.path for file in after.client.list_artifacts(after.trials["b"].info.run_id)] == ["log.txt"]
    assert sorted(parent.data.metrics.get("trials/done", 0) for parent in after.parents) == [1, 2]
    track(tmp_path)
    assert len(shown(tmp_path).runs) == len(after.runs), "an invocation with nothing to show leaves no run"


def test_what_is_known_to_be_shown_is_not_read_again(tmp_path, monkeypatch):
    track(tmp_path, record("a"), record("b", "failed"))
    learned = []
    learn = View._learn
    monkeypatch.setattr(View, "_learn", lambda self, *args: learned.append(1) or learn(self, *args))
    track(tmp_path, record("b"), record("c"))
    assert learned == []
    assert {key: run.info.status for key, run in shown(tmp_path).trials.items()} == dict.fromkeys(
        "abc", "FINISHED"
    )
    RunDirectory(tmp_path).append(record("d"))
    track(tmp_path)
    assert learned == [1]
    assert set(shown(tmp_path).trials) == set("abcd")


def test_a_store_can_be_made_anew_from_the_results(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    track(old, record("a"), record("b", "failed"))
    new.mkdir()
    shutil.copy(old / "results.jsonl", new)
    track(new)
    assert set(shown(new).trials) == {"a", "b"}
    assert shown(new).trials["a"].data.metrics == shown(old).trials["a"].data.metrics


KILLED = """
import os, signal
from pathlib import Path
from benchsuite.store import RunDirectory
from benchsuite.tracking import Tracker
from benchsuite.tracking.view import View
from tests.test_tracking import record

puts, batches = [], View._log_batches

def log_and_die(view, logged, one, tags):
    puts.append(one.key)
    if len(puts) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    batches(view, logged, one, tags)

View._log_batches = log_and_die
directory = Path({directory!r})
tracker = Tracker(directory, "quick")
tracker.start({{}})
for number in range(5):
    RunDirectory(directory).append(record(f"k{{number}}"))
    tracker.log(record(f"k{{number}}"))
tracker.close()
"""


@pytest.mark.slow
def test_after_a_kill_in_the_middle_of_a_trial_everything_is_there_once(tmp_path):
    code = textwrap.dedent(KILLED.format(directory=str(tmp_path)))
    root = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", code], cwd=root, env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    assert is_behind(tmp_path)
    cut = shown(tmp_path)
    assert {key: run.info.status for key, run in cut.trials.items()} == {
        "k0": "FINISHED",
        "k1": "FINISHED",
        "k2": "RUNNING",
    }
    assert not cut.trials["k2"].data.metrics

    tracker = track(tmp_path)
    assert tracker.warnings == []
    assert not is_behind(tmp_path)
    whole = shown(tmp_path)
    assert set(whole.trials) == {f"k{number}" for number in range(5)}
    assert len({str(run.data.metrics) for run in whole.trials.values()}) == 1
    assert len({str(run.data.params) for run in whole.trials.values()}) == 1
    assert {run.info.status for run in whole.trials.values()} == {"FINISHED"}
    assert whole.trials["k2"].info.run_id == cut.trials["k2"].info.run_id
    assert sorted(parent.info.status for parent in whole.parents) == ["FINISHED", "KILLED"]


# A store that does not answer, or answers slowly.


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_server_that_is_down_costs_a_warning_and_is_made_up_for(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{closed_port()}")
    tracker = track(tmp_path, record("a"), record("b"))
    (warning,) = tracker.warnings
    assert "does not answer" in warning
    assert "up to 2 trials are not shown there" in warning
    assert f"benchsuite mlflow-sync {tmp_path} brings them in" in warning
    assert is_behind(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert track(tmp_path).warnings == []
    assert set(shown(tmp_path).trials) == {"a", "b"}
    assert not is_behind(tmp_path)


@pytest.fixture
def put(monkeypatch: pytest.MonkeyPatch) -> list[TrialRecord]:
    """Replaces the view by one that notes what it is to show, and returns these notes."""
    records: list[TrialRecord] = []
    monkeypatch.setattr(View, "open", lambda self: None)
    monkeypatch.setattr(View, "put", lambda self, one: records.append(one))
    monkeypatch.setattr(View, "finish", lambda self, stored_bytes, interrupted: None)
    return records


def test_the_run_never_waits_for_the_store(tmp_path, monkeypatch, put):
    opened = threading.Event()
    monkeypatch.setattr(View, "open", lambda self: opened.wait(30))
    tracker = Tracker(tmp_path, "quick")
    tracker.start({})
    tracker.log(record(metrics={"old": 1.0}))
    tracker.log(record(metrics={"new": 1.0}))
    assert put == []
    opened.set()
    assert tracker.close() > 0
    assert [one.metrics for one in put] == [{"new": 1.0}], "only the last record of a trial is shown"


def test_a_store_that_comes_back_gets_what_it_missed(tmp_path, monkeypatch, put):
    down, tried = threading.Event(), threading.Event()
    down.set()

    def open_or_not(self: View) -> None:
        tried.set()
        if down.is_set():
            raise ConnectionError("refused")

    monkeypatch.setattr(View, "open", open_or_not)
    monkeypatch.setattr("benchsuite.tracking.tracker._SECONDS_BETWEEN_TRIES", 0.01)
    RunDirectory(tmp_path).append(record("stored"))
    tracker = Tracker(tmp_path, "quick")
    tracker.start({})
    tracker.log(record())
    assert tried.wait(10)
    assert put == []
    down.clear()
    deadline = time.monotonic() + 10
    while len(put) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert {one.key for one in put} == {"k1", "stored"}
    tracker.close()
    assert tracker.warnings == []


def test_a_trial_that_mlflow_refuses_keeps_none_of_the_others_out(tmp_path, monkeypatch, put):
    def put_or_refuse(self: View, one: TrialRecord) -> None:
        if one.key == "b":
            raise ValueError("no such thing")
        put.append(one)

    monkeypatch.setattr(View, "answers", lambda self: True)
    monkeypatch.setattr(View, "put", put_or_refuse)
    tracker = track(tmp_path, record("a"), record("b"), record("c"))
    assert {one.key for one in put} == {"a", "c"}
    (warning,) = tracker.warnings
    assert "does not take the trial weight-entropy · mlp" in warning
    assert "no such thing" in warning


def test_nothing_is_shown_while_quiet_is_wanted(tmp_path, put):
    tracker = Tracker(tmp_path, "quick")
    tracker.start({})
    with tracker.quiet():
        tracker.log(record())
        time.sleep(0.1)
        assert put == []
    assert tracker.close() < 0.1, "waiting is no work"
    assert [one.key for one in put] == ["k1"]


# Names and limits.


def test_names_that_mlflow_refuses_are_changed_until_it_takes_them(tmp_path):
    from mlflow.utils.validation import _validate_metric_name, _validate_param_name

    names = ["accuracy/recall_ship, sail", "/x//y/../z/.", "a" * 400, "ü?*<b>", "a/" * 200, "..", ""]
    changed = content.metrics(record(metrics=dict.fromkeys(names, 1.0)))
    assert "accuracy/recall_ship_ sail" in changed
    for name in changed:
        _validate_metric_name(name)
    for name in content.params({"scorer_params": dict.fromkeys(names, 1)}):
        _validate_param_name(name)


def test_long_texts_are_cut_and_unset_axes_left_out():
    found = content.params({"scorer": "x" * 9000, "recovery_epochs": None, "augment": False})
    assert len(found["scorer"]) == 6000
    assert set(found) == {"scorer", "augment"}
    found = content.tags(record(status="failed", error="y" * 20000))
    assert len(found["error"]) == 8000
    assert found["mlflow.note.content"].endswith("y…\n```")


def test_an_error_cannot_leave_its_block_of_the_description():
    note = content.tags(record(status="failed", error="```\n<b>bold</b>"))["mlflow.note.content"]
    assert note == "**failed**\n\n```text\n'''\n<b>bold</b>\n```"


def test_a_run_name_tells_draws_apart():
    assert content.run_name({**AXES, "draw": 3}) == "weight-entropy · mlp · digits · 0.5 · seed 2 · draw 3"
    assert content.run_name({"scorer": "random"}) == "random"


def test_more_metrics_than_one_batch_holds_are_all_there(tmp_path):
    metrics = {f"accuracy/recall_{number}": number / 2500 for number in range(2500)}
    track(tmp_path, record(metrics=metrics))
    assert shown(tmp_path).trials["k1"].data.metrics == metrics


def test_importing_and_asking_need_neither_mlflow_nor_torch(tmp_path):
    code = "import sys, benchsuite.tracking as t; from pathlib import Path; t.is_behind(Path('.'))"
    code += "; t.Tracker(Path('.'), ''); print({'mlflow', 'torch', 'sqlalchemy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# The server.


@contextmanager
def serving(directory: Path, port: int, log: Path) -> Iterator[str]:
    """The MLflow server of a run, from when it answers until the end of the context."""
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


@pytest.mark.slow
def test_what_a_server_missed_is_brought_in_once_by_mlflow_sync(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    port, run = closed_port(), tmp_path / "run"
    track(tmp_path / "server", record("own"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    run.mkdir()
    (run / "suite.toml").write_text("[suite]\nname = 'quick'\n")
    (warning,) = track(run, record("a"), record("b", "failed")).warnings
    assert "mlflow-sync" in warning
    code, output = sync(run, capsys)
    assert code == 1
    assert "does not answer" in output
    assert is_behind(run)
    with serving(tmp_path / "server", port, tmp_path / "server.log") as address:
        code, output = sync(run, capsys)
        assert (code, output) == (0, "2 of 2 trials were new to MLflow or had changed\n")
        once = Shown(address)
        assert set(once.trials) == {"own", "a", "b"}
        assert once.trials["a"].data.metrics["accuracy/top1"] == 0.9
        (parent,) = (p for p in once.parents if p.data.tags["benchsuite.run_directory"].endswith("/run"))
        assert parent.data.metrics == {"trials/done": 1, "trials/failed": 1}
        assert "summary.md" in [f.path for f in once.client.list_artifacts(parent.info.run_id)]
        assert "| place | criterion |" in parent.data.tags["mlflow.note.content"]
        code, output = sync(run, capsys)
        assert (code, output) == (0, "0 of 2 trials were new to MLflow or had changed\n")
        assert len(Shown(address).runs) == len(once.runs)
    assert not is_behind(run)
    assert not (run / "mlflow.db").exists()


def test_mlflow_sync_fills_the_runs_own_store_and_leaves_a_run_at_work_alone(tmp_path, capsys):
    assert main(["mlflow-sync", str(tmp_path)]) == 4
    assert "not a run directory" in capsys.readouterr().err
    store = RunDirectory(tmp_path)
    (tmp_path / "suite.toml").write_text("[suite]\nname = 'quick'\ndescription = 'Every *scorer*.'\n")
    store.append(record())
    with store.locked():
        assert main(["mlflow-sync", str(tmp_path)]) == 4
        assert "another run" in capsys.readouterr().err
    assert sync(tmp_path, capsys) == (0, "1 of 1 trials were new to MLflow or had changed\n")
    assert sync(tmp_path, capsys) == (0, "0 of 1 trials were new to MLflow or had changed\n")
    view = shown(tmp_path)
    assert view.experiment.tags["mlflow.note.content"] == "Every *scorer*."
    assert set(view.trials) == {"k1"}


@pytest.mark.slow
def test_the_ui_serves_the_run_and_a_server_is_logged_to_like_a_file(finished, tmp_path, monkeypatch):
    with serving(finished, closed_port(), tmp_path / "server.log") as address:
        with urllib.request.urlopen(address, timeout=10) as answer:
            assert b"MLflow" in answer.read()
        assert set(Shown(address).trials) == {"k1", "k2", "k3", "k4"}

        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        (tmp_path / "run" / "stages" / "far").mkdir(parents=True)
        (tmp_path / "run" / "stages" / "far" / "recovery.json").write_text(json.dumps([2]))
        tracker = track(tmp_path / "run", record("far"))
        assert tracker.warnings == []
        assert not (tmp_path / "run" / "mlflow.db").exists()
        far = Shown(address)
        assert far.trials["far"].data.metrics["accuracy/top1"] == 0.9
        assert [f.path for f in far.client.list_artifacts(far.trials["far"].info.run_id)] == ["recovery.json"]
