"""The whole quick matrix compared with its trials as independent scripts that share nothing.

The scripts' total time is their mean time over a random sample of the finished trials times the number of
trials, as if they were run one after another without benchsuite. They do less: no MLflow, no latency, no
page.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchsuite.store.run_directory import RunDirectory

ROOT = Path(__file__).parents[2]
SAMPLE = 24


@pytest.mark.slow
def test_the_quick_matrix(benchmark, tmp_path):
    suite = ROOT / "suites/quick.toml"

    def matrix() -> None:
        command = [
            sys.executable,
            "-m",
            "benchsuite.cli",
            "run",
            str(suite),
            "--output",
            str(tmp_path / "run"),
        ]
        subprocess.run([*command, "--devices", "cpu"], check=True, capture_output=True)

    benchmark.pedantic(matrix, rounds=1)
    records = RunDirectory(tmp_path / "run").results().records
    done = [number for number, record in enumerate(records) if record.status == "done"]
    script = Path(__file__).with_name("one_trial.py")
    durations = []
    for number in random.Random(0).sample(done, SAMPLE):
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, str(script), str(suite), str(number)], check=True, capture_output=True
        )
        durations.append(time.perf_counter() - start)
    alone = sum(durations) / len(durations) * len(done)
    benchmark.extra_info["trials"] = len(records)
    benchmark.extra_info["seconds of one script"] = round(sum(durations) / len(durations), 2)
    benchmark.extra_info["ratio"] = round(alone / benchmark.stats.stats.mean, 1)
    assert len(records) == len(done) + sum(r.status == "unsupported" for r in records)
