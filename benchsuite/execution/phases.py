"""The phases of a run: trials on every slot, latencies with the machine to themselves, then descriptions."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from benchsuite.execution.jobs import (
    DescribeJob,
    Executor,
    Job,
    LatencyJob,
    ScoreJob,
    TablesJob,
    TrainJob,
    TrialsJob,
    without_result,
)
from benchsuite.execution.messages import Ended, Finished, Measured, Message, StageFailed, Started
from benchsuite.pruning.settings import Restriction

if TYPE_CHECKING:
    from benchsuite.plan.score_task import ScoreTask
    from benchsuite.plan.trial import Trial
    from benchsuite.store.record import Status, TrialRecord
    from benchsuite.trials.description import DescribeTask

_POLL_SECONDS = 0.5
_SHARED_SECONDS = 8.0
"""How long the trials of one worker should take together, where single ones take less."""

Handle = Callable[[int, Job, Message], None]


def drain(queue: deque[Job], executor: Executor, handle: Handle, stop: Callable[[], bool]) -> None:
    """Start the queue's jobs as slots become free and pass on every message until all have ended.

    Once `stop` says so, nothing more is started and what is in work comes to its end.
    """
    busy, stopping = 0, False
    while busy or (queue and not stopping):
        if not stopping and stop():
            stopping = True
            executor.finish()
        while queue and not stopping and executor.free_slots():
            executor.start(queue.popleft())
            busy += 1
        for slot, job, message in executor.wait(_POLL_SECONDS):
            busy -= isinstance(message, Ended)
            handle(slot, job, message)


class TrialPhase:
    """Trains each dense model, fills what its scorings share, scores, and runs the trials.

    A stage that fails takes the trials that stand on it along, with its reason; a worker that dies in a
    trial costs that trial alone, the rest of its job goes to a new worker. Trials that take seconds share a
    worker, so that its birth and the loading of the dense model do not count.
    """

    def __init__(self, trials: Iterable[Trial], record: Callable[[Trial, TrialRecord], None]) -> None:
        self.queue: deque[Job] = deque()
        self._record = record
        self._open: dict[str, Trial] = {}
        self._current: dict[int, tuple[Trial, float] | None] = {}
        self._failures: dict[int, tuple[Status, str]] = {}
        """By slot, why its job will go no further than the trial in work."""
        self._seconds = _Mean()
        self._scorings: dict[str, dict[str, ScoreTask]] = {}
        """By dense model, the scorings that have not ended."""
        self._scored: dict[str, list[Trial]] = {}
        """By dense model, the trials whose scores are there and that are in no job yet."""
        for trial in trials:
            self._open[trial.key] = trial
            self._scorings.setdefault(trial.dense.key, {}).update({s.key: s for s in trial.scores})
        for of_dense in self._scorings.values():
            task = next(iter(of_dense.values()))
            mine = self._of(task.dense.key)
            wanted = {t.key: t for trial in mine for t in trial.traces}
            widths = next((trial.widths for trial in mine if trial.widths), {})
            apart = next((t.targets for t in mine if t.targets), ())
            # A suite restricts all its cells alike, or none.
            restriction = Restriction() if apart else task.restriction
            self.queue.append(
                TrainJob(
                    task.dense,
                    tuple(wanted.values()),
                    restriction,
                    widths,
                    tuple(each.layers.patterns for each in apart),
                )
            )

    def handle(self, slot: int, job: Job, message: Message) -> None:
        """React to a worker's message."""
        match message:
            case Started(trial=key):
                trial = self._open.get(key) if key else None
                self._current[slot] = None if trial is None else (trial, time.monotonic())
            case Finished(record=record):
                if (current := self._current.get(slot)) is not None:
                    self._seconds.add(time.monotonic() - current[1])
                self._current[slot] = None
                self._settle(record.key, record)
            case StageFailed(status=status, error=error):
                if self._current.get(slot) is None:
                    self._fail(job, status, error)
                else:
                    self._failures[slot] = status, error
            case Ended():
                current = self._current.pop(slot, None)
                failure = self._failures.pop(slot, None)
                self._ended(job, message, current[0] if current else None, failure)

    def _ended(self, job: Job, end: Ended, trial: Trial | None, failure: tuple[Status, str] | None) -> None:
        if end.reason == "stopped":
            return
        left_early = isinstance(job, TrialsJob) and bool(self._rest_of(job))
        if end.reason != "finished" or left_early:
            status: Status = "timeout" if end.reason == "timeout" else "killed"
            reason = _told(job, end) or "the worker left before its work was done"
            if failure is not None:
                status, reason = failure
            if trial is None:
                self._fail(job, status, reason)
            else:
                self._settle(trial.key, without_result(trial, status, reason))
                if isinstance(job, TrialsJob) and (rest := self._rest_of(job)):
                    self.queue.appendleft(replace(job, trials=rest))
        self._go_on(job)

    def _go_on(self, job: Job) -> None:
        """Queue what a job's end has made possible; its stages are still in the page cache."""
        match job:
            case TrainJob() if job.key in self._scorings:
                self.queue.append(TablesJob(tuple(self._scorings[job.key].values())))
            case TablesJob():
                self.queue.extend(ScoreJob(score) for score in job.scores)
            case ScoreJob(score=score):
                dense = score.dense.key
                del self._scorings[dense][score.key]
                scored = self._scored.setdefault(dense, [])
                open_scores = self._scorings[dense].keys()
                scored += [
                    trial
                    for trial in self._of(dense)
                    if score.key in (keys := {each.key for each in trial.scores}) and not keys & open_scores
                ]
                enough = self._seconds.mean * len(scored) >= _SHARED_SECONDS
                if scored and (enough or not self._scorings[dense]):
                    self.queue.appendleft(TrialsJob(tuple(self._scored.pop(dense))))

    def _of(self, dense: str) -> list[Trial]:
        """The open trials of a dense model."""
        return [trial for trial in self._open.values() if trial.dense.key == dense]

    def _rest_of(self, job: TrialsJob) -> tuple[Trial, ...]:
        return tuple(t for t in job.trials if t.key in self._open)

    def _fail(self, job: Job, status: Status, error: str) -> None:
        """Settle the trials that stand on a job which failed; what it would have shared is not needed."""
        lost: Sequence[Trial] = ()
        if isinstance(job, TrainJob):
            lost = self._of(job.key)
            self._scorings.pop(job.key, None)
        elif isinstance(job, ScoreJob):
            lost = [t for t in self._of(job.score.dense.key) if job.key in {s.key for s in t.scores}]
        elif isinstance(job, TrialsJob):
            lost = self._rest_of(job)
        for trial in lost:
            self._settle(trial.key, without_result(trial, status, error))

    def _settle(self, key: str, record: TrialRecord) -> None:
        trial = self._open.pop(key, None)
        if trial is not None:  # a job's last words may come twice
            self._record(trial, record)


