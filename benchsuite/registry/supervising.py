"""A process that stands over the one with a stranger's plugins, and ends it with all that it has started.

It runs no code of a stranger. It ends when its parent does, or closes its end, however busy the plugins are;
and when their process ends, nothing that they have started lives on.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal

from benchsuite.registry.orphans import adopt_orphans, die_with_parent, kill_children

_STOPS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


def fork_supervised() -> None:
    """Go on in a child process, over which this one stands until the child ends or nobody asks any more.

    Questions come through descriptor 0: once nobody can write there, everything is killed.
    """
    adopt_orphans()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        die_with_parent(parent)
        with contextlib.suppress(OSError):
            os.setpgid(0, 0)  # a plugin that kills its group is not to kill what stands over it
        return
    status = None
    with contextlib.suppress(BaseException):  # whatever happens here, what the child has started is killed
        status = _watch(child)
    kill_children(os.getpid())
    _end_like(status)


def _watch(child: int) -> int | None:
    """Wait for the end of the child, whose status is returned, or for that of everybody who can ask it."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    for number in (*_STOPS, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    # What the child closes is closed: nobody is to wait for more.
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 1)
    watched = select.poll()
    watched.register(0, 0)  # for its end alone
    watched.register(woken, select.POLLIN)
    while True:
        status = _reaped(child)
        if status is not None:
            return status
        events = dict(watched.poll())
        if 0 in events:
            return None
        if any(number in _STOPS for number in os.read(woken, 1 << 10)):
            return None


def _reaped(child: int) -> int | None:
    """Take note of all that have ended; the status of the child if it is among them."""
    found = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        if pid == child:
            found = status


def _end_like(status: int | None) -> None:
    """Leave as the child has left."""
    code = 0 if status is None else os.waitstatus_to_exitcode(status)
    if code < 0:
        with contextlib.suppress(OSError, ValueError):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(max(code, 0))
