"""A limit on the processor time for analysing a network."""

from __future__ import annotations

import ctypes
import threading
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from benchsuite.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


_SECONDS_TO_REPEAT = 0.5
"""An exception that arrives while an object is finalised is lost, so it is raised again."""
_SHORTEST_WAIT = 0.01
"""Between two looks at the clock of a thread that gets little of the processor."""


class _TimeOver(BaseException):
    """Raised inside the limited thread; no `except Exception` there can catch it."""


@contextmanager
def time_limit(seconds: float, task: str, advice: str) -> Iterator[None]:
    """Let the body use at most `seconds` of processor time, in any thread.

    What counts is the processor time of the calling thread alone, so that other programs and threads change
    no outcome. It stops Python code, but not a long call into C.

    Args:
        seconds: the limit.
        task: what takes the time, for the message.
        advice: what would take less, for the message.

    Raises:
        Unsupported: the limit was reached.
    """
    thread = ctypes.c_ulong(threading.get_ident())
    clock = _clock_of_this_thread()
    end = clock() + seconds
    lock = threading.Lock()
    over = threading.Event()

    def interrupt() -> None:
        wait = seconds
        while not over.wait(wait):
            if (wait := end - clock()) > 0:
                wait = max(wait, _SHORTEST_WAIT)
                continue
            with lock:
                if not over.is_set():
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(_TimeOver))
            wait = _SECONDS_TO_REPEAT

    try:
        # Started in here, since on a busy machine it may be over before `start` has returned.
        threading.Thread(target=interrupt, daemon=True).start()
        yield
        with lock:
            over.set()
    except _TimeOver:
        raise Unsupported(f"{task} took longer than {seconds:g} s of processor time; {advice}") from None
    finally:
        with lock:
            over.set()


def _clock_of_this_thread() -> Callable[[], float]:
    """A clock that other threads can read; that of the whole process where the system has no other."""
    if hasattr(time, "pthread_getcpuclockid"):
        return partial(time.clock_gettime, time.pthread_getcpuclockid(threading.get_ident()))
    return time.process_time
