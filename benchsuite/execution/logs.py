"""The logs of workers: what a job prints, in the folder of the stage or trial in work."""

from __future__ import annotations

import contextlib
import faulthandler
import math
import os
import stat
import sys
from typing import TYPE_CHECKING

from benchsuite.store.files import own_directory, storing

if TYPE_CHECKING:
    from pathlib import Path

    from benchsuite.store.record import TrialRecord

LOG = "worker.log"
_CUT = b"\n[cut: the log was longer than it may be]\n"
_TO_WRITE = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK | os.O_NOFOLLOW
_TO_CUT = os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOFOLLOW


def redirect_output(folder: Path) -> None:
    """Send all output, that of native code included, to the log in a stage's folder from now on."""
    for stream in (sys.stdout, sys.stderr):
        # A plugin may have closed it.
        if stream is not None and not stream.closed:
            with contextlib.suppress(OSError):  # of a full disk; what follows says it
                stream.flush()
    own_directory(folder)
    with storing(folder / LOG):
        _remove_stranger(folder / LOG)
        log = os.open(folder / LOG, _TO_WRITE, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)


def log_where_it_is(after: float) -> None:
    """Let this process write to its log which lines it is at, shortly before so many seconds have passed.

    Then it is killed for its time. Each call begins anew.
    """
    if math.isfinite(after):
        faulthandler.dump_traceback_later(max(0.9 * after, after - 2.0), file=2)


def log_of(record: TrialRecord, stages: Path) -> Path | None:
    """The log of what failed in a trial: the newest of those of its stages, unless nothing is in it."""
    found = []
    for key in {record.key, *record.stages.values()}:
        with contextlib.suppress(OSError):
            seen = os.lstat(stages / key / LOG) if key.isalnum() else None
            if seen is not None and stat.S_ISREG(seen.st_mode):
                found.append((seen.st_mtime_ns, seen.st_size, stages / key / LOG))
    _, written, newest = max(found, default=(0, 0, stages))
    return newest if written else None


def _remove_stranger(log: Path) -> None:
    """Remove what was put in a log's place and is none: a link would lead the output elsewhere."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(os.lstat(log).st_mode):
            log.unlink()


def cap_log(log: Path, longest: int) -> None:
    """Cut a log that has grown beyond so many bytes; whoever writes to it goes on at its new end.

    Nothing but a log in the folder itself is cut: no file that a link leads to.
    """
    with contextlib.suppress(OSError):  # there is none, or it cannot be written: nothing is lost that counts
        folder = os.open(log.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            number = os.open(log.name, _TO_CUT, dir_fd=folder)
        finally:
            os.close(folder)
        try:
            found = os.fstat(number)
            own = stat.S_ISREG(found.st_mode) and found.st_nlink == 1
            if own and found.st_size > longest + len(_CUT):
                os.ftruncate(number, longest)
                os.write(number, _CUT)
        finally:
            os.close(number)
