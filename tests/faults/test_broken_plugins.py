"""Strangers' plugins harm nobody: beside them every other cell is what it is without them, to the bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from broken_plugins import AT_IMPORT, DEAD_AT_IMPORT, IN_SCORE, OBSERVERS, install_packages, write_plugins

from benchsuite.store.texts import LONGEST_TEXT

if TYPE_CHECKING:
    from pathlib import Path

GOOD = ("magnitude-l1", "mean-activation", "taylor-weight", "apoz", "fisher", "random")
SUITE = """
[suite]
name = "faults"
seeds = [0]
sparsities = [0.5]
scorers = {scorers}

[[workload]]
dataset = {{ name = "shapes", samples = 240, size = 16 }}
models = ["small-resnet"]

[pruning]
schedule = ["one-shot", "iterative"]
rounds = 2

[training]
epochs = 1

[recovery]
epochs = 0.5

[scoring]
samples = 64

[metrics]
latency = false
"""
TIMED = ("time/", "memory/")


def run(
    folder: Path, scorers: list[str], *options: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    (folder / "faults.toml").write_text(SUITE.format(scorers=json.dumps(scorers)))
    command = [sys.executable, "-m", "benchsuite.cli", "run", "faults.toml", *options]
    return subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


def records(folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    lines = (folder / "runs/faults/results.jsonl").read_text("utf-8").splitlines()
    found = [json.loads(line) for line in lines]
    return {(each["axes"]["scorer"], each["axes"]["schedule"]): each for each in found}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, subprocess.CompletedProcess[str]]:
    """A run without any of them, and one beside all of them."""
    clean, beside = tmp_path_factory.mktemp("clean"), tmp_path_factory.mktemp("beside")
    alone = run(clean, list(GOOD))
    assert alone.returncode == 0, alone.stdout + alone.stderr
    plugins, packages = beside / "plugins", beside / "packages"
    plugins.mkdir()
    packages.mkdir()
    install_packages(packages)
    files = write_plugins(plugins)
    options = [word for file in files for word in ("--plugin", str(file))]
    scorers = [*IN_SCORE, *GOOD[:3], *AT_IMPORT, *OBSERVERS, *GOOD[3:]]
    done = run(beside, scorers, "--timeout", "45", *options, PYTHONPATH=str(packages))
    return clean, beside, done


def test_there_are_enough_kinds() -> None:
    assert len(IN_SCORE) + len(AT_IMPORT) + len(DEAD_AT_IMPORT) + len(OBSERVERS) >= 35


def test_every_other_cell_is_the_same_to_the_bit(runs: Any) -> None:
    clean, beside, done = runs
    assert done.returncode == 1, done.stdout + done.stderr
    expected, found = records(clean), records(beside)
    assert {scorer for scorer, _ in expected} == set(GOOD)
    for cell, record in expected.items():
        assert found[cell]["status"] == record["status"] == "done", found[cell]["error"]
        for name, value in record["metrics"].items():
            if not name.startswith(TIMED):
                assert found[cell]["metrics"][name] == value, (cell, name)


@pytest.mark.parametrize("name", IN_SCORE)
def test_each_has_its_own_outcome_and_reason(runs: Any, name: str) -> None:
    _, status, reason = IN_SCORE[name]
    record = records(runs[1])[name, "one-shot"]
    assert record["status"] == status, record["error"]
    assert reason in (record["error"] or "")


@pytest.mark.parametrize("name", DEAD_AT_IMPORT)
def test_what_dies_at_import_is_named_with_how(runs: Any, name: str) -> None:
    (line,) = (line for line in runs[2].stdout.splitlines() if line.startswith(f"plugin {name} "))
    assert DEAD_AT_IMPORT[name][1] in line


@pytest.mark.parametrize("name", ["observer-exits", "observer-raises"])
def test_observers_that_fail_are_named(runs: Any, name: str) -> None:
    assert name.replace("-", "_") in runs[2].stdout + runs[2].stderr


def test_nothing_that_they_say_reaches_the_terminal_or_the_file_as_it_is(runs: Any) -> None:
    _, beside, done = runs
    assert "\x1b" not in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    stored = (beside / "runs/faults/results.jsonl").read_bytes()
    assert b"\\u001b" not in stored
    assert b"\\ud800" not in stored.lower()
    for record in records(beside).values():
        assert len((record["error"] or "").encode()) <= LONGEST_TEXT
    for log in (beside / "runs/faults/stages").glob("*/worker.log"):
        assert log.stat().st_size <= (20 << 20) + 100


def test_nothing_that_they_started_is_left(runs: Any) -> None:
    folder = str(runs[1])
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        left = [p.pid for p in psutil.process_iter() if _works_in(p, folder)]
        if not left:
            return
        time.sleep(0.2)
    pytest.fail(f"still there: {left}")


def _works_in(process: psutil.Process, folder: str) -> bool:
    try:
        return process.cwd().startswith(folder)
    except psutil.Error:
        return False
