"""A run that is cleaned, damaged, repaired and continued: no number changes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from benchsuite import cli
from benchsuite.commands.again import with_keys
from benchsuite.commands.run import _not_again
from benchsuite.errors import UsageError
from benchsuite.store.record import TrialRecord

if TYPE_CHECKING:
    from pathlib import Path

SUITE = """
[suite]
name = "small"
seeds = [0]
sparsities = [0.5]
scorers = [{scorers}]

[[workload]]
dataset = "digits"
models = [{{ name = "mlp", hidden = [24, 16], activation = "relu" }}]

[training]
epochs = 2

[recovery]
epochs = 0.5

[metrics]
latency = false
"""
NAMES = '"magnitude-l1", "taylor-weight"'
MORE = f'{NAMES}, "mean-activation", "karnin"'
"""One reads tables of activations, one the trace of the training."""


def call(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "benchsuite.cli", *arguments]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": ""}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def run(folder: Path, *arguments: str, scorers: str = NAMES) -> str:
    (folder / "small.toml").write_text(SUITE.format(scorers=scorers))
    return call(folder, "run", "small.toml", "--jobs", "1", *arguments)


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "runs/small/results.jsonl").read_text().splitlines()]


def numbers(record: dict[str, Any]) -> dict[str, Any]:
    """What must be the same wherever a trial is run on this machine."""
    metrics = {n: v for n, v in record["metrics"].items() if not n.startswith(("time/", "memory/"))}
    return {**{n: record[n] for n in ("key", "status", "stages", "axes")}, "metrics": metrics}


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("once")
    run(folder)
    return folder


@pytest.fixture
def again(once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the finished run, where commands are called."""
    shutil.copytree(once, tmp_path / "again")
    monkeypatch.chdir(tmp_path / "again")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    return tmp_path / "again"


@pytest.mark.slow
def test_a_cleaned_run_goes_on_as_if_it_had_never_been_cleaned(again: Path, tmp_path: Path, capsys) -> None:
    never = tmp_path / "never"
    shutil.copytree(again, never)
    before = lines(again)
    assert cli.main(["doctor", "runs/small"]) == 0
    assert cli.main(["clean", "runs/small", "--checkpoints", "--scores", "--yes"]) == 0
    assert "a later run with a new scorer will train 1 dense model again" in capsys.readouterr().out
    left = [p.name for p in (again / "runs/small/stages").rglob("*.safetensors")]
    assert left == []
    assert "2 cached, 0 to run" in run(again)
    assert lines(again) == before
    assert cli.main(["export", "runs/small", before[0]["key"]]) == 1
    error = capsys.readouterr().err
    assert "model.safetensors was freed by clean; it is made anew by: " in error
    assert f"--output runs/small --again {before[0]['key'][:8]}" in error
    assert cli.main(["plan", "small.toml"]) == 0
    (again / "small.toml").write_text(SUITE.format(scorers=MORE))
    assert cli.main(["plan", "small.toml"]) == 0
    assert "dense models to train: 1\n" in capsys.readouterr().out
    for folder in (again, never):
        assert "2 cached, 2 to run" in run(folder, scorers=MORE)
    assert lines(again)[:2] == before
    assert list(map(numbers, lines(again))) == list(map(numbers, lines(never)))
    assert [record["status"] for record in lines(again)] == ["done"] * 4
    for record in lines(again)[2:]:
        for key in (record["key"], *(record["stages"][n] for n in ("data", "train", "score"))):
            for file in (never / "runs/small/stages" / key).glob("*.safetensors"):
                assert (again / "runs/small/stages" / key / file.name).read_bytes() == file.read_bytes()
    assert cli.main(["doctor", "runs/small"]) == 0
    assert "weights of 2 networks were freed" in capsys.readouterr().out  # the dense model is there again


def test_damage_is_found_repaired_and_run_again(again: Path, capsys) -> None:
    before = lines(again)
    stages = again / "runs/small/stages"
    for file in (
        stages / before[0]["key"] / "model.safetensors",
        stages / before[0]["stages"]["train"] / "model.safetensors",
    ):
        content = bytearray(file.read_bytes())
        content[-9] ^= 1
        file.write_bytes(content)
    (stages / before[0]["key"] / "confusion.csv").unlink()
    (again / "small.toml").write_text(SUITE.format(scorers=f'{NAMES}, "lamp"'))
    assert cli.main(["plan", "small.toml"]) == 0
    assert "dense models to train: 1\n" in capsys.readouterr().out
    (again / "small.toml").write_text(SUITE.format(scorers=NAMES))
    (again / "runs/small/mlflow.behind").touch()
    assert cli.main(["doctor", "runs/small", "--repair"]) == 1
    out = capsys.readouterr().out
    assert re.search(r"^mended .*MLflow may lack trials", out, re.MULTILINE)
    assert re.search(r"^mended .*the dense model", out, re.MULTILINE)
    assert not (again / "runs/small/mlflow.behind").exists()
    (command,) = re.findall(r"^run again: benchsuite (.*)$", out, re.MULTILINE)
    assert "1 cached, 1 to run" in call(again, *command.split())
    after = lines(again)
    assert after[:2] == before  # nothing that was written is taken back
    assert [numbers(record) for record in after[2:]] == [numbers(before[0])]
    assert cli.main(["doctor", "runs/small"]) == 0
    assert cli.main(["export", "runs/small", before[0]["key"], "--output", "out"]) == 0


