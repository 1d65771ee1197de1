from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing
from pathlib import Path

import pytest
from tracked import key, record, shown, track

from benchsuite.store.run_directory import RunDirectory
from benchsuite.tracking import is_behind
from benchsuite.tracking.view import View


def test_nothing_is_doubled_and_a_success_clears_an_earlier_failure(tmp_path):
    track(tmp_path, record(key("a")), record(key("b"), "failed"), interrupted=True)
    before = shown(tmp_path)
    assert [parent.info.status for parent in before.parents] == ["KILLED"]
    (tmp_path / "stages" / key("b")).mkdir(parents=True)
    (tmp_path / "stages" / key("b") / "log.txt").write_text("now it works")
    track(tmp_path, record(key("b")), record(key("c")))
    after = shown(tmp_path)
    assert set(after.trials) == {key("a"), key("b"), key("c")}
    assert after.trials[key("a")].info.end_time == before.trials[key("a")].info.end_time
    assert after.trials[key("b")].info.run_id == before.trials[key("b")].info.run_id
    assert after.trials[key("b")].info.status == "FINISHED"
    assert not {"error", "mlflow.note.content"} & set(after.trials[key("b")].data.tags)
    assert after.trials[key("b")].data.metrics["accuracy/top1"] == 0.9
    assert [file.path for file in after.client.list_artifacts(after.trials[key("b")].info.run_id)] == [
        "log.txt"
    ]
    assert sorted(parent.data.metrics.get("trials/done", 0) for parent in after.parents) == [1, 2]
    track(tmp_path)
    assert len(shown(tmp_path).runs) == len(after.runs), "an invocation with nothing to show leaves no run"


def test_what_is_known_to_be_shown_is_not_read_again(tmp_path, monkeypatch):
    track(tmp_path, record(key("a")), record(key("b"), "failed"))
    learned = []
    learn = View._learn
    monkeypatch.setattr(View, "_learn", lambda self, *args: learned.append(1) or learn(self, *args))
    track(tmp_path, record(key("b")), record(key("c")))
    assert learned == []
    assert {key: run.info.status for key, run in shown(tmp_path).trials.items()} == dict.fromkeys(
        map(key, "abc"), "FINISHED"
    )
    RunDirectory(tmp_path).append(record(key("d")))
    track(tmp_path)
    assert learned == [1]
    assert set(shown(tmp_path).trials) == set(map(key, "abcd"))


def test_a_store_can_be_made_anew_from_the_results(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    track(old, record(key("a")), record(key("b"), "failed"))
    new.mkdir()
    shutil.copy(old / "results.jsonl", new)
    track(new)
    assert set(shown(new).trials) == {key("a"), key("b")}
    assert shown(new).trials[key("a")].data.metrics == shown(old).trials[key("a")].data.metrics


KILLED = """
import os, signal
from pathlib import Path
from benchsuite.store.run_directory import RunDirectory
from benchsuite.tracking import Tracker
from benchsuite.tracking.view import View
from tracked import key, record

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
    RunDirectory(directory).append(record(key(f"k{{number}}")))
    tracker.log(record(key(f"k{{number}}")))
tracker.close()
"""


@pytest.mark.slow
def test_after_a_kill_in_the_middle_of_a_trial_everything_is_there_once(tmp_path):
    code = textwrap.dedent(KILLED.format(directory=str(tmp_path)))
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{root}:{Path(__file__).parent}"}
    done = subprocess.run([sys.executable, "-c", code], cwd=root, env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    assert is_behind(tmp_path)
    cut = shown(tmp_path)
    assert {key: run.info.status for key, run in cut.trials.items()} == {
        key("k0"): "FINISHED",
        key("k1"): "FINISHED",
        key("k2"): "RUNNING",
    }
    assert not cut.trials[key("k2")].data.metrics

    tracker = track(tmp_path)
    assert tracker.warnings == []
    assert not is_behind(tmp_path)
    whole = shown(tmp_path)
    assert set(whole.trials) == {key(f"k{number}") for number in range(5)}
    assert len({str(run.data.metrics) for run in whole.trials.values()}) == 1
    assert len({str(run.data.params) for run in whole.trials.values()}) == 1
    assert {run.info.status for run in whole.trials.values()} == {"FINISHED"}
    assert whole.trials[key("k2")].info.run_id == cut.trials[key("k2")].info.run_id
    assert sorted(parent.info.status for parent in whole.parents) == ["FINISHED", "KILLED"]


KILLED_WHILE_MADE = """
import os, signal
from pathlib import Path
from sqlalchemy import event
from sqlalchemy.engine import Engine
from benchsuite.tracking import Tracker

statements = []

@event.listens_for(Engine, "after_cursor_execute")
def die(connection, cursor, statement, *others):
    statements.append(statement)
    if len(statements) == {number}:
        os.kill(os.getpid(), signal.SIGKILL)

with Tracker(Path({directory!r}), "quick") as tracker:
    tracker.start({{}})
"""


@pytest.mark.parametrize(
    "number", [942, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 60, 300, 500, 700, 1054))]
)
def test_a_kill_while_the_store_is_made_costs_nothing(number, tmp_path):
    code = textwrap.dedent(KILLED_WHILE_MADE.format(directory=str(tmp_path), number=number))
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == -signal.SIGKILL
    assert is_behind(tmp_path)
    tracker = track(tmp_path, record(key("a")))
    assert not list(tmp_path.glob(".mlflow.db.*"))
    assert (tracker.warnings, tracker.lacks) == ([], "")
    assert not is_behind(tmp_path)
    assert set(shown(tmp_path).trials) == {key("a")}


def test_an_unfinished_store_is_made_anew_and_a_stranger_s_is_not(tmp_path):
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as store:
        store.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        store.execute("CREATE TABLE experiments (experiment_id INTEGER NOT NULL)")
        store.commit()
    track(tmp_path, record(key("a")))
    assert set(shown(tmp_path).trials) == {key("a")}
    (tmp_path / "other").mkdir()
    with closing(sqlite3.connect(tmp_path / "other/mlflow.db")) as store:
        store.execute("CREATE TABLE poems (line TEXT)")
        store.commit()
    track(tmp_path / "other", record(key("a")))
    with closing(sqlite3.connect(tmp_path / "other/mlflow.db")) as store:
        assert store.execute("SELECT * FROM poems").fetchall() == []
