"""Links in a run directory, which may be a stranger's: nothing outside reaches MLflow or is written to."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest
from tracked import dense_trial, key, record, shown, sync, track, trained

from benchsuite.store.run_directory import RunDirectory

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "what lies outside"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder outside of the run, with files named as a stage's."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "notes.json").write_text(json.dumps(SECRET))
    (folder / "summary.md").write_text(SECRET)
    (folder / "recovery.json").write_text(json.dumps({"losses": [11.0, 12.0]}))
    (folder / "training.json").write_text(json.dumps({"losses": [11.0, 12.0]}))
    (folder / "system.csv").write_text("unix_s,seconds,secret\n1,1,5\n")
    return folder


def everything_in_mlflow(run: Path) -> str:
    """All that the store has, as text."""
    files = [run / "mlflow.db", *(path for path in (run / "mlartifacts").rglob("*") if path.is_file())]
    return "".join(path.read_bytes().decode("latin-1") for path in files)


def test_links_in_stages_are_no_artifacts_and_no_curves(tmp_path, outside):
    run = tmp_path / "run"
    trained(run)
    folder = run / "stages" / key("k1")
    folder.mkdir()
    (folder / "rounds.json").write_text("[]")
    dense = run / "stages" / key("t1")
    (dense / "training.json").unlink()
    for stage in (folder, dense):
        for name in ("notes.json", "recovery.json", "training.json", "system.csv"):
            (stage / name).symlink_to(outside / name)
    track(run, dense_trial())
    view = shown(run)
    for logged in (view.trials[key("k1")], view.dense[key("t1")]):
        assert not any("loss" in name or "secret" in name for name in logged.data.metrics)
    assert [f.path for f in view.client.list_artifacts(view.trials[key("k1")].info.run_id)] == ["rounds.json"]
    dense_files = view.client.list_artifacts(view.dense[key("t1")].info.run_id)
    assert [file.path for file in dense_files] == ["stage.json"]
    assert SECRET not in everything_in_mlflow(run)


def test_a_stage_that_is_a_link_gives_nothing(tmp_path, outside):
    run = tmp_path / "run"
    trained(run)
    shutil.move(run / "stages" / key("t1"), tmp_path / "dense")
    (run / "stages" / key("t1")).symlink_to(tmp_path / "dense")
    (run / "stages" / key("k1")).symlink_to(outside)
    track(run, dense_trial())
    view = shown(run)
    assert view.dense == {}
    trial = view.trials[key("k1")]
    assert view.client.list_artifacts(trial.info.run_id) == []
    assert not any("loss" in name or "secret" in name for name in trial.data.metrics)


def test_a_summary_that_is_a_link_is_neither_written_nor_logged(tmp_path, outside, capsys):
    run = tmp_path / "run"
    run.mkdir()
    RunDirectory(run).append(record())
    (run / "summary").symlink_to(outside)
    before = {path.name: path.read_bytes() for path in outside.iterdir()}
    code, output = sync(run, capsys)
    assert code == 1
    assert f"{run / 'summary'} is a link" in output.replace("\n", "")
    assert {path.name: path.read_bytes() for path in outside.iterdir()} == before
    assert SECRET not in everything_in_mlflow(run)


def test_links_in_the_summary_are_replaced_or_left_out(tmp_path, outside, capsys):
    run = tmp_path / "quick"
    run.mkdir()
    RunDirectory(run).append(record())
    (run / "summary").mkdir()
    for name in ("summary.md", "notes.json"):
        (run / "summary" / name).symlink_to(outside / name)
    code, output = sync(run, capsys)
    assert code == 0, output
    assert (outside / "summary.md").read_text() == SECRET
    view = shown(run)
    (parent,) = view.parents
    files = [file.path for file in view.client.list_artifacts(parent.info.run_id)]
    assert "summary.md" in files
    assert "notes.json" not in files
    assert SECRET not in everything_in_mlflow(run)
