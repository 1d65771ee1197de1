"""Where jobs run: the protocol between a run and whatever executes its jobs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Protocol

from benchsuite.pruning.settings import Restriction
from benchsuite.store.record import TrialRecord
from benchsuite.store.stages import is_complete

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from benchsuite.contracts.plugin import Kind
    from benchsuite.execution.messages import Message
    from benchsuite.plan.dense_task import DenseTask, TraceTask
    from benchsuite.plan.metric_task import MeasureTask
    from benchsuite.plan.score_task import RoundTask, ScoreTask
    from benchsuite.plan.trial import Trial
    from benchsuite.store.record import Status
    from benchsuite.trials.description import DescribeTask


@dataclass(frozen=True)
class TrainJob:
    """Train one dense model and keep it.

    Attributes:
        traces: what is wanted of the training's course.
        restriction: the layers that the suite names, which the network must have.
        widths: likewise, with how many units they keep.
        apart: patterns of layers that have a target of their own, each of which one target may name.
    """

    step: ClassVar[str] = "training"
    dense: DenseTask
    traces: tuple[TraceTask, ...] = ()
    restriction: Restriction = field(default_factory=Restriction)
    widths: Mapping[str, int] = field(default_factory=dict)
    apart: tuple[tuple[str, ...], ...] = ()

    @property
    def key(self) -> str:
        """Content key of the stage."""
        return self.dense.key

    @property
    def title(self) -> str:
        """What a person reads while it runs."""
        return f"training {_network(self.dense)}"


@dataclass(frozen=True)
class TablesJob:
    """Fill what the scorings of one dense model share, where no stranger's scorer is loaded."""

    step: ClassVar[str] = "the passes that scorers share"
    scores: tuple[ScoreTask, ...]

    @property
    def key(self) -> str:
        """Content key of the stage whose log the worker writes."""
        return self.scores[0].dense.key

    @property
    def title(self) -> str:
        """What a person reads while it runs."""
        return f"reading activations and gradients of {_network(self.scores[0].dense)}"


@dataclass(frozen=True)
class ScoreJob:
    """Score a dense model by one criterion; the only job that runs a scorer."""

    step: ClassVar[str] = "scoring"
    score: ScoreTask

    @property
    def key(self) -> str:
        """Content key of the stage."""
        return self.score.key

    @property
    def title(self) -> str:
        """What a person reads while it runs."""
        return f"scoring {_network(self.score.dense)} by {self.score.scorer.label}"


@dataclass(frozen=True)
class TrialsJob:
    """Run trials on one dense model, by scores that are there."""

    step: ClassVar[str] = "the trial"
    trials: tuple[Trial, ...]

    @property
    def key(self) -> str:
        """Content key of the stage whose log the worker writes first."""
        return self.trials[0].key

    @property
    def title(self) -> str:
        """What a person reads while it runs."""
        return f"pruning {_network(self.trials[0].dense)}"


@dataclass(frozen=True)
class RoundJob:
    """Score what earlier rounds of a trial have made of its network; started by the trial's own worker."""

    step: ClassVar[str] = "scoring between rounds"
    task: RoundTask

    @property
    def key(self) -> str:
        """Content key of the stage whose log the worker writes."""
        return self.task.trial

    @property
    def title(self) -> str:
        """What a person reads while it runs."""
        return f"{self.task.score.scorer.label} before cut {self.task.number + 1}"


@dataclass(frozen=True)
class MeasureJob:
    """Measure networks by one metric plugin; started by the trial's own worker."""

    step: ClassVar[str] = "measuring"
    task: MeasureTask

    @property
    def key(self) -> str:
        """Content key of the stage whose log the worker writes."""
        return self.task.folder

    @property
    def title(self) -> str:
        """What a person reads while it runs."""
        return f"measuring {self.task.metric.called} of {_network(self.task.metric.dense)}"


@dataclass(frozen=True)
class LatencyJob:
    """Time pruned architectures against their dense model; needs the machine for itself.

    Attributes:
        trials: for each distinct architecture the trial whose network stands for it.
    """

    step: ClassVar[str] = "timing"
    trials: tuple[Trial, ...]

    @property
    def key(self) -> str:
        """Content key of the stage whose log the worker writes."""
        return self.trials[0].dense.key

    @property
    def title(self) -> str:
        """What a person reads while it runs."""
        return f"timing {_network(self.trials[0].dense)}"


@dataclass(frozen=True)
class DescribeJob:
    """Count the errors of one dense model by class and draw feature maps of its units, without a scorer."""

    step: ClassVar[str] = "the description of the dense model"
    task: DescribeTask

    @property
    def key(self) -> str:
        """Content key of the stage whose log the worker writes."""
        return self.task.dense.key

    @property
    def title(self) -> str:
        """What a person reads while it runs."""
        return f"describing {_network(self.task.dense)}"


def title_of(job: Job, stages: Path) -> str:
    """What a person reads while it runs; a dense model that is there is not trained again."""
    if isinstance(job, TrainJob) and is_complete(stages / job.key):
        return f"taking up {_network(job.dense)}"
    return job.title


def _network(dense: DenseTask) -> str:
    """A dense model in words, the same in every title."""
    return f"{dense.model.label} · {dense.dataset.label} · seed {dense.seed}"


def way(trial: Trial) -> str:
    """What tells a trial from others of its dense model."""
    draw = f" · draw {trial.axes['draw']}" if trial.axes["draw"] else ""
    return f"{trial.scorer_label} · sparsity {trial.sparsity}{draw}"


Job = TrainJob | TablesJob | ScoreJob | RoundJob | MeasureJob | TrialsJob | LatencyJob | DescribeJob


def needed_plugins(job: Job) -> list[tuple[Kind, str]]:
    """By kind and name, the plugins whose code a job runs; no others are loaded where it is done.

    They are in the order in which they are loaded, which is the same in every process.
    """
    own: tuple[Kind, str] | None = None
    match job:
        case TrainJob(dense=dense):
            tasks = [dense]
        case DescribeJob(task=described):
            tasks = [described.dense]
        case TablesJob(scores=scores):
            tasks = [score.dense for score in scores]
        case ScoreJob(score=score):
            tasks, own = [score.dense], ("scorer", score.scorer.name)
        case RoundJob(task=task):
            tasks, own = [task.score.dense], ("scorer", task.score.scorer.name)
        case MeasureJob(task=measured):
            tasks, own = [measured.metric.dense], ("metric", measured.metric.metric.name)
        case TrialsJob(trials=trials) | LatencyJob(trials=trials):
            tasks = [trial.dense for trial in trials]
    found: set[tuple[Kind, str]] = {("dataset", task.dataset.name) for task in tasks}
    found |= {("model", task.model.name) for task in tasks}
    if own is not None:
        found.add(own)
    if isinstance(job, TrialsJob):
        found |= {("concepts", t.dissection.concepts) for t in job.trials if t.dissection is not None}
    return sorted(found)


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

    def finish(self) -> None:
        """Let what is in work come to its end, and do no more of the jobs that it belongs to."""
        ...

    def close(self) -> None:
        """Stop everything at once."""
        ...


def without_result(trial: Trial, status: Status, error: str) -> TrialRecord:
    """The record of a trial that ended without a result."""
    return TrialRecord(
        trial.key, trial.axes, status, settings=dict(trial.shared), stages=trial.stages, error=error
    )
