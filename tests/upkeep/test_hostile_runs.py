"""Run directories from strangers: `doctor` and `clean` do not leave them, wait for ever or raise."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from made_up_runs import (
    DATA,
    HALF,
    SCORE,
    TRAIN,
    TRIAL,
    make_run,
    rewrite,
    snapshot,
)

from benchsuite import cli
from benchsuite.store.file_digests import read_digest
from benchsuite.store.record import TrialRecord
from benchsuite.upkeep.stage_state import look_at

if TYPE_CHECKING:
    from pathlib import Path

    from benchsuite.store.run_directory import RunDirectory

CLEAN = ["--checkpoints", "--scores", "--superseded", "--yes"]


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return make_run(tmp_path / "run")


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder beside the run that nobody may touch: another run with stages of the same names."""
    make_run(tmp_path / "outside")
    return tmp_path / "outside"


def folder_link(run: RunDirectory, outside: Path) -> None:
    (run.path / "stages/linked").symlink_to(outside / "stages" / TRAIN)
    (run.path / f"stages/{TRIAL['first']}").rename(run.path / "moved")
    (run.path / f"stages/{TRIAL['first']}").symlink_to(outside / f"stages/{TRIAL['first']}")


def file_links(run: RunDirectory, outside: Path) -> None:
    for name in ("model.safetensors", "stage.json"):
        (run.stage(TRAIN) / name).unlink()
        (run.stage(TRAIN) / name).symlink_to(outside / "stages" / TRAIN / name)
    (run.stage(HALF)).mkdir()
    (run.stage(HALF) / "model.safetensors").symlink_to(outside / "results.jsonl")
    (run.stage(HALF) / "tables").symlink_to(outside / "stages")
    (run.stage(TRAIN) / ".model.safetensors.12").symlink_to(outside / "results.jsonl")
    (run.stage(TRIAL["second"]) / "worker.log").unlink()
    (run.stage(TRIAL["second"]) / "worker.log").symlink_to(outside / "results.jsonl")


def table_link(run: RunDirectory, outside: Path) -> None:
    tables = run.stage(TRAIN) / "tables"
    (tables / "abc.npy").unlink()
    tables.rmdir()
    tables.symlink_to(outside / "stages")


def stages_link(run: RunDirectory, outside: Path) -> None:
    (run.path / "stages").rename(run.path / "moved")
    (run.path / "stages").symlink_to(outside / "stages")


def lock_link(run: RunDirectory, outside: Path) -> None:
    (run.path / ".lock").unlink()
    (run.path / ".lock").symlink_to(outside / "made")


def results_link(run: RunDirectory, outside: Path) -> None:
    run.results_file.unlink()
    run.results_file.symlink_to(outside / "results.jsonl")


def aside_link(run: RunDirectory, outside: Path) -> None:
    (run.path / "results.damaged.jsonl").symlink_to(outside / "results.jsonl")
    with run.results_file.open("a") as file:
        file.write("no record\n")


def freed_link(run: RunDirectory, outside: Path) -> None:
    (run.path / "freed.json").symlink_to(outside / "results.jsonl")


def pipes(run: RunDirectory, outside: Path) -> None:
    os.mkfifo(run.stage(TRAIN) / "pipe")
    (run.stage(DATA) / "stage.json").unlink()
    os.mkfifo(run.stage(DATA) / "stage.json")
    (run.stage(SCORE["first"]) / "scores.safetensors").unlink()
    os.mkfifo(run.stage(SCORE["first"]) / "scores.safetensors")
    os.mkfifo(run.path / "stages/pipe")


@pytest.mark.parametrize("name", ["results.jsonl", "plan.json", "suite.toml", ".lock", "mlflow.behind"])
def test_a_pipe_in_place_of_a_file_keeps_nobody_waiting(name, run, capsys) -> None:
    (run.path / name).unlink(missing_ok=True)
    os.mkfifo(run.path / name)
    before = snapshot(run.path)
    assert cli.main(["doctor", str(run.path), "--repair"]) == 1
    assert f"nothing was repaired: {run.path / name} is no file" in capsys.readouterr().out
    assert cli.main(["clean", str(run.path), *CLEAN]) == 4
    assert snapshot(run.path) == before


def paths_as_names(run: RunDirectory, outside: Path) -> None:
    path = f"../../../outside/stages/{TRAIN}/model.safetensors"
    rewrite(run.stage(TRAIN), files={path: "0", "model.safetensors": "0"})
    rewrite(run.stage(DATA), key="../../outside")
    rewrite(run.stage(TRIAL["first"]), files={"/etc/passwd": "0", "..": "0", ".": "0", "\0": "0", "": "0"})
    plan = {"cells": [{"key": "../../outside/stages", "axes": {}, "stages": {"train": "../x"}}]}
    run.plan_file.write_text(json.dumps(plan))
    for key, stages in (("../../outside", {}), ("fine", {"train": "../../outside/stages/train000"})):
        run.append(TrialRecord(key, {}, "done", stages=stages))
    (run.path / "freed.json").write_text('{"weights": ["../../outside", 3, null]}')


def odd_names(run: RunDirectory, outside: Path) -> None:
    for name in (b"\xff\xfe", b"a\nb", b"\x1b[31mred", b"-rf", b"~", b" "):
        folder = run.path / "stages" / os.fsdecode(name)
        folder.mkdir()
        for file in (b"\xff.safetensors", b".\xff.12"):
            (folder / os.fsdecode(file)).write_bytes(b"x")
    (run.stage("-rf") / "stage.json").write_text("{}")


