"""Logging models in another process. It may run a stranger's model: whatever comes of it is a warning here.

The process sends lines of JSON, which are checked: first that all is loaded, then one for each network.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from dataclasses import replace
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Self

from benchsuite.execution import fork_server
from benchsuite.registry.orphans import kill_tree, known
from benchsuite.registry.signal_names import signal_name
from benchsuite.store.texts import printable, read_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

    from benchsuite.tracking.request import Request

SECONDS = 900.0
"""How long everything may take to be loaded, and then each network to be logged."""
_SECONDS_BETWEEN_LOOKS = 0.5
_GRACE_SECONDS = 5.0
_LONGEST = 1 << 20
"""Bytes of the longest line."""


class _EndedError(Exception):
    """The process will say nothing more; the text says why."""


def log_models(
    request: Request, stop: Callable[[], bool], work: Callable[[Connection, Request], None] | None = None
) -> list[str]:
    """Log the models in another process; return a sentence with its name for each that could not be logged.

    That process needs torch, which the main process of a run does not import; it is forked like the run's
    workers. One that dies or hangs over a network costs that network, and another process goes on with the
    next.

    Args:
        request: what to log.
        stop: returns whether to stop early.
        work: what the process does; by default it logs the models.
    """
    troubles: list[str] = []
    left = list(request.choices)
    while left and not stop():
        try:
            with _Process(replace(request, choices=tuple(left)), work or _log) as process:
                unready = process.answer(stop)
                if unready is not None:
                    raise _EndedError(unready)
                while left:
                    choice = left.pop(0)
                    try:
                        trouble = process.answer(stop)
                    except _EndedError as end:
                        troubles.append(f"{choice.name}: {end}")
                        break
                    if trouble is not None:
                        troubles.append(f"{choice.name}: {trouble}")
        except _EndedError as end:  # before the first network, so another process would come no further
            return [*troubles, *(f"{choice.name}: {end}" for choice in left)]
    return [*troubles, *(f"{choice.name}: the run was interrupted" for choice in left)]


class _Process:
    """The process, in a group of its own that is killed at the end of the block."""

    def __init__(self, request: Request, work: Callable[[Connection, Request], None]) -> None:
        try:
            self._process, self._connection = fork_server.start_worker((), work, request)
        except (EOFError, OSError) as error:
            raise _EndedError(f"no process could be started that logs it ({error})") from error
        self._known = known(self._process.pid)
        os.set_blocking(self._connection.fileno(), False)
        self._listening = True
        self._rest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._known is not None:
            kill_tree(self._known)
        fork_server.kill_orphans(self._process.pid)
        self._process.join(_GRACE_SECONDS)
        self._connection.close()

    def answer(self, stop: Callable[[], bool]) -> str | None:
        """The next answer: None, or why it cannot be done. Raises `_EndedError`."""
        line = self._line(stop)
        try:
            message = read_json(line)
        except ValueError as error:
            raise _EndedError(f"the process that logs it sent what is no answer: {error}") from error
        trouble = message.get("trouble") if isinstance(message, dict) else 0
        if trouble is not None and not isinstance(trouble, str):
            raise _EndedError("the process that logs it sent what is no answer")
        return None if trouble is None else printable(trouble)

    def _line(self, stop: Callable[[], bool]) -> bytes:
        deadline = time.monotonic() + SECONDS
        while b"\n" not in self._rest:
            left = deadline - time.monotonic()
            if stop():
                raise _EndedError("the run was interrupted")
            if left <= 0:
                raise _EndedError(
                    f"the process that logs it was killed after {SECONDS:g} s without an answer"
                )
            # The end of the process is its own sentinel: what it forked may hold the connection open.
            watched = [self._process.sentinel, *([self._connection.fileno()] if self._listening else ())]
            wait(watched, timeout=min(left, _SECONDS_BETWEEN_LOOKS))
            gone = bool(wait([self._process.sentinel], timeout=0))
            self._receive()
            if b"\n" in self._rest:
                break
            if gone:
                raise _EndedError(f"the process that logs it {self._how_it_ended()}")
            if not self._listening and not wait([self._process.sentinel], timeout=_GRACE_SECONDS):
                raise _EndedError("the process that logs it closed its connection")
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def _receive(self) -> None:
        """Take what is there."""
        try:
            part = os.read(self._connection.fileno(), _LONGEST) if self._listening else b""
        except BlockingIOError:
            return
        except OSError:
            part = b""
        self._listening = bool(part)
        self._rest += part
        if len(self._rest) > _LONGEST:
            raise _EndedError("the process that logs it sent too much")

    def _how_it_ended(self) -> str:
        self._process.join(_GRACE_SECONDS)
        code = self._process.exitcode
        if code is not None and code < 0:
            return f"was killed by {signal_name(-code)}"
        return f"ended early: exit code {code}"


def _log(connection: Connection, request: Request) -> None:
    """Log the models. Entry point of the process."""
    with contextlib.suppress(OSError):
        os.setpgid(0, 0)  # so that all it starts can be killed with it
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    from benchsuite.execution.worker import leave_with_parent

    threading.Thread(target=leave_with_parent, args=(connection,), daemon=True).start()
    # The output of torch.export and MLflow should not appear on the run's screen.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    answers = os.fdopen(os.dup(connection.fileno()), "w", encoding="utf-8")

    def answer(trouble: str | None) -> None:
        answers.write(json.dumps({"trouble": None if trouble is None else printable(trouble)}) + "\n")
        answers.flush()

    try:
        from benchsuite.tracking import models

        models.log_all(request, answer)
    except BaseException as error:  # noqa: BLE001 - whatever a plugin or MLflow raises is reported
        answer(f"{type(error).__name__}: {error}")
    # No interpreter shutdown: a plugin's threads or exit handlers must not hold the run.
    os._exit(0)
