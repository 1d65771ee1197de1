"""A run that takes seconds, as a person starts it, and what two runs of it must have in common."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import psutil
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

SUITE = """
[suite]
name = "small"
seeds = [0]
sparsities = [0.5]
scorers = {scorers}

[[workload]]
dataset = "digits"
models = ["mlp"]

[pruning]
schedule = {schedules}
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
APART = ("time/", "memory/", "latency/", "energy/")
"""Metrics that another run of the same may have otherwise."""
Records = dict[str, dict[str, Any]]


def write_suite(
    folder: Path,
    scorers: Sequence[str] = ("magnitude-l1", "taylor-weight", "mean-activation"),
    schedules: Sequence[str] = ("one-shot", "iterative"),
) -> Path:
    path = folder / "small.toml"
    path.write_text(SUITE.format(scorers=json.dumps(list(scorers)), schedules=json.dumps(list(schedules))))
    return path


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "benchsuite.cli", *map(str, words)]


def call(*words: object, **options: Any) -> subprocess.CompletedProcess[str]:
    settings = {"env": {**os.environ, "OMP_NUM_THREADS": "1"}, "stdin": subprocess.DEVNULL, **options}
    settings.setdefault("stdout", subprocess.PIPE)
    settings.setdefault("stderr", subprocess.PIPE)
    return subprocess.run(command(*words), text=True, check=False, **settings)


def records_of(run: Path) -> Records:
    """The last record of each key; every line is whole."""
    text = (run / "results.jsonl").read_text("utf-8")
    assert text.endswith("\n") or not text
    return {record["key"]: record for record in map(json.loads, text.splitlines())}


def numbers_of(run: Path) -> dict[str, tuple[str, dict[str, float]]]:
    """By key, status and the metrics that the same work always has."""
    return {
        key: (record["status"], {n: v for n, v in record["metrics"].items() if not n.startswith(APART)})
        for key, record in records_of(run).items()
    }


def check_sentence(text: str, *parts: str) -> None:
    """What a person reads of a fault: no traceback, and these words."""
    assert "Traceback" not in text, text
    assert "internal error" not in text, text
    for part in parts:
        assert part in text, text


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """A file system in memory at this folder; skips the test where none may be mounted."""
    folder.mkdir(exist_ok=True)
    mount = shutil.which("mount")
    done = mount and subprocess.run(
        [mount, "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=False
    )
    if not done or done.returncode:
        pytest.skip("this machine mounts no file system for a test: it takes root")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """A folder that cannot be written: by permission, or for root, who may do anything, by a mount."""
    if os.geteuid() != 0:
        modes = {path: path.stat().st_mode for path in (folder, *folder.rglob("*")) if path.is_dir()}
        for path in modes:
            path.chmod(0o555)
        try:
            yield
        finally:
            for path, mode in modes.items():
                path.chmod(mode)
        return
    for options in (["--bind"], ["-o", "remount,ro,bind"]):
        if subprocess.run(["mount", *options, folder, folder], check=False).returncode:
            pytest.skip("this machine mounts nothing for a test, and root may write everywhere")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def check_nothing_left(folder: Path, seconds: float = 60.0) -> None:
    """No process works in the folder any more."""
    deadline = time.monotonic() + seconds
    left = [0]
    while left and time.monotonic() < deadline:
        left = [process.pid for process in psutil.process_iter() if _works_in(process, str(folder))]
        time.sleep(0.2)
    assert not left


def _works_in(process: psutil.Process, folder: str) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE and process.cwd().startswith(folder)
    except psutil.Error:
        return False