def giants(run: RunDirectory, outside: Path) -> None:
    for file in (
        run.stage(TRAIN) / "model.safetensors",
        run.stage(DATA) / "stage.json",
        run.path / "suite.toml",
        run.path / "freed.json",
    ):
        with file.open("ab") as handle:
            handle.truncate(1 << 40)


HOSTILE = [
    folder_link,
    file_links,
    table_link,
    stages_link,
    lock_link,
    results_link,
    aside_link,
    freed_link,
    pipes,
    paths_as_names,
    odd_names,
    giants,
]


@pytest.mark.parametrize("attack", HOSTILE, ids=[attack.__name__ for attack in HOSTILE])
def test_nothing_outside_is_touched(attack, run, outside, tmp_path, capfd) -> None:
    attack(run, outside)
    beside, inside = snapshot(outside), snapshot(run.path)
    for options in ([], ["--format", "json"]):
        assert cli.main(["doctor", str(run.path), *options]) in (0, 1)
    assert snapshot(run.path) == inside
    for command in (["clean", *CLEAN, "--dry-run"], ["doctor", "--repair"], ["clean"], ["clean", *CLEAN]):
        assert cli.main([command[0], str(run.path), *command[1:]]) in (0, 1, 4)
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        assert all(sign.isprintable() or sign == "\n" for sign in out + err)
    assert snapshot(outside) == beside
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outside", "run"]


def deep_folders(run: RunDirectory, levels: int) -> None:
    (run.stage("deep")).mkdir()
    where = os.open(run.stage("deep"), os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=where)
        inner = os.open("d", os.O_RDONLY, dir_fd=where)
        os.close(where)
        where = inner
    os.close(where)


@pytest.mark.parametrize("levels", [100, 1200])
def test_folders_in_folders_are_no_traceback(levels, run, capsys) -> None:
    deep_folders(run, levels)
    try:
        assert cli.main(["doctor", str(run.path)]) == 1
        assert f"stages/deep/{'d/' * 8}d: is no file or folder of a run" in capsys.readouterr().out
        assert cli.main(["clean", str(run.path)]) in (0, 1)
    finally:
        subprocess.run(["rm", "-rf", run.stage("deep")], check=True)  # pytest could not
    assert run.stage(TRAIN).is_dir()


@pytest.mark.parametrize("attack", [stages_link, lock_link, results_link, aside_link, freed_link])
def test_where_a_file_of_the_run_is_a_link_nothing_is_changed(attack, run, outside, capsys) -> None:
    attack(run, outside)
    before = snapshot(run.path)
    assert cli.main(["doctor", str(run.path), "--repair"]) == 1
    out = capsys.readouterr().out
    assert "nothing was repaired: " in out
    assert "is a link" in out
    assert cli.main(["clean", str(run.path), *CLEAN]) == 4
    assert "is a link; nothing is freed" in capsys.readouterr().err
    assert snapshot(run.path) == before


def test_links_among_stages_are_told_and_left_alone(run, outside, capsys) -> None:
    folder_link(run, outside)
    (run.stage(TRAIN) / "mine").symlink_to(outside)
    assert cli.main(["doctor", str(run.path), "--repair"]) == 1
    out = capsys.readouterr().out
    for where in ("stages/linked", f"stages/{TRIAL['first']}", f"stages/{TRAIN}/mine"):
        assert f"{where}: is no" in out
        assert (run.path / where).is_symlink()


def test_mlflow_is_given_nothing_that_a_link_leads_to(run, outside, capsys) -> None:
    (run.stage(TRIAL["first"]) / "secret.txt").symlink_to(outside / "results.jsonl")
    (run.path / "mlflow.behind").touch()
    database = (run.path / "mlflow.db").read_bytes()
    assert cli.main(["doctor", str(run.path), "--repair"]) == 1
    assert (
        f"MLflow may lack trials of this run; stages/{TRIAL['first']}/secret.txt" in capsys.readouterr().out
    )
    assert (run.path / "mlflow.db").read_bytes() == database


def test_what_a_link_leads_to_is_not_even_read(run, outside, capsys) -> None:
    file_links(run, outside)
    scores = run.stage(SCORE["first"]) / "scores.safetensors"
    scores.rename(outside / "scores.safetensors")
    scores.symlink_to(outside / "scores.safetensors")
    assert cli.main(["doctor", str(run.path)]) == 1
    out = capsys.readouterr().out
    assert "stage.json is damaged (is a link)" in out
    assert "scores.safetensors cannot be read (is a link)" in out
    results_link(run, outside)
    assert cli.main(["doctor", str(run.path)]) == 1
    assert f"{run.path}: 0 records" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["../../../outside/results.jsonl", "/etc/passwd", "..", ""])
def test_a_stage_has_no_files_elsewhere(name, run, outside) -> None:
    there = run.stage(TRIAL["first"]) / name
    digest = read_digest(there) if there.is_file() else ""
    stored = json.loads((run.stage(TRIAL["first"]) / "stage.json").read_text())["files"]
    rewrite(run.stage(TRIAL["first"]), files={**stored, name: digest})
    state = look_at(run.stage(TRIAL["first"]))
    assert state.fault == f"stage.json is damaged (it names {name!r}, which is no file of it)"
    assert state.listed == ()
