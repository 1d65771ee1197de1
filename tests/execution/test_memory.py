"""What a worker holds is counted once, however many of its processes share it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchsuite.execution.memory import held_memory

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/smaps_rollup").exists(), reason="the system does not tell what processes share"
)
_MEGABYTES = 200
_PROGRAM = f"""
import os, time
held = bytearray(os.urandom({_MEGABYTES} << 20))
for _ in range(4):
    if os.fork() == 0:
        time.sleep(600)
print("ready", flush=True)
time.sleep(600)
"""


def test_memory_that_forked_children_share_counts_once() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM], stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        assert _MEGABYTES < held_memory(process.pid) / (1 << 20) < 1.5 * _MEGABYTES
    finally:
        os.killpg(process.pid, 9)
        process.communicate()


def test_a_process_that_is_gone_holds_nothing() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert held_memory(process.pid) == 0
