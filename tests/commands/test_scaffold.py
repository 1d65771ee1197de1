"""`new-plugin` writes plugins that work: as a file, and as a package installed with benchsuite."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

SUITE = """
[suite]
name = "mine"
seeds = [0]
sparsities = [0.5]
scorers = ["magnitude-l1", "weight-power", { name = "weight-power", power = 2.0 }]

[[workload]]
dataset = "digits"
models = ["mlp"]

[training]
epochs = 1

[metrics]
latency = false
"""


def run(*command: str | Path, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **variables}
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def scorers_in_table(folder: Path) -> dict[str, str]:
    found = run("-m", "benchsuite.cli", "results", "runs/mine", "--format", "csv", cwd=folder)
    return {row["scorer"]: row["status"] for row in csv.DictReader(io.StringIO(found.stdout))}


def test_a_file_appears_in_the_table_with_plugin(tmp_path):
    (tmp_path / "mine.toml").write_text(SUITE)
    assert run("-m", "benchsuite.cli", "new-plugin", "weight-power", cwd=tmp_path).returncode == 0
    result = run("-m", "benchsuite.cli", "run", "mine.toml", "--plugin", "weight_power.py", cwd=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert scorers_in_table(tmp_path) == dict.fromkeys(
        ["magnitude-l1", "weight-power", "weight-power(power=2.0)"], "done"
    )


def test_a_package_appears_in_the_table_through_its_entry_point(tmp_path):
    (tmp_path / "mine.toml").write_text(SUITE)
    assert (
        run("-m", "benchsuite.cli", "new-plugin", "weight-power", "--package", cwd=tmp_path).returncode == 0
    )
    installed = run(
        *("-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"),
        *("--target", "site", "./benchsuite-weight-power"),
        cwd=tmp_path,
    )
    assert installed.returncode == 0, installed.stderr
    path = {"PYTHONPATH": str(tmp_path / "site")}
    listed = json.loads(
        run("-m", "benchsuite.cli", "plugins", "--format", "json", cwd=tmp_path, **path).stdout
    )
    mine = next(info for info in listed if info["name"] == "weight-power")
    assert mine["status"] == "ok"
    assert mine["origin"] == "benchsuite-weight-power (benchsuite_weight_power)"
    assert mine["version"] == "0.1.0"
    result = run("-m", "benchsuite.cli", "run", "mine.toml", cwd=tmp_path, **path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert scorers_in_table(tmp_path)["weight-power"] == "done"


def test_the_file_passes_the_conformance_checks_and_a_broken_one_does_not(tmp_path):
    run("-m", "benchsuite.cli", "new-plugin", "weight-power", cwd=tmp_path)
    assert run("-m", "benchsuite.cli", "check-plugin", "weight_power.py", cwd=tmp_path).returncode == 0
    text = (tmp_path / "weight_power.py").read_text().replace(".flatten(1).sum(1)", ".flatten(1).sum(0)")
    (tmp_path / "broken.py").write_text(text)
    result = run("-m", "benchsuite.cli", "check-plugin", "broken.py", cwd=tmp_path)
    assert result.returncode == 1
    assert "expected" in result.stdout


@pytest.mark.parametrize("name", ["Weight", "weight power", "../weight", "1st", ""])
def test_a_name_that_is_none_is_refused(tmp_path, name):
    result = run("-m", "benchsuite.cli", "new-plugin", name, cwd=tmp_path)
    assert result.returncode == 4
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path):
    run("-m", "benchsuite.cli", "new-plugin", "weight-power", cwd=tmp_path)
    (tmp_path / "weight_power.py").write_text("mine")
    assert run("-m", "benchsuite.cli", "new-plugin", "weight-power", cwd=tmp_path).returncode == 4
    assert (tmp_path / "weight_power.py").read_text() == "mine"
