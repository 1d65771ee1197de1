"""A limit on the time for analysing a network."""

from __future__ import annotations

import ctypes
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from benchsuite.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Iterator


class _TimeOver(BaseException):
    """Raised inside the limited thread; no `except Exception` there can catch it."""


@contextmanager
def time_limit(seconds: float, task: str) -> Iterator[None]:
    """Run the body for at most `seconds`, in any thread; stops Python code, but not a long call into C.

    Raises:
        Unsupported: the time limit was reached; the message names the task.
    """
    thread = ctypes.c_ulong(threading.get_ident())
    lock = threading.Lock()
    finished = False

    def interrupt() -> None:
        with lock:
            if not finished:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(_TimeOver))

    timer = threading.Timer(seconds, interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
        with lock:
            finished = True
    except _TimeOver:
        raise Unsupported(f"{task} took longer than {seconds:g} s") from None
    finally:
        with lock:
            finished = True
        timer.cancel()
