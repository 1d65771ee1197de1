"""Worker processes on this machine: one per job, on device slots, killed hard when they must be."""

from __future__ import annotations

import time
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING

from benchsuite.errors import BenchsuiteError
from benchsuite.execution import fork_server
from benchsuite.execution.fitting import Fitting, Unfitting
from benchsuite.execution.inbox import Inbox
from benchsuite.execution.jobs import needed_plugins
from benchsuite.execution.logs import LOG, cap_log
from benchsuite.execution.memory import held_memory
from benchsuite.execution.messages import (
    Ended,
    Finished,
    Message,
    NotStored,
    Sent,
    StageFailed,
    Started,
    decoded,
)
from benchsuite.registry.orphans import kill_tree, known
from benchsuite.registry.signal_names import signal_name
from benchsuite.store.files import has_room

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.context import ForkServerProcess
    from pathlib import Path

    import psutil

    from benchsuite.execution.jobs import Job
    from benchsuite.execution.surroundings import Surroundings

_GRACE_SECONDS = 5.0
_MOST_BYTES = 4 << 20
"""Bytes that are read of one worker before others have their turn."""
Event = tuple[int, "Job", Message]


@dataclass
class _Worker:
    job: Job
    process: ForkServerProcess
    known: psutil.Process | None
    server: int | None
    inbox: Inbox
    fitting: Fitting
    folder: Path
    since: float
    alone: bool
    stopped: Ended | None = None


