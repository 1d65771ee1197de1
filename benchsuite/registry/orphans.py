"""Processes that outlive the one that started them: they are handed to an ancestor that can end them.

On Linux alone: elsewhere a process that leaves its group and loses its parent is not found again.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Collection

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_ROUNDS = 100
_PAUSE = 0.002


def adopt_orphans() -> None:
    """Make this process the parent of those of its descendants whose own parent dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def die_with_parent(parent: int) -> None:
    """Have the system kill this process once its parent, which has this number, is gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it was gone before
            os._exit(1)


def known(pid: int | None) -> psutil.Process | None:
    """The process as it is told from a later one of the same number; None if it is gone already."""
    try:
        return psutil.Process(pid)
    except psutil.NoSuchProcess:
        return None


def kill_children(parent: int, spared: Collection[int] = ()) -> None:
    """Kill all descendants of a process that adopts orphans, but for some children with theirs.

    With each child that dies its own children become the process's, so this goes on until there are none.
    """
    for _ in range(_ROUNDS):
        found = [pid for pid in _living_children(parent) if pid not in spared]
        if not found:
            return
        for pid in found:
            _kill(pid)
        time.sleep(_PAUSE)


def kill_tree(process: psutil.Process) -> None:
    """Kill a process with its group and with all its descendants; of one that is gone, what its group has."""
    below: list[psutil.Process] = []
    with contextlib.suppress(psutil.Error):
        below = process.children(recursive=True)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    for each in (process, *below):
        with contextlib.suppress(psutil.Error):  # it looks whether the number is another's by now
            each.kill()


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def _living_children(parent: int) -> list[int]:
    with contextlib.suppress(psutil.Error):
        return [pid for pid in _children(parent) if _lives(pid)]
    return []


def _children(parent: int) -> list[int]:
    try:
        # To look through all processes of the machine, as psutil does, takes some thousandths of a second.
        files = list(Path(f"/proc/{parent}/task").glob("*/children"))
        if files:
            return [int(word) for file in files for word in file.read_text().split()]
    except OSError:
        pass  # the process or one of its threads has just ended, or this system has no such files
    return [child.pid for child in psutil.Process(parent).children()]


def _lives(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
