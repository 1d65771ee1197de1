"""Paths that cannot be read or written, for every command: a sentence with the path, and nothing lost."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from small_runs import check_sentence, read_only, records_of

from benchsuite import cli

if TYPE_CHECKING:
    from pathlib import Path


COMMANDS: dict[str, list[str]] = {
    "run": ["run", "PATH"],
    "run-output": ["run", "small.toml", "--output", "PATH"],
    "run-plugin": ["run", "small.toml", "--plugin", "PATH"],
    "plan": ["plan", "PATH"],
    "plan-output": ["plan", "small.toml", "--output", "PATH"],
    "validate": ["validate", "PATH"],
    "results": ["results", "PATH"],
    "leaderboard": ["leaderboard", "PATH", "--output", "site"],
    "leaderboard-output": ["leaderboard", "runs/small", "--output", "PATH"],
    "export": ["export", "PATH", "KEY"],
    "export-output": ["export", "runs/small", "KEY", "--output", "PATH"],
    "ui": ["ui", "PATH"],
    "mlflow-sync": ["mlflow-sync", "PATH"],
    "submit": ["submit", "PATH", "--output", "sent.jsonl"],
    "submit-output": ["submit", "runs/small", "--output", "PATH"],
    "verify": ["verify", "PATH"],
    "plugins": ["plugins", "--plugin", "PATH"],
    "new-plugin": ["new-plugin", "mine", "--output", "PATH"],
    "check-plugin": ["check-plugin", "PATH"],
}
PATHS = {
    "too-long": "x" * 300,
    "much-too-long": "x/" * 3000,
    "below-a-file": "small.toml/deeper",
    "loop": "loop",
    "a-file": "a-file",
    "a-folder": "a-folder",
    "no-text": "\udcff\udcfe",
}
FINE = {
    ("plan-output", "a-folder"),
    ("new-plugin", "a-folder"),
    ("leaderboard-output", "a-folder"),
    ("export-output", "a-folder"),
    ("export-output", "no-text"),
    # Names need not be text: these are made, or looked for.
    *((name, "no-text") for name in ("new-plugin", "leaderboard-output", "submit-output")),
    ("plugins", "a-file"),  # listed with its error
}


SELDOM = ("much-too-long", "loop", "no-text")
CASES = [
    pytest.param(name, kind, marks=[pytest.mark.slow] if kind in SELDOM else [])
    for name in COMMANDS
    for kind in PATHS
    if (name, kind) != ("run-output", "a-folder")
]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_wrong_path_is_named(name: str, kind: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "loop").symlink_to("loop")
    (here / "a-file").write_text("no suite, no plugin, no results")
    (here / "a-folder").mkdir()
    key = next(iter(records_of(here / "runs/small")))
    words = [{"PATH": PATHS[kind], "KEY": key}.get(word, word) for word in COMMANDS[name]]
    code = cli.main(words)
    said = capsys.readouterr()
    check_sentence(said.out + said.err)
    if (name, kind) in FINE:
        assert code == 0, said.err
        return
    assert code in (1, 4), (code, said.err)
    named = PATHS[kind].encode("utf-8", "replace").decode()[:50]
    assert named in (said.err + said.out).replace("\ufffd", "?")
    assert len(said.err + said.out) < 20_000


READ_ONLY = {
    "run": (["run", "small.toml"], 4),
    "run-output": (["run", "small.toml", "--output", "runs/new"], 4),
    "plan": (["plan", "small.toml"], 0),
    "validate": (["validate", "small.toml"], 0),
    "results": (["results", "runs/small"], 0),
    "leaderboard": (["leaderboard", "runs/small", "--output", "runs/site"], 4),
    "leaderboard-elsewhere": (["leaderboard", "runs/small", "--output", "site"], 0),
    "export": (["export", "runs/small", "KEY"], 4),
    "export-elsewhere": (["export", "runs/small", "KEY", "--output", "network"], 0),
    "mlflow-sync": (["mlflow-sync", "runs/small"], 4),
    "submit": (["submit", "runs/small", "--output", "runs/sent.jsonl"], 4),
    "submit-elsewhere": (["submit", "runs/small", "--output", "sent.jsonl"], 0),
    "new-plugin": (["new-plugin", "mine", "--output", "runs"], 4),
    "new-package": (["new-plugin", "mine", "--package", "--output", "runs"], 4),
}


@pytest.mark.parametrize("name", READ_ONLY)
def test_a_folder_that_cannot_be_written_is_read_and_said(
    name: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, expected = READ_ONLY[name]
    key = next(iter(records_of(here / "runs/small")))
    with read_only(here / "runs"):
        code = cli.main([key if word == "KEY" else word for word in words])
    said = capsys.readouterr()
    check_sentence(said.out + said.err)
    assert code == expected, said.out + said.err
    if expected:
        assert said.err.startswith("benchsuite: runs/"), said.err
        assert "Read-only file system" in said.err or "Permission denied" in said.err
        assert "resumes" not in said.err
        assert "accuracy" not in said.out  # no work was done


TAKEN = {
    # Where a file or folder of the run directory is a thing of the other kind.
    "results.jsonl": "folder",
    "suite.toml": "folder",
    "plan.json": "folder",
    ".lock": "folder",
    "stages": "file",
}


@pytest.mark.parametrize("name", TAKEN)
def test_what_stands_in_the_way_is_said_before_the_work(
    name: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = here / "runs/other"
    run.mkdir()
    (run / name).mkdir() if TAKEN[name] == "folder" else (run / name).write_text("")
    assert cli.main(["run", "small.toml", "--output", "runs/other"]) == 4
    said = capsys.readouterr()
    check_sentence(said.out + said.err, f"runs/other/{name}: ")
    assert "accuracy" not in said.out
    for command in (["results"], ["submit"], ["mlflow-sync"]):
        assert cli.main([*command, "runs/other"]) in (0, 1, 4, 5)
        said = capsys.readouterr()
        check_sentence(said.out + said.err)


def test_a_site_that_cannot_be_written_loses_no_results(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(here / "runs/small/site")
    (here / "runs/small/site").write_text("")
    before = records_of(here / "runs/small")
    assert cli.main(["run", "small.toml"]) == 1
    said = capsys.readouterr()
    check_sentence(said.out + said.err, "no page was made: runs/small/site", "the results are stored")
    assert records_of(here / "runs/small") == before
    (here / "runs/small/site").unlink()
    assert cli.main(["run", "small.toml"]) == 0
    assert (here / "runs/small/site/index.html").is_file()


@pytest.mark.parametrize("name", ["mlflow.db", pytest.param("mlartifacts", marks=pytest.mark.slow)])
def test_an_mlflow_store_that_cannot_be_written_loses_no_results(
    name: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = here / "runs/small"
    before = records_of(run)
    for store in ("mlflow.db", "mlartifacts"):
        path = run / store
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    (run / name).mkdir() if name == "mlflow.db" else (run / name).write_text("")
    (run / "mlflow.behind").touch()
    assert cli.main(["run", "small.toml"]) == 0
    said = capsys.readouterr()
    check_sentence(said.out + said.err, "MLflow")
    assert records_of(run) == before
    assert cli.main(["mlflow-sync", "runs/small"]) == 1
    check_sentence("".join(capsys.readouterr()), "MLflow")
    (run / name).rmdir() if name == "mlflow.db" else (run / name).unlink()
    assert cli.main(["mlflow-sync", "runs/small"]) == 0
    assert "1 of 1 trials were new" in capsys.readouterr().out
