"""What of a worker's messages fits its job; a stranger's code in its process can send anything."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from benchsuite.execution.jobs import Job, LatencyJob, TrialsJob, without_result
from benchsuite.execution.messages import (
    Completed,
    Finished,
    Measured,
    NotStored,
    Sent,
    StageFailed,
    Started,
    Told,
)
from benchsuite.store import metric_names

if TYPE_CHECKING:
    from benchsuite.plan.trial import Trial
    from benchsuite.store.record import Status, TrialRecord

MEASURED_APART = (metric_names.LATENCY, metric_names.ENERGY)
"""Metrics that are measured after all trials, with the machine to themselves."""
MOST_TOLD = 200
"""Sentences that one job may tell."""
_OF_WORKERS: frozenset[Status] = frozenset({"unsupported", "collapsed", "failed"})
"""Outcomes without a result that a worker can tell; how its process ended, the executor sees itself."""


def found_stages(trial: Trial) -> tuple[str, ...]:
    """Names of the stages of a trial's record that nobody knows before it has run."""
    contents = (f"{name}_content" for name in trial.stages_of_scores)
    return ("architecture", "train_content", *contents)


class Unfitting(ValueError):  # noqa: N818 - what it says is the reason
    """A message that does not fit the job."""


class Fitting:
    """Checks the messages of one job in their order and takes from each what the host cannot know itself.

    Args:
        job: what the worker does.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._left: dict[str, Trial] = {}
        """The trials that were not begun."""
        if isinstance(job, TrialsJob | LatencyJob):
            self._left = {trial.key: trial for trial in job.trials}
        self._begun = self._failed = False
        self._told = 0
        self.current: Trial | None = None
        """The trial in work."""
        self.completed = False

    @property
    def begun(self) -> bool:
        """Whether the worker has said that it begins; before, no plugin is loaded."""
        return self._begun

    def check(self, message: Sent) -> Sent:
        """The message as the run may have it; raises `Unfitting`."""
        if self.completed:
            raise Unfitting("something after its last word")
        if self._failed and not isinstance(message, Completed | Told):
            raise Unfitting("something after the failure of its stage")
        match message:
            case Started(trial=None):
                self._begin()
            case Started(trial=str(key)):
                self._begin_trial(key)
            case Finished(record=record):
                return Finished(self._outcome(record))
            case Measured():
                self._check_latency(message)
            case StageFailed(status=status):
                if status not in _OF_WORKERS:
                    raise Unfitting(f"a failure with the status {status!r}")
                self._failed = True
            case Told():
                self._told += 1
                if self._told > MOST_TOLD:
                    raise Unfitting(f"more than {MOST_TOLD} sentences")
            case Completed():
                self.completed = True
            case NotStored():
                pass
        return message

    def left(self) -> Job | None:
        """What is left of the job, the trial in work included; None if nothing is."""
        if not isinstance(self._job, TrialsJob | LatencyJob):
            return self._job
        current = () if self.current is None else (self.current,)
        trials = (*current, *self._left.values())
        return replace(self._job, trials=trials) if trials else None

    def _begin(self) -> None:
        if self._begun:
            raise Unfitting("twice that it begins")
        self._begun = True

    def _begin_trial(self, key: str) -> None:
        if key not in self._left:
            raise Unfitting("that it begins a trial which is none of its job, or was begun before")
        if self.current is not None and isinstance(self._job, TrialsJob):
            raise Unfitting("that it begins a trial before the end of the one in work")
        self.current = self._left.pop(key)

    def _outcome(self, record: TrialRecord) -> TrialRecord:
        """The outcome of the trial in work, with all that the plan knows taken from the plan."""
        trial = self.current
        if trial is None or not isinstance(self._job, TrialsJob) or record.key != trial.key:
            raise Unfitting("the outcome of a trial that it had not in work")
        self.current = None
        if record.status in _OF_WORKERS:
            failed = without_result(trial, record.status, record.error or "no reason was given")
            return replace(failed, provenance=record.provenance)
        if record.status != "done":
            raise Unfitting(f"an outcome with the status {record.status!r}")
        for name in (metric_names.TOP1, metric_names.TOP1_DENSE):
            if not 0 <= record.metrics.get(name, math.nan) <= 1:
                raise Unfitting(f"a result whose {name} is no fraction")
        found = {name: record.stages[name] for name in found_stages(trial) if name in record.stages}
        return replace(
            record, axes=trial.axes, settings=dict(trial.shared), stages={**found, **trial.stages}, error=None
        )

    def _check_latency(self, message: Measured) -> None:
        trial = self.current
        if trial is None or not isinstance(self._job, LatencyJob) or message.trial != trial.key:
            raise Unfitting("the latency of a network that it had not in work")
        for name, value in message.metrics.items():
            if not name.startswith(MEASURED_APART) or not math.isfinite(value):
                raise Unfitting(f"as a latency what is none: {name[:50]} = {value}")
        self.current = None
