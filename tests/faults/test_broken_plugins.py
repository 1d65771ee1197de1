"""Strangers' plugins harm nobody: beside them every other cell is what it is without them, to the bit."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from broken_plugins import (
    AT_IMPORT,
    DEAD_AT_IMPORT,
    IN_SCORE,
    LATER,
    OBSERVERS,
    install_packages,
    write_plugins,
)

from benchsuite.store.texts import LONGEST_TEXT

if TYPE_CHECKING:
    from collections.abc import Sequence
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
schedule = "{schedule}"
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
Records = dict[str, dict[str, Any]]


class Run:
    """A run of the suite with some scorers, in a folder of its own."""

    def __init__(
        self, folder: Path, scorers: Sequence[str], schedule: str, *options: str, **environment: str
    ) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        (folder / "faults.toml").write_text(SUITE.format(scorers=json.dumps(scorers), schedule=schedule))
        command = [sys.executable, "-m", "benchsuite.cli", "run", "faults.toml", *options]
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        self.code, self.output = done.returncode, done.stdout + done.stderr
        lines = (folder / "runs/faults/results.jsonl").read_text("utf-8").splitlines()
        self.records: Records = {name_of(each["axes"]): each for each in map(json.loads, lines)}


def name_of(axes: dict[str, Any]) -> str:
    """The scorer, and which of its draws where that is not the first."""
    return f"{axes['scorer']}, draw {axes['draw']}" if axes["draw"] else axes["scorer"]


def test_there_are_enough_kinds() -> None:
    assert len(IN_SCORE) + len(AT_IMPORT) + len(DEAD_AT_IMPORT) + len(OBSERVERS) >= 35


@pytest.mark.slow
def test_beside_all_of_them_every_other_cell_is_the_same_to_the_bit(tmp_path: Path) -> None:
    clean = Run(tmp_path / "clean", GOOD, "one-shot")
    assert clean.code == 0, clean.output
    plugins, packages = tmp_path / "plugins", tmp_path / "packages"
    plugins.mkdir()
    packages.mkdir()
    install_packages(packages)
    options = [word for file in write_plugins(plugins) for word in ("--plugin", str(file))]
    scorers = [*IN_SCORE, *GOOD[:3], *AT_IMPORT, *OBSERVERS, *GOOD[3:]]
    beside = Run(
        tmp_path / "beside", scorers, "one-shot", "--timeout", "60", *options, PYTHONPATH=str(packages)
    )
    assert beside.code == 1, beside.output
    check_same(clean.records, beside.records)
    for name, (_, status, reason) in IN_SCORE.items():
        record = beside.records[name]
        assert record["status"] == status, (name, record["error"])
        assert reason in (record["error"] or ""), (name, record["error"])
    stages = tmp_path / "beside/runs/faults/stages"
    log = (stages / beside.records["hangs"]["stages"]["score"] / "worker.log").read_text()
    assert re.search(r'hangs\.py", line \d+ in score', log)
    for name, (_, how) in DEAD_AT_IMPORT.items():
        (line,) = (line for line in beside.output.splitlines() if line.startswith(f"plugin {name} "))
        assert how in line
    for name in ("observer_exits", "observer_raises"):
        assert f"{name}.py" in beside.output
    check_clean_texts(beside)
    check_nothing_left(tmp_path)


@pytest.mark.slow
def test_in_later_rounds_they_cost_only_their_own_cells(tmp_path: Path) -> None:
    clean = Run(tmp_path / "clean", GOOD[:4], "iterative")
    assert clean.code == 0, clean.output
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    options = [word for file in write_plugins(plugins, LATER) for word in ("--plugin", str(file))]
    beside = Run(tmp_path / "beside", [*LATER, *GOOD[:4]], "iterative", "--timeout", "60", *options)
    check_same(clean.records, beside.records)
    for name, (_, status, reason) in LATER.items():
        record = beside.records[name]
        assert record["status"] == status, (name, record["error"])
        assert reason in (record["error"] or ""), (name, record["error"])
    check_nothing_left(tmp_path)


def check_same(expected: Records, found: Records) -> None:
    for scorer, record in expected.items():
        assert found[scorer]["status"] == record["status"] == "done", found[scorer]["error"]
        for name, value in record["metrics"].items():
            if not name.startswith(TIMED):
                assert found[scorer]["metrics"][name] == value, (scorer, name)


def check_clean_texts(run: Run) -> None:
    """Nothing that they say reaches the terminal or a file as it is."""
    assert "\x1b" not in run.output
    assert "Traceback" not in run.output
    stored = (run.folder / "runs/faults/results.jsonl").read_bytes().lower()
    assert b"\\u001b" not in stored
    assert b"\\ud800" not in stored
    for record in run.records.values():
        assert len((record["error"] or "").encode()) <= LONGEST_TEXT
    for log in (run.folder / "runs/faults/stages").glob("*/worker.log"):
        assert log.stat().st_size <= (20 << 20) + 100


def check_nothing_left(folder: Path) -> None:
    deadline = time.monotonic() + 60
    left = [0]
    while left and time.monotonic() < deadline:
        left = [p.pid for p in psutil.process_iter() if _works_in(p, str(folder))]
        time.sleep(0.2)
    assert not left


def _works_in(process: psutil.Process, folder: str) -> bool:
    try:
        return process.cwd().startswith(folder)
    except psutil.Error:
        return False
