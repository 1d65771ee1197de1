"""The main job on real data: LeNet-5 on MNIST."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys

import pytest

SUITE = """
[suite]
name = "mnist"
seeds = [0, 1]
sparsities = [0.5, 0.8]
scorers = ["magnitude-l1", "taylor-weight"]
controls = [{ name = "random", draws = 1 }]

[[workload]]
dataset = "mnist"
models = ["lenet5"]

[training]
epochs = 4

[recovery]
epochs = 0.5

[metrics]
latency = false
"""


@pytest.mark.data
@pytest.mark.slow
def test_lenet5_on_mnist_is_pruned_and_recovers(tmp_path):
    if "BENCHSUITE_DATA" not in os.environ:
        pytest.skip("BENCHSUITE_DATA does not name a folder with MNIST")
    (tmp_path / "mnist.toml").write_text(SUITE)
    command = [sys.executable, "-m", "benchsuite.cli"]
    run = subprocess.run(
        [*command, "run", "mnist.toml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    shown = subprocess.run(
        [*command, "results", "runs/mnist", "--format", "csv"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    rows = list(csv.DictReader(io.StringIO(shown.stdout)))
    assert len(rows) == 2 * 2 * 3
    assert {row["status"] for row in rows} == {"done"}
    assert all(float(row["accuracy/top1_dense"]) > 0.985 for row in rows)
    for row in rows:
        before, after = (float(row[name]) for name in ("accuracy/top1_before_recovery", "accuracy/top1"))
        assert after > before
        if row["scorer"] != "random":
            assert after > 0.9
