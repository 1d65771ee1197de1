"""The two phases of a run: trials on every slot, then latencies with the machine to themselves."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from benchsuite.execution.jobs import (
    Ended,
    Executor,
    Finished,
    Job,
    LatencyJob,
    Measured,
    Message,
    StageFailed,
    Started,
    TrainJob,
    TrialsJob,
    without_result,
)

if TYPE_CHECKING:
    from benchsuite.plan.trial import Trial
    from benchsuite.store.record import Status, TrialRecord

_POLL_SECONDS = 0.5

Handle = Callable[[int, Job, Message], None]


def drain(queue: deque[Job], executor: Executor, handle: Handle) -> None:
    """Start the queue's jobs as slots become free and pass on every message until all have ended."""
    busy = 0
    while queue or busy:
        while queue and executor.free_slots():
            executor.start(queue.popleft())
            busy += 1
        for slot, job, message in executor.wait(_POLL_SECONDS):
            busy -= isinstance(message, Ended)
            handle(slot, job, message)


class TrialPhase:
    """Trains each dense model once, then runs the trials that depend on it.

    A stage that fails takes the trials that share it along, with its reason; a worker that dies in a
    trial costs that trial alone, the rest of its job goes to a new worker.
    """

    def __init__(self, trials: Iterable[Trial], record: Callable[[Trial, TrialRecord], None]) -> None:
        self.queue: deque[Job] = deque()
        self._record = record
        self._open: dict[str, Trial] = {}
        self._current: dict[int, Trial | None] = {}
        self._after_training: dict[str, list[TrialsJob]] = {}
        groups: dict[str, list[Trial]] = {}
        for trial in trials:
            self._open[trial.key] = trial
            groups.setdefault(trial.score.key, []).append(trial)
        for group in groups.values():
            job = TrialsJob(group[0].score, tuple(group))
            self._after_training.setdefault(job.score.dense.key, []).append(job)
        for jobs in self._after_training.values():
            wanted = {trace.key: trace for job in jobs for trial in job.trials for trace in trial.traces}
            self.queue.append(TrainJob(jobs[0].score.dense, tuple(wanted.values())))

    def handle(self, slot: int, job: Job, message: Message) -> None:
        """React to a worker's message."""
        match message:
            case Started(trial=key):
                self._current[slot] = self._open.get(key) if key else None
            case Finished(record=record):
                self._current[slot] = None
                self._settle(record.key, record)
            case StageFailed(status=status, error=error):
                self._fail_open(job, status, error)
            case Ended():
                self._ended(job, message, self._current.pop(slot, None))

    def _ended(self, job: Job, end: Ended, trial: Trial | None) -> None:
        left_early = isinstance(job, TrialsJob) and bool(self._open_of(job))
        if end.reason != "finished" or left_early:
            status: Status = "timeout" if end.reason == "timeout" else "killed"
            reason = end.detail or "the worker left before its work was done"
            if trial is None:
                self._fail_open(job, status, reason)
            else:
                self._settle(trial.key, without_result(trial, status, reason))
                if isinstance(job, TrialsJob) and (rest := self._open_of(job)):
                    self.queue.appendleft(replace(job, trials=rest))
        if isinstance(job, TrainJob):
            # What is next is what has just become possible: its stages are still in the page cache.
            self.queue.extend(self._after_training.pop(job.key, []))

    def _open_of(self, job: TrialsJob) -> tuple[Trial, ...]:
        return tuple(t for t in job.trials if t.key in self._open)

    def _fail_open(self, job: Job, status: Status, error: str) -> None:
        jobs: Sequence[Job] = self._after_training.pop(job.key, []) if isinstance(job, TrainJob) else [job]
        for each in jobs:
            if isinstance(each, TrialsJob):
                for trial in self._open_of(each):
                    self._settle(trial.key, without_result(trial, status, error))

    def _settle(self, key: str, record: TrialRecord) -> None:
        trial = self._open.pop(key, None)
        if trial is not None:  # a job's last words may come twice
            self._record(trial, record)


class LatencyPhase:
    """Times each distinct architecture once, one job after another."""

    def __init__(
        self,
        trials: Iterable[Trial],
        measured: Callable[[str, dict[str, float]], None],
        failed: Callable[[str, str], None],
    ) -> None:
        self.queue: deque[Job] = deque()
        self._measured = measured
        self._failed = failed
        self._current: dict[int, str | None] = {}
        self._open: set[str] = set()
        by_dense: dict[str, list[Trial]] = {}
        for trial in trials:
            self._open.add(trial.key)
            by_dense.setdefault(trial.dense.key, []).append(trial)
        self.queue.extend(LatencyJob(tuple(group)) for group in by_dense.values())

    def handle(self, slot: int, job: Job, message: Message) -> None:
        """React to a worker's message."""
        if not isinstance(job, LatencyJob):
            return
        match message:
            case Started(trial=key):
                self._current[slot] = key
            case Measured(trial=key, metrics=metrics):
                self._open.discard(key)
                self._measured(key, metrics)
            case StageFailed(error=error):
                self._give_up(job, self._current.get(slot), error)
            case Ended():
                current = self._current.pop(slot, None)
                if message.reason != "finished":
                    self._give_up(job, current, message.detail)
                rest = tuple(t for t in job.trials if t.key in self._open)
                if rest:
                    self.queue.appendleft(LatencyJob(rest))

    def _give_up(self, job: LatencyJob, key: str | None, error: str) -> None:
        """Give up the architecture in work, or all of the job's where there was none yet."""
        for lost in [key] if key else [t.key for t in job.trials]:
            if lost in self._open:
                self._open.discard(lost)
                self._failed(lost, error)
