"""The start of a worker, compared with a fork server that has loaded only torch."""

from __future__ import annotations

import statistics
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

SCRIPT = """
import multiprocessing
import sys
import time

from benchsuite.execution.fork_server import fork_server

MODULES = ("sklearn.tree", "xgboost")


def work(connection, modules):
    from benchsuite.registry.discovery import discover

    discover()
    for module in modules:
        __import__(module)
    connection.send("ready")


def seconds(context, modules):
    ours, theirs = context.Pipe(duplex=False)
    start = time.perf_counter()
    process = context.Process(target=work, args=(theirs, modules))
    process.start()
    ours.recv()
    found = time.perf_counter() - start
    process.join()
    return found


if __name__ == "__main__":
    if sys.argv[1] == "ours":
        context = fork_server(MODULES)
    else:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["benchsuite.execution.worker"])
    seconds(context, ())  # the first waits for the server
    for modules in ((), MODULES):
        print(*(seconds(context, modules) for _ in range(8)))
"""


@pytest.mark.parametrize("modules", [0, 1], ids=["plugins", "plugins, scikit-learn and XGBoost"])
def test_birth_of_a_worker(benchmark: Any, tmp_path: Path, modules: int) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)

    def births(server: str) -> float:
        done = subprocess.run(
            [sys.executable, str(script), server], capture_output=True, text=True, check=True
        )
        return statistics.median(map(float, done.stdout.splitlines()[modules].split()))

    ours = benchmark.pedantic(births, args=("ours",), rounds=1)
    plain = births("plain")
    benchmark.extra_info["seconds"] = round(ours, 3)
    benchmark.extra_info["seconds without"] = round(plain, 3)
    benchmark.extra_info["ratio"] = round(plain / ours, 1)
    assert ours < plain
