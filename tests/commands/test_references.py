"""Published values and sweeps from the command line: what runs again, and what pages and records say."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

SUITE = """
[suite]
name = "published"
seeds = [0]
sparsities = [0.5]
scorers = [{ name = "synflow", sweep = { rounds = [1, 2, 100] } }]

[[workload]]
dataset = "digits"
models = [{ name = "mlp", hidden = [12, 8] }]
training = { epochs = 1 }

[recovery]
epochs = 0

[metrics]
latency = false
"""
REFERENCE = """
[[reference]]
value = 85.5
unit = "%"
metric = "accuracy/top1"
source = "Author 2018, table 3"
scorer = "synflow(rounds=2)"
"""


def run(folder: Path, command: str, text: str) -> subprocess.CompletedProcess[str]:
    (folder / "suite.toml").write_text(text)
    words = [sys.executable, "-m", "benchsuite.cli", command, "suite.toml"]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=600, check=False)


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "runs/published/results.jsonl").read_text().splitlines()]


@pytest.mark.slow  # two runs with all that a run writes
def test_a_reference_runs_nothing_again_and_reaches_the_pages(tmp_path: Path) -> None:
    assert run(tmp_path, "run", SUITE).returncode == 0
    first, folder = records(tmp_path), tmp_path / "runs/published"
    assert "reference" not in tomllib.loads((folder / "suite.toml").read_text())
    assert not (folder / "site/published.csv").exists()
    said = run(tmp_path, "run", SUITE + REFERENCE)
    assert said.returncode == 0, said.stderr
    assert "3 cached" in said.stdout
    assert records(tmp_path) == first
    (resolved,) = tomllib.loads((folder / "suite.toml").read_text())["reference"]
    assert (resolved["model"], resolved["sparsity"]) == ("mlp(hidden=[12, 8])", 0.5)
    (page,) = (folder / "site/workloads").iterdir()
    assert "Author 2018, table 3" in page.read_text()
    assert "synflow</bdi> by <bdi>rounds" in page.read_text()
    # The default is no parameter of the record's axes, and has its place all the same.
    known = {r["axes"]["scorer"]: r["provenance"]["scorer_parameters"]["rounds"] for r in first}
    assert known == {"synflow(rounds=1)": 1, "synflow(rounds=2)": 2, "synflow": 100}
    assert "Not on the lines" not in page.read_text()
    # The run directory's own suite is the same suite.
    again = [
        sys.executable,
        "-m",
        "benchsuite.cli",
        "plan",
        str(folder / "suite.toml"),
        "--output",
        str(folder),
    ]
    planned = subprocess.run(again, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False)
    assert "to run 0" in planned.stdout


def test_a_reference_without_a_cell_stops_every_command_before_work(tmp_path: Path) -> None:
    wrong = SUITE + REFERENCE.replace("rounds=2", "rounds=3")
    for command in ("validate", "plan", "run"):
        said = run(tmp_path, command, wrong)
        assert said.returncode == 4
        assert "suite.toml:24: reference[0].scorer: a reference without a cell" in said.stderr
        assert "did you mean 'synflow(rounds=2)'" in said.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_default_that_was_run_before_has_its_place_in_a_later_sweep(tmp_path: Path) -> None:
    plain = SUITE.replace('{ name = "synflow", sweep = { rounds = [1, 2, 100] } }', '"synflow"')
    assert run(tmp_path, "run", plain).returncode == 0
    (before,) = records(tmp_path)
    assert "scorer_parameters" not in before["provenance"]
    said = run(tmp_path, "run", SUITE)
    assert "1 cached" in said.stdout
    after = {record["key"]: record for record in records(tmp_path)}
    assert len(after) == 3
    own = after[before["key"]]
    assert own["provenance"].pop("scorer_parameters")["rounds"] == 100
    assert own == before, "nothing else is changed"
    (page,) = (tmp_path / "runs/published/site/workloads").iterdir()
    assert "synflow</bdi> by <bdi>rounds" in page.read_text()
