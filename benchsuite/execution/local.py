"""Worker processes on this machine: one per job, on device slots, killed hard when they must be."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING

import psutil

from benchsuite.errors import BenchsuiteError
from benchsuite.execution.fork_server import fork_server
from benchsuite.execution.logs import LOG, cap_log
from benchsuite.execution.messages import LONGEST, Completed, Ended, Finished, Message, Started, decoded
from benchsuite.registry.signal_names import signal_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.context import ForkServerProcess
    from pathlib import Path

    from benchsuite.execution.jobs import Job
    from benchsuite.execution.surroundings import Surroundings

_GRACE_SECONDS = 5.0


@dataclass
class _Worker:
    job: Job
    process: ForkServerProcess
    connection: Connection
    folder: Path
    since: float
    listening: bool = True
    completed: bool = False
    stopped: Ended | None = None


class LocalExecutor:
    """Runs each job in a fresh process forked from a server that has torch and the shipped plugins imported.

    The fork server holds no CUDA context, so that a worker starts in about a tenth of a second and still
    opens the device itself. Workers lead their own process group, and when they end, what they started is
    killed with it.

    Args:
        main: what a worker does; the run names `benchsuite.execution.entry.main`.
        surroundings: what every worker is told; the device is that of its slot.
        slots: the device of each slot.
        group: the process group that workers join instead of leading their own.
    """

    def __init__(
        self,
        main: Callable[[Connection, Job, Surroundings, str, int | None], None],
        surroundings: Surroundings,
        slots: Sequence[str],
        group: int | None = None,
    ) -> None:
        self._main = main
        self._surroundings = surroundings
        self._devices = tuple(slots)
        self._limits = surroundings.limits
        self._finishing = False
        self._group = group
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
        imports = self._surroundings.configuration.imports
        context = fork_server(imports)
        ours, theirs = context.Pipe(duplex=True)
        process = context.Process(
            target=self._main,
            args=(theirs, job, self._surroundings, self._devices[slot], self._group),
        )
        try:
            process.start()
        except EOFError as error:
            loaded = ", ".join(("torch", "the shipped plugins", *imports))
            raise BenchsuiteError(f"the server of worker processes died while it loaded {loaded}") from error
        theirs.close()
        self._workers[slot] = _Worker(job, process, ours, self._stage(job.key), time.monotonic())
        return slot

    def finish(self) -> None:
        """Let every worker end the trial or stage that is in work, and do no more of its job."""
        self._finishing = True

    def _stage(self, key: str) -> Path:
        return self._surroundings.configuration.run / "stages" / key

    def wait(self, seconds: float) -> list[tuple[int, Job, Message]]:
        """Return what happened, as (slot, job, message), after at most that many seconds."""
        events: list[tuple[int, Job, Message]] = []
        # The end of a process is its own sentinel: what it forked may hold its connection open.
        watched: list[Connection | int] = [w.process.sentinel for w in self._workers.values()]
        watched += [w.connection for w in self._workers.values() if w.listening]
        wait(watched, timeout=self._until_deadline(seconds))
        for slot, worker in list(self._workers.items()):
            gone = bool(wait([worker.process.sentinel], timeout=0))
            self._receive(slot, worker, events)
            if not gone and not worker.listening and not worker.completed:
                # It can say nothing more, and nobody would know when it is done.
                gone = bool(wait([worker.process.sentinel], timeout=_GRACE_SECONDS))
                if not gone:
                    worker.stopped = Ended("killed", "the worker closed its connection")
            if not gone and worker.stopped is None:
                worker.stopped = self._beyond(worker)
            cap_log(worker.folder / LOG, self._limits.log)
            if gone or worker.stopped is not None:
                del self._workers[slot]  # first: whatever its end brings, it is closed once
                events.append((slot, worker.job, self._end_of(worker)))
        return events

    def close(self) -> None:
        """Kill every worker."""
        for worker in self._workers.values():
            _kill(worker.process)
            worker.process.join(_GRACE_SECONDS)
            worker.connection.close()
        self._workers.clear()

    def _receive(self, slot: int, worker: _Worker, events: list[tuple[int, Job, Message]]) -> None:
        """Take every message that is there."""
        try:
            while worker.listening and worker.connection.poll():
                message = decoded(worker.connection.recv_bytes(LONGEST))
                if isinstance(message, Started):
                    worker.since = time.monotonic()
                    worker.folder = self._stage(message.trial or worker.job.key)
                elif isinstance(message, Finished) and self._finishing:
                    worker.listening = False
                    worker.stopped = Ended("stopped")
                worker.completed |= isinstance(message, Completed)
                events.append((slot, worker.job, message))
        except (EOFError, OSError):
            worker.listening = False
        except ValueError as error:
            worker.listening = False
            worker.stopped = Ended("killed", str(error))

    def _end_of(self, worker: _Worker) -> Ended:
        """How a worker ended that is gone or is to go; kills it and what it has left running."""
        if worker.stopped is None:
            worker.process.join(_GRACE_SECONDS)
        _kill(worker.process)
        worker.process.join()
        worker.connection.close()
        code = worker.process.exitcode
        worker.process.close()
        if worker.stopped is not None:
            return worker.stopped
        if code == 0 and worker.completed:
            return Ended("finished")
        if code is not None and code < 0:
            return Ended("killed", f"the worker was killed by {signal_name(-code)}")
        return Ended("killed", f"the worker exited with code {code} before its work was done")

    def _beyond(self, worker: _Worker) -> Ended | None:
        """Why a worker has to go that took more than it may."""
        if time.monotonic() - worker.since > self._limits.timeout:
            return Ended("timeout", f"longer than {self._limits.timeout:g} s")
        if self._limits.memory is not None and worker.process.pid is not None:
            held = _resident(worker.process.pid)
            if held > self._limits.memory:
                allowed = f"the {self._limits.memory / 1e9:g} GB that --memory allows"
                return Ended("killed", f"the worker held {held / 1e9:.1f} GB, more than {allowed}")
        return None

    def _until_deadline(self, seconds: float) -> float:
        now = time.monotonic()
        left = [w.since + self._limits.timeout - now for w in self._workers.values()]
        return max(0.0, min([seconds, *left])) + 0.001


def _resident(pid: int) -> int:
    """Resident bytes of a process with all that it has started."""
    total = 0
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        for each in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                total += each.memory_info().rss
    return total


def _kill(process: ForkServerProcess) -> None:
    """Kill a worker with its process group; where it is gone already, what is left of the group."""
    if process.pid is None:
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    if process.is_alive():
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
