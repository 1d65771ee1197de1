"""Where jobs run: the protocol between a run and whatever executes its jobs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from benchsuite.store.record import TrialRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchsuite.plan.dense_task import DenseTask, TraceTask
    from benchsuite.plan.score_task import ScoreTask
    from benchsuite.plan.trial import Trial
    from benchsuite.store.record import Status


@dataclass(frozen=True)
class TrainJob:
    """Train one dense model and keep it.

    Attributes:
        traces: what is wanted of the training's course.
    """

    dense: DenseTask
    traces: tuple[TraceTask, ...] = ()

    @property
    def key(self) -> str:
        """Content key of the stage."""
        return self.dense.key

    @property
    def title(self) -> str:
        """What a person reads while it runs."""
        return f"train {self.dense.model.label} on {self.dense.dataset.label}, seed {self.dense.seed}"


@dataclass(frozen=True)
class TrialsJob:
    """Score a dense model once, then run the trials that share the scores."""

    score: ScoreTask
    trials: tuple[Trial, ...]

    @property
    def key(self) -> str:
        """Content key of the stage."""
        return self.score.key

    @property
    def title(self) -> str:
        """What a person reads while it runs."""
        dense = self.score.dense
        return f"{self.score.scorer.label} · {dense.model.label} · {dense.dataset.label} · seed {dense.seed}"


@dataclass(frozen=True)
class LatencyJob:
    """Time pruned architectures against their dense model; needs the machine for itself.

    Attributes:
        trials: for each distinct architecture the trial whose network stands for it.
    """

    trials: tuple[Trial, ...]

    @property
    def key(self) -> str:
        """Content key of the stage whose log the worker writes."""
        return self.trials[0].dense.key

    @property
    def title(self) -> str:
        """What a person reads while it runs."""
        dense = self.trials[0].dense
        return f"latency of {dense.model.label} on {dense.dataset.label}: {len(self.trials)} architectures"


Job = TrainJob | TrialsJob | LatencyJob


@dataclass(frozen=True)
class Started:
    """A worker begins a trial, or (key None) the stage before the trials."""

    trial: str | None
    what: str


@dataclass(frozen=True)
class Finished:
    """A trial has its outcome."""

    record: TrialRecord


@dataclass(frozen=True)
class StageFailed:
    """The stage that the job's trials share failed, so none of them can run."""

    status: Status
    error: str


@dataclass(frozen=True)
class Told:
    """A sentence for whoever watches the run."""

    text: str


@dataclass(frozen=True)
class Measured:
    """Latency metrics of a trial's architecture."""

    trial: str
    metrics: dict[str, float]


@dataclass(frozen=True)
class Ended:
    """A job's worker is gone: after its work, or because it was stopped or died."""

    reason: Literal["finished", "timeout", "killed"]
    detail: str = ""


Message = Started | Finished | StageFailed | Told | Measured | Ended


class Executor(Protocol):
    """Runs jobs somewhere: on this machine's devices, or elsewhere.

    The run starts a job whenever there is a free slot and reacts to what `wait` returns. Messages of one
    job come in order, `Ended` is always the last.
    """

    def slots(self) -> Sequence[str]:
        """Names of the device slots, for the live view."""
        ...

    def free_slots(self) -> int:
        """How many jobs could be started now."""
        ...

    def start(self, job: Job) -> int:
        """Start a job on a free slot and return the slot's number."""
        ...

    def wait(self, seconds: float) -> list[tuple[int, Job, Message]]:
        """Return what happened, as (slot, job, message), after at most that many seconds."""
        ...

    def close(self) -> None:
        """Stop everything at once."""
        ...


def without_result(trial: Trial, status: Status, error: str) -> TrialRecord:
    """The record of a trial that ended without a result."""
    return TrialRecord(
        trial.key, trial.axes, status, settings=dict(trial.shared), stages=trial.stages, error=error
    )