class LocalExecutor:
    """Runs each job in a fresh process forked from a server that has torch and the shipped plugins imported.

    The fork server holds no CUDA context, so that a worker starts in about a tenth of a second and still
    opens the device itself. Workers lead their own process group, and when they end, what they started is
    killed with it. If the server is killed, which kills its workers, their jobs are started once more, one
    at a time: so the one that kills it again is known.

    Args:
        main: what a worker does; the run names `benchsuite.execution.entry.main`.
        surroundings: what every worker is told; the device is that of its slot.
        slots: the device of each slot.
    """

    def __init__(
        self,
        main: Callable[[Connection, Job, Surroundings, str], None],
        surroundings: Surroundings,
        slots: Sequence[str],
    ) -> None:
        self._main = main
        self._surroundings = surroundings
        self._devices = tuple(slots)
        self._limits = surroundings.limits
        self._finishing = False
        self._workers: dict[int, _Worker] = {}
        self._waiting: dict[int, tuple[Job, Job]] = {}
        """By slot, the jobs that lost their worker with the server, each with what is left of it."""

    def slots(self) -> Sequence[str]:
        """The device of each slot."""
        return self._devices

    def free_slots(self) -> int:
        """How many jobs could be started now."""
        if self._waiting or any(worker.alone for worker in self._workers.values()):
            return 0
        return len(self._devices) - len(self._workers)

    def start(self, job: Job) -> int:
        """Start a job on the lowest free slot and return its number."""
        slot = next(n for n in range(len(self._devices)) if n not in self._workers)
        self._start(slot, job, job, alone=False)
        return slot

    def finish(self) -> None:
        """Let every worker end the trial or stage that is in work, and do no more of its job."""
        self._finishing = True

    def wait(self, seconds: float) -> list[Event]:
        """Return what happened, as (slot, job, message), after at most that many seconds."""
        events: list[Event] = []
        if self._waiting and not self._workers:
            self._start_waiting(events)
        # The end of a process is its own sentinel: what it forked may hold its connection open.
        watched: list[Connection | int] = [w.process.sentinel for w in self._workers.values()]
        watched += [w.inbox.connection for w in self._workers.values() if w.inbox.open]
        wait(watched, timeout=0 if events else self._until_deadline(seconds))
        lost = []
        for slot, worker in list(self._workers.items()):
            gone = self._look_after(slot, worker, events)
            cap_log(worker.folder / LOG, self._limits.log)
            if gone and worker.stopped is None and not worker.fitting.completed and _lost_with_server(worker):
                lost.append(slot)
            elif gone or worker.stopped is not None:
                del self._workers[slot]  # first: whatever its end brings, it is closed once
                events.append((slot, worker.job, self._end_of(worker)))
        for slot in lost:
            self._start_later(slot, self._workers.pop(slot), events)
        return events

    def close(self) -> None:
        """Kill every worker."""
        self._waiting.clear()
        while self._workers:
            _, worker = self._workers.popitem()
            _bury(worker)

    def _start(self, slot: int, job: Job, left: Job, *, alone: bool) -> None:
        """Start what is left of a job; the server that has died meanwhile is started anew once."""
        imports = self._surroundings.configuration.imports
        task = (left, self._surroundings, self._devices[slot])
        try:
            process, connection = fork_server.start_worker(imports, self._main, *task)
        except (EOFError, ConnectionError):
            try:
                process, connection = fork_server.start_worker(imports, self._main, *task)
            except (EOFError, ConnectionError) as error:
                loaded = ", ".join(("torch", "the shipped plugins", *imports))
                raise BenchsuiteError(
                    f"the server of worker processes died while it loaded {loaded}"
                ) from error
        self._workers[slot] = _Worker(
            job,
            process,
            known(process.pid),
            fork_server.server_pid(),
            Inbox(connection),
            Fitting(left),
            self._stage(left.key),
            time.monotonic(),
            alone,
        )

    def _start_waiting(self, events: list[Event]) -> None:
        slot, (job, left) = next(iter(self._waiting.items()))
        del self._waiting[slot]
        if self._finishing:
            events.append((slot, job, Ended("stopped")))
        else:
            self._start(slot, job, left, alone=True)

    def _start_later(self, slot: int, worker: _Worker, events: list[Event]) -> None:
        """Put what is left of a job back that lost its worker with the server."""
        _bury(worker)
        left = worker.fitting.left()
        if worker.alone:
            why = "the server of worker processes was killed twice while this was in work, at last alone"
            events.append((slot, worker.job, Ended("killed", why)))
        elif left is None:
            events.append((slot, worker.job, Ended("finished")))
        else:
            self._waiting[slot] = (worker.job, left)

    def _stage(self, key: str) -> Path:
        return self._surroundings.configuration.run / "stages" / key

    def _look_after(self, slot: int, worker: _Worker, events: list[Event]) -> bool:
        """Take a worker's messages and see whether it has to go; returns whether it is gone."""
        gone = bool(wait([worker.process.sentinel], timeout=0))
        if gone:
            # Nobody is to write any more, so that there is an end of what it sent.
            _kill(worker)
        self._receive(slot, worker, events)
        if not gone and worker.stopped is None and not worker.inbox.open and not worker.fitting.completed:
            # It can say nothing more, and nobody would know when it is done.
            gone = bool(wait([worker.process.sentinel], timeout=_GRACE_SECONDS))
            if not gone:
                worker.stopped = Ended("killed", "the worker closed its connection")
        if not gone and worker.stopped is None:
            worker.stopped = self._beyond(worker)
        return gone

    def _receive(self, slot: int, worker: _Worker, events: list[Event]) -> None:
        """Take the messages that are there; one that does not fit the job ends it."""
        try:
            for sent in worker.inbox.take(_MOST_BYTES):
                message = self._believed(worker, worker.fitting.check(decoded(sent)))
                events.append((slot, worker.job, message))
                if isinstance(message, Started) and message.trial is not None:
                    worker.since = time.monotonic()
                    worker.folder = self._stage(message.trial)
                elif isinstance(message, Finished) and self._finishing:
                    worker.stopped = Ended("stopped")
                    return
        except Unfitting as error:
            worker.stopped = Ended("killed", f"the worker sent what does not fit its job: {error}")
        except ValueError as error:
            worker.stopped = Ended("killed", str(error))
        except Exception as error:  # noqa: BLE001 - whatever a message does to its reader, it ends its job alone
            worker.stopped = Ended("killed", f"the worker sent what is no message: {type(error).__name__}")

    def _believed(self, worker: _Worker, message: Sent) -> Sent:
        """That nothing can be stored is believed of a stranger's process where this one cannot write either.

        Its code may have taken descriptors, rights or the size of files from its process, or say so itself.
        """
        if not isinstance(message, NotStored) or not worker.fitting.begun:
            return message
        strangers = self._surroundings.strangers
        foreign = sorted({strangers[p].origin for p in needed_plugins(worker.job) if p in strangers})
        if not foreign or not has_room(worker.folder):
            return message
        return StageFailed(
            "failed",
            f"its process could not write where others can ({message.error}); the code of "
            f"{', '.join(foreign)} ran there",
        )

    def _end_of(self, worker: _Worker) -> Ended:
        """How a worker ended that is gone or is to go; kills it and what it has left running."""
        if worker.stopped is None:
            worker.process.join(_GRACE_SECONDS)
        code = _bury(worker)
        if worker.stopped is not None:
            return worker.stopped
        # Where the server died with it, nobody knows the code.
        if worker.fitting.completed and code in (0, fork_server.UNKNOWN_CODE):
            return Ended("finished")
        if code is not None and code < 0:
            return Ended("killed", f"the worker was killed by {signal_name(-code)}")
        return Ended("killed", f"the worker exited with code {code} before its work was done")

    def _beyond(self, worker: _Worker) -> Ended | None:
        """Why a worker has to go that took more than it may."""
        if time.monotonic() - worker.since > self._limits.timeout:
            return Ended("timeout", f"longer than {self._limits.timeout:g} s")
        if self._limits.memory is not None and worker.process.pid is not None:
            held = held_memory(worker.process.pid)
            if held > self._limits.memory:
                allowed = f"the {self._limits.memory / 1e9:g} GB that --memory allows"
                return Ended("killed", f"the worker held {held / 1e9:.1f} GB, more than {allowed}")
        return None

    def _until_deadline(self, seconds: float) -> float:
        now = time.monotonic()
        left = [w.since + self._limits.timeout - now for w in self._workers.values()]
        return max(0.0, min([seconds, *left])) + 0.001


def _lost_with_server(worker: _Worker) -> bool:
    """Whether nobody can say how the worker ended, since the server is gone that would."""
    return worker.process.exitcode == fork_server.UNKNOWN_CODE and fork_server.is_gone(worker.server)


def _kill(worker: _Worker) -> None:
    """Kill a worker with all that it started; where it is gone already, what is left of that."""
    if worker.known is not None:
        kill_tree(worker.known)
    fork_server.kill_orphans(worker.process.pid)


def _bury(worker: _Worker) -> int | None:
    """Kill a worker, let go of all that belongs to it, and return its exit code."""
    _kill(worker)
    worker.process.join(_GRACE_SECONDS)
    worker.inbox.close()
    code = worker.process.exitcode
    if code is not None:
        worker.process.close()
    return code
