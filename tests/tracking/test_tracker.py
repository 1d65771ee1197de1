from __future__ import annotations

import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
from tracked import closed_port, key, record, shown, track

from benchsuite.store.run_directory import RunDirectory
from benchsuite.tracking import Tracker, has_lost_store, is_behind
from benchsuite.tracking.connection import why
from benchsuite.tracking.view import View

if TYPE_CHECKING:
    from benchsuite.store.record import TrialRecord


def test_a_store_that_is_gone_or_no_database_is_noticed(tmp_path, monkeypatch):
    store = RunDirectory(tmp_path)
    store.append(record(key("a")))
    assert track(tmp_path, record(key("a"))).warnings == []
    assert not has_lost_store(tmp_path)
    (tmp_path / "mlflow.db").write_bytes(b"rubbish")
    assert has_lost_store(tmp_path)
    (tmp_path / "mlflow.db").unlink()
    assert has_lost_store(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    assert not has_lost_store(tmp_path)


def test_a_folder_in_place_of_the_marker_costs_a_warning(tmp_path):
    (tmp_path / "mlflow.behind").mkdir()
    tracker = track(tmp_path, record(key("a")))
    (warning,) = tracker.warnings
    assert warning.startswith(f"{tmp_path / 'mlflow.behind'}: ")
    assert set(shown(tmp_path).trials) == {key("a")}
    assert is_behind(tmp_path)


def test_a_server_that_is_down_costs_a_warning_and_is_made_up_for(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{closed_port()}")
    tracker = track(tmp_path, record(key("a")), record(key("b")))
    (warning,) = tracker.warnings
    assert "does not answer" in warning
    assert "up to 2 trials not shown there" in warning
    assert f"benchsuite mlflow-sync {tmp_path} brings them in" in warning
    assert is_behind(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert track(tmp_path).warnings == []
    assert set(shown(tmp_path).trials) == {key("a"), key("b")}
    assert not is_behind(tmp_path)


def test_a_server_that_is_down_is_said_once_at_once_and_shortly(tmp_path, monkeypatch):
    address = f"http://127.0.0.1:{closed_port()}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setattr("benchsuite.tracking.tracker._SECONDS_BETWEEN_TRIES", 0.01)
    told: list[str] = []
    first = threading.Event()

    def tell(text: str) -> None:
        told.append(text)
        first.set()

    tracker = Tracker(tmp_path / "a run", "quick", tell=tell)
    tracker.start({})
    assert first.wait(30), "the run has not ended, and nothing was said"
    RunDirectory(tmp_path / "a run").append(record())
    tracker.log(record())
    time.sleep(0.1)
    tracker.close()
    assert told == [
        f"MLflow at {address} does not answer (connection refused); the run goes on without it, and "
        f"benchsuite mlflow-sync '{tmp_path / 'a run'}' shows there later what it misses"
    ]
    assert (tracker.warnings, tracker.lacks) == ([], "up to 1 trial")
    assert is_behind(tmp_path / "a run")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "connection refused"),
        (TimeoutError("x"), "nothing came back in time"),
        (ValueError("\n first line \nsecond"), "first line"),
        (ValueError(), "ValueError"),
        (ValueError("x" * 900), "x" * 199 + "…"),
    ],
)
def test_a_reason_is_few_words(error, reason):
    def wrapped() -> Exception:
        try:
            try:
                raise error
            except Exception as inner:
                raise RuntimeError(str(inner)) from inner
        except RuntimeError as outer:
            return outer

    assert why(error) == reason
    if isinstance(error, OSError):
        assert why(wrapped()) == reason


@pytest.fixture
def put(monkeypatch: pytest.MonkeyPatch) -> list[TrialRecord]:
    """Replaces the view by one that records what it should show, and returns the list."""
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
    RunDirectory(tmp_path).append(record(key("stored")))
    tracker = Tracker(tmp_path, "quick")
    tracker.start({})
    tracker.log(record())
    assert tried.wait(10)
    assert put == []
    down.clear()
    deadline = time.monotonic() + 60
    while len(put) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert {one.key for one in put} == {key("k1"), key("stored")}
    tracker.close()
    assert tracker.warnings == []


def test_a_trial_that_mlflow_refuses_keeps_none_of_the_others_out(tmp_path, monkeypatch, put):
    def put_or_refuse(self: View, one: TrialRecord) -> None:
        if one.key == key("b"):
            raise ValueError("no such thing")
        put.append(one)

    monkeypatch.setattr(View, "answers", lambda self: True)
    monkeypatch.setattr(View, "put", put_or_refuse)
    tracker = track(tmp_path, record(key("a")), record(key("b")), record(key("c")))
    assert {one.key for one in put} == {key("a"), key("c")}
    (warning,) = tracker.warnings
    assert "does not take the trial weight-entropy · mlp" in warning
    assert "no such thing" in warning


def test_nothing_is_shown_while_quiet_is_wanted(tmp_path, put):
    tracker = Tracker(tmp_path, "quick")
    tracker.start({})
    with tracker.quiet():
        tracker.log(record())
        time.sleep(2.0)
        assert put == []
    assert tracker.close() < 1.0, "waiting is no work"
    assert [one.key for one in put] == [key("k1")]


def test_importing_and_asking_need_neither_mlflow_nor_torch(tmp_path):
    code = "import sys, benchsuite.tracking as t; from pathlib import Path; t.is_behind(Path('.'))"
    code += "; t.Tracker(Path('.'), ''); print({'mlflow', 'torch', 'sqlalchemy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
