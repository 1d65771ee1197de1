"""How much memory a worker holds."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import psutil

_SHARE = re.compile(rb"^Pss:\s*(\d+) kB$", re.MULTILINE)


def held_memory(pid: int) -> int:
    """Bytes of memory that a process holds with all that it has started.

    What several processes share counts in each with an equal part (Linux's proportional set size): a worker
    is born with hundreds of megabytes that it shares with the server it is forked from, and with all others.
    Where the system does not tell that, all that is resident in a process counts as its own.
    """
    total = 0
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        for each in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                total += _part(each)
    return total


def _part(process: psutil.Process) -> int:
    try:
        found = _SHARE.search(Path(f"/proc/{process.pid}/smaps_rollup").read_bytes())
    except OSError:
        found = None
    return int(found[1]) << 10 if found else int(process.memory_info().rss)
