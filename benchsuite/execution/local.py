"""Worker processes on this machine: one per job, on device slots, killed hard when they must be."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING

from benchsuite.errors import BenchsuiteError
from benchsuite.execution import entry
from benchsuite.execution.fork_server import fork_server
from benchsuite.execution.jobs import Ended, Job, Message, Started

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.context import ForkServerProcess

    from benchsuite.trials.worker_context import RunConfiguration

_GRACE_SECONDS = 5.0


@dataclass
class _Worker:
    job: Job
    process: ForkServerProcess
    connection: Connection
    since: float
    stopped: Ended | None = None


class LocalExecutor:
    """Runs each job in a fresh process forked from a server that has torch and the plugins imported.

    The fork server holds no CUDA context, so that a worker starts in about a tenth of a second and still
    opens the device itself. Workers lead their own process group and are killed with all they started.

    Args:
        configuration: what every worker is told.
        slots: the device of each slot.
        threads: CPU threads of each worker.
        timeout: seconds that one stage or trial may take, or None.
    """

    def __init__(
        self, configuration: RunConfiguration, slots: Sequence[str], threads: int, timeout: float | None
    ) -> None:
        self._configuration = configuration
        self._devices = tuple(slots)
        self._threads = threads
        self._timeout = timeout
        self._workers: dict[int, _Worker] = {}

    def slots(self) -> Sequence[str]:
        """The device of each slot."""
        return self._devices

    def free_slots(self) -> int:
        """How many jobs could be started now."""
        return len(self._devices) - len(self._workers)

    def start(self, job: Job) -> int:
        """Start a job on the lowest free slot and return its number."""
        slot = next(n for n in range(len(self._devices)) if n not in self._workers)
        context = fork_server(self._configuration.imports)
        ours, theirs = context.Pipe(duplex=True)
        process = context.Process(
            target=entry.main,
            args=(theirs, job, self._configuration, self._devices[slot], self._threads),
            daemon=True,
        )
        try:
            process.start()
        except EOFError as error:
            loaded = ", ".join(("torch", "the plugins", *self._configuration.imports))
            raise BenchsuiteError(f"the server of worker processes died while it loaded {loaded}") from error
        theirs.close()
        self._workers[slot] = _Worker(job, process, ours, time.monotonic())
        return slot

    def wait(self, seconds: float) -> list[tuple[int, Job, Message]]:
        """Return what happened, as (slot, job, message), after at most that many seconds."""
        events: list[tuple[int, Job, Message]] = []
        wait([w.connection for w in self._workers.values()], timeout=self._until_deadline(seconds))
        for slot, worker in list(self._workers.items()):
            open_end = self._receive(slot, worker, events)
            if open_end and self._overdue(worker):
                worker.stopped = Ended("timeout", f"longer than {self._timeout:g} s")
                _kill(worker.process)
                open_end = False
            if not open_end:
                events.append((slot, worker.job, self._end_of(worker)))
                del self._workers[slot]
        return events

    def close(self) -> None:
        """Kill every worker."""
        for worker in self._workers.values():
            _kill(worker.process)
            worker.process.join(_GRACE_SECONDS)
            worker.connection.close()
        self._workers.clear()

    def _receive(self, slot: int, worker: _Worker, events: list[tuple[int, Job, Message]]) -> bool:
        """Take every message that is there; returns False when the worker has closed its end."""
        try:
            while worker.connection.poll():
                message = worker.connection.recv()
                if isinstance(message, Started):
                    worker.since = time.monotonic()
                events.append((slot, worker.job, message))
        except (EOFError, ConnectionResetError):
            return False
        return True

    def _end_of(self, worker: _Worker) -> Ended:
        worker.process.join(_GRACE_SECONDS)
        if worker.process.is_alive():
            _kill(worker.process)
            worker.process.join()
        worker.connection.close()
        code = worker.process.exitcode
        worker.process.close()
        if worker.stopped is not None:
            return worker.stopped
        if code == 0:
            return Ended("finished")
        if code is not None and code < 0:
            return Ended("killed", f"the worker was killed by {signal.Signals(-code).name}")
        return Ended("killed", f"the worker exited with code {code}")

    def _overdue(self, worker: _Worker) -> bool:
        return self._timeout is not None and time.monotonic() - worker.since > self._timeout

    def _until_deadline(self, seconds: float) -> float:
        if self._timeout is None:
            return seconds
        now = time.monotonic()
        left = [w.since + self._timeout - now for w in self._workers.values()]
        return max(0.0, min([seconds, *left])) + 0.001


def _kill(process: ForkServerProcess) -> None:
    """Kill a worker with its process group; a worker that is gone already is fine."""
    if process.pid is None:
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)
