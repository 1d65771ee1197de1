"""What keys cost: the digests of a folder of 10,000 unchanged images, and a plan of 11,160 trials.

The folder's alternative reads and hashes the files once more. The plan's alternative does the least that
giving so many trials a key needs: it writes each trial's settings as JSON and hashes them.

Measured on a cloud machine with two cores: 0.16 s for the folder against 0.5 s (small files; the ratio grows
with their size), and 0.6 s for the plan against 0.18 s.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from benchsuite.plan.matrix import build_plan
from benchsuite.registry.discovery import discover
from benchsuite.store import file_digests
from benchsuite.suite import load_suite

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow

LEAST_FOLDER = 1.5
"""At least so many times faster than reading the files."""
MOST_PLAN = 10.0
"""At most so many times the alternative's time."""

SUITE = """
[suite]
name = "big"
seeds = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
sparsities = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
scorers = ["all"]
controls = ["random"]

[[workload]]
dataset = "digits"
models = ["mlp", "small-resnet", "simple-cnn", "lenet5"]
"""


def seconds(function: Callable[[], Any]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def test_the_digests_of_an_unchanged_folder(
    benchmark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(file_digests, "_RACY_SECONDS", -1.0)
    folder = tmp_path / "images"
    folder.mkdir()
    files = [folder / f"{number}.png" for number in range(10_000)]
    for file in files:
        file.write_bytes(os.urandom(30_000))
    first = file_digests.file_digests(files)
    assert benchmark.pedantic(lambda: file_digests.file_digests(files), rounds=5) == first
    alternative = min(seconds(lambda: [file_digests.read_digest(file) for file in files]) for _ in range(3))
    ratio = alternative / benchmark.stats.stats.min
    benchmark.extra_info["times faster than reading the files"] = round(ratio, 1)
    assert ratio > LEAST_FOLDER


def test_a_plan_of_ten_thousand_trials(benchmark: Any, tmp_path: Path) -> None:
    path = tmp_path / "big.toml"
    path.write_text(SUITE)
    registry, _ = discover()
    suite = load_suite(path, registry)
    trials = benchmark.pedantic(lambda: build_plan(suite, registry, tmp_path), rounds=3, warmup_rounds=1)
    assert len(trials) > 10_000

    def hashed() -> None:
        for trial in trials:
            content = {"axes": trial.axes, "shared": trial.shared, "recovery": trial.recovery.model_dump()}
            hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    ratio = benchmark.stats.stats.min / min(seconds(hashed) for _ in range(3))
    benchmark.extra_info["times as long as hashing each trial's settings"] = round(ratio, 1)
    assert ratio < MOST_PLAN
