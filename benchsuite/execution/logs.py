"""The logs of workers: what a job prints, in the folder of the stage or trial in work."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

from benchsuite.store.files import storing

if TYPE_CHECKING:
    from pathlib import Path

LOG = "worker.log"
_CUT = b"\n[cut: the log was longer than it may be]\n"


def redirect_output(folder: Path) -> None:
    """Send all output, that of native code included, to the log in a stage's folder from now on."""
    for stream in (sys.stdout, sys.stderr):
        # A plugin may have closed it.
        if stream is not None and not stream.closed:
            with contextlib.suppress(OSError):  # of a full disk; what follows says it
                stream.flush()
    with storing(folder / LOG):
        folder.mkdir(parents=True, exist_ok=True)
        log = os.open(folder / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)


def cap_log(log: Path, longest: int) -> None:
    """Cut a log that has grown beyond so many bytes; whoever writes to it goes on at its new end."""
    try:
        if log.stat().st_size > longest + len(_CUT):
            os.truncate(log, longest)
            with log.open("ab") as handle:
                handle.write(_CUT)
    except OSError:
        return  # there is none, or it cannot be written: nothing is lost that counts