def _told(job: Job, end: Ended) -> str:
    """Why a worker ended; of a timeout also what took so long, and which option allows more."""
    return f"{job.step} took {end.detail} (--timeout)" if end.reason == "timeout" else end.detail


class _Mean:
    """The mean of what was added; infinite before."""

    def __init__(self) -> None:
        self._sum, self._count = 0.0, 0

    def add(self, value: float) -> None:
        self._sum, self._count = self._sum + value, self._count + 1

    @property
    def mean(self) -> float:
        return self._sum / self._count if self._count else math.inf


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
                if message.reason == "stopped":
                    return
                if message.reason != "finished":
                    self._give_up(job, current, _told(job, message))
                rest = tuple(t for t in job.trials if t.key in self._open)
                if rest:
                    self.queue.appendleft(LatencyJob(rest))

    def _give_up(self, job: LatencyJob, key: str | None, error: str) -> None:
        """Give up the architecture in work, or all of the job's where there was none yet."""
        for lost in [key] if key else [t.key for t in job.trials]:
            if lost in self._open:
                self._open.discard(lost)
                self._failed(lost, error)


class DescribePhase:
    """Describes dense models, one job each; one that cannot be described is told of, and costs no more."""

    def __init__(self, tasks: Iterable[DescribeTask], tell: Callable[[str], None]) -> None:
        self.queue: deque[Job] = deque(DescribeJob(task) for task in tasks)
        self._tell = tell

    def handle(self, _slot: int, job: Job, message: Message) -> None:
        """React to a worker's message."""
        match message:
            case StageFailed(error=error):
                self._tell(f"{job.title} failed, so its page lacks errors by class and feature maps: {error}")
            case Ended(reason="timeout" | "killed"):
                self._tell(f"{job.title} was not finished: {_told(job, message)}")
