"""One cell of the matrix, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from benchsuite.pruning.settings import Restriction
from benchsuite.store.keys import derived_seed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchsuite.contracts.recipe import TrainingRecipe
    from benchsuite.metrics.dissection.settings import DissectionSettings
    from benchsuite.metrics.latency_settings import LatencySettings
    from benchsuite.plan.dense_task import DenseTask, TraceTask
    from benchsuite.plan.metric_task import MetricTask
    from benchsuite.plan.score_task import ScoreTask
    from benchsuite.pruning.settings import PruningSettings, ScheduleSettings
    from benchsuite.pruning.targets import LayerTarget

OwnAmount = str
"""What stands in place of a sparsity: "native" for the criterion's own rule, "widths" for the widths that the
suite names, "layers" for a target of some layers each, or a threshold such as "threshold=0.05"."""
Variant = Literal["reversed", "shuffled", "scratch"]


@dataclass(frozen=True)
class TrialTarget:
    """Some layers of a trial's network with a target of their own.

    Attributes:
        layers: which layers, and how much of them goes.
        score: the scoring by which it is chosen.
        settings: how.
        absolute: whether the scores have a fixed zero and unit.
        own: whether the suite names a criterion for these layers; a control varies the trial's alone.
    """

    layers: LayerTarget
    score: ScoreTask
    settings: PruningSettings
    absolute: bool
    own: bool


@dataclass(frozen=True)
class Trial:
    """One cell of the matrix.

    Attributes:
        score: the scoring that it prunes by.
        variant: what a control makes of the scores.
        draw: number of the independent draw.
        settings: how units or weights are chosen.
        schedule: how the pruning is spread over rounds.
        early: the early network that the schedule "rewind" goes back to.
        recovery: the recipe of what follows a cut.
        recalibrate: training samples for new statistics of batch normalisation after the last cut; 0: none.
        sparsity: fraction of the budget to remove, or what says instead how much goes.
        widths: by layer, how many units it keeps, where the sparsity is "widths".
        targets: the targets of some layers each, where the sparsity is "layers".
        absolute: whether the scores have a fixed zero and unit, so that a threshold means something.
        latency: at which batch sizes inference is timed, if at all.
        latency_key: content key of how it is timed: code, libraries and settings.
        dissection: how interpretability is measured, if it is.
        metrics: metric plugins that measure its networks and the dense one.
        shared: what is the same for all trials of the suite and is no axis; trials that differ in it are
            not comparable.
        key: its content key.
        rounds: content keys of its first rounds, in order, which trials with other sparsities may share.
        point: content key of what is measured after each of them, and how; empty where there are none.
    """

    score: ScoreTask
    variant: Variant | None
    draw: int
    settings: PruningSettings
    schedule: ScheduleSettings
    early: TraceTask | None
    recovery: TrainingRecipe
    recalibrate: int
    sparsity: float | OwnAmount
    widths: Mapping[str, int]
    targets: tuple[TrialTarget, ...]
    absolute: bool
    latency: LatencySettings | None
    latency_key: str | None
    dissection: DissectionSettings | None
    metrics: tuple[MetricTask, ...]
    shared: Mapping[str, Any]
    key: str
    rounds: tuple[str, ...] = ()
    point: str = ""

    @property
    def dense(self) -> DenseTask:
        """The dense model it prunes."""
        return self.score.dense

    @property
    def scores(self) -> tuple[ScoreTask, ...]:
        """Every scoring that it prunes by, its criterion's first."""
        every = (self.score, *(target.score for target in self.targets))
        return tuple({score.key: score for score in every}.values())

    @property
    def granularity(self) -> str:
        """What goes: "unit", "weight", or "unit+weight" where some layers lose units and others weights."""
        found = {target.score.granularity for target in self.targets} or {self.score.granularity}
        return "+".join(sorted(found))

    @property
    def stages_of_scores(self) -> dict[str, str]:
        """Content keys of its scorings, by what records call them: score, score_2, score_3, ..."""
        return _numbered("score", [score.key for score in self.scores])

    @property
    def last_training(self) -> TrainingRecipe:
        """The recipe of what follows the last cut: the recovery, or for `scratch` the whole training anew."""
        if self.variant != "scratch" or self.schedule.name in ("rewind", "at-init"):
            return self.recovery
        # As many epochs as the dense training and the recovery together.
        recipe = self.dense.recipe
        return recipe.model_copy(update={"epochs": recipe.epochs + self.recovery.epochs})

    @property
    def scorer_label(self) -> str:
        """The scorer as records name it, with its variant: `reversed(magnitude-l1)`."""
        label = self.score.scorer.label
        return f"{self.variant}({label})" if self.variant else label

    @cached_property
    def axes(self) -> dict[str, Any]:
        """The record's axes."""
        return {
            "dataset": self.dense.dataset.label,
            "model": self.dense.model.label,
            "seed": self.dense.seed,
            "scorer": self.scorer_label,
            "scorer_params": self.score.scorer.parameters,
            "granularity": self.granularity,
            "scope": self.settings.scope,
            "budget": self.settings.budget,
            "schedule": self.schedule.name,
            "recovery_epochs": self.recovery.epochs,
            "sparsity": self.sparsity,
            "draw": self.draw,
        }

    @property
    def stages(self) -> dict[str, str]:
        """Content keys of the stages it stands on."""
        found = {
            "data": self.dense.data_key,
            "train": self.dense.key,
            **self.stages_of_scores,
            **_numbered("metric", [metric.key for metric in self.metrics]),
            "trial": self.key,
            **{f"round_{number}": key for number, key in enumerate(self.rounds, start=1)},
        }
        if (trace := next((score.trace for score in self.scores if score.trace), None)) is not None:
            found["trace"] = trace.key  # one for all scorings
        if self.early is not None:
            found["early"] = self.early.key
        return found

    @property
    def traces(self) -> tuple[TraceTask, ...]:
        """What has to be recorded of the dense model's training."""
        found = (*(score.trace for score in self.scores), self.early)
        return tuple(dict.fromkeys(trace for trace in found if trace is not None))

    @property
    def restriction(self) -> Restriction:
        """Which layers may lose something."""
        if not self.targets:
            return self.score.restriction
        return Restriction(tuple(name for each in self.targets for name in each.layers.patterns))

    def seed_for(self, purpose: str) -> int:
        """A derived seed that all criteria on this dense model share."""
        return derived_seed(purpose, self.dense.dataset.label, self.dense.model.label, self.dense.seed)


def _numbered(name: str, keys: Sequence[str]) -> dict[str, str]:
    """Content keys by what records call their stages: name, name_2, name_3, ..."""
    return {f"{name}_{number}" if number > 1 else name: key for number, key in enumerate(keys, start=1)}
