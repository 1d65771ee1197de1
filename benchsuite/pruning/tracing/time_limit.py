"""A limit on the time for analysing a network."""

from __future__ import annotations

import ctypes
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from benchsuite.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Iterator


_SECONDS_TO_REPEAT = 0.5
"""An exception that arrives while an object is finalised is lost, so it is raised again."""


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
    over = threading.Event()

    def interrupt() -> None:
        wait = seconds
        while not over.wait(wait):
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
        raise Unsupported(f"{task} took longer than {seconds:g} s") from None
    finally:
        with lock:
            over.set()