def test_what_was_to_run_again_and_was_not_is_left_after_an_interruption() -> None:
    first, second, new = (TrialRecord(key, {}, "done") for key in ("first", "second", "first"))
    before = {"first": first, "second": second, "new": None}
    assert _not_again(before, {"first": new, "second": second}) == ["second"]


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("abc", "give at least 6 characters"),
        ("0" * 20, "there is no trial with this key"),
        ("", "at least 6"),
    ],
)
def test_a_key_that_names_no_trial_is_bad_usage(key: str, message: str, again: Path, capsys) -> None:
    before = (again / "runs/small/results.jsonl").read_bytes()
    assert cli.main(["run", "small.toml", "--again", key]) == 4
    assert message in capsys.readouterr().err
    assert (again / "runs/small/results.jsonl").read_bytes() == before


def test_a_key_is_named_by_enough_of_its_beginning() -> None:
    trials: Any = [SimpleNamespace(key=key) for key in ("aaaaaa11", "aaaaaa22", "bbbbbbbb", "cc")]
    assert with_keys(trials, ["bbbbbb", "aaaaaa1", "cc"]) == {"bbbbbbbb", "aaaaaa11", "cc"}
    with pytest.raises(UsageError, match="2 trials have keys that begin so"):
        with_keys(trials, ["aaaaaa"])


def test_the_machine_as_json(capsys) -> None:
    code = cli.main(["doctor", "--format", "json"])
    rows = json.loads(capsys.readouterr().out)
    assert {"benchsuite", "torch", "memory", "plugins"} <= {row["name"] for row in rows}
    assert code == (0 if all(row["ok"] for row in rows) else 1)


@pytest.mark.parametrize(
    ("noise", "why"),
    [
        (bytes(range(256)) * 20, "file is not a database"),
        pytest.param(b"", "it was never finished", marks=pytest.mark.slow),
    ],
)
def test_a_database_that_is_none_is_moved_aside_and_filled_anew(
    noise: bytes, why: str, again: Path, capsys
) -> None:
    run = again / "runs/small"
    database = run / "mlflow.db"
    database.write_bytes(noise)
    assert cli.main(["ui", "runs/small"]) == 4
    assert f"mlflow.db is damaged ({why}); benchsuite doctor " in capsys.readouterr().err
    assert cli.main(["doctor", "runs/small"]) == 1
    assert "a repair moves it to mlflow.damaged.db" in capsys.readouterr().out
    assert database.read_bytes() == noise
    assert cli.main(["doctor", "runs/small", "--repair"]) == 0
    assert (run / "mlflow.damaged.db").read_bytes() == noise
    assert database.read_bytes().startswith(b"SQLite format 3")
    assert cli.main(["doctor", "runs/small"]) == 0
    assert "all is well" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["", "x = [", "suite = 3", "[suite]\n"])
def test_mlflow_sync_takes_no_other_name_for_a_run_whose_suite_is_damaged(
    content: str, again: Path, capsys
) -> None:
    suite = again / "runs/small/suite.toml"
    suite.write_text(content)
    database = (again / "runs/small/mlflow.db").read_bytes()
    assert cli.main(["mlflow-sync", "runs/small"]) == 4
    said = capsys.readouterr().err
    assert "runs/small/suite.toml" in said
    assert "run the suite again to rewrite it" in said
    assert (again / "runs/small/mlflow.db").read_bytes() == database


def test_a_folder_in_place_of_the_database_promises_no_repair(again: Path, capsys) -> None:
    (again / "runs/small/mlflow.db").unlink()
    (again / "runs/small/mlflow.db").mkdir()
    (again / "runs/small/mlflow.behind").touch()
    for options in ([], ["--repair"]):
        assert cli.main(["doctor", "runs/small", *options]) == 1
        out = capsys.readouterr().out
        assert "can be mended" not in out
        assert "once it is moved away, mlflow-sync fills a new one" in out
