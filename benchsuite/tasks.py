"""What is to be computed, as plain data: a dense model, a scoring of it, a trial."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from benchsuite.keys import derived_seed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchsuite.metrics.dissection.settings import DissectionSettings
    from benchsuite.pruning.settings import PruningSettings
    from benchsuite.recipes import TrainingRecipe
    from benchsuite.scoring.scorer import Granularity
    from benchsuite.suite import DatasetRef, LatencySettings, ModelRef, Schedule, ScorerRef, Scoring

Variant = Literal["reversed", "shuffled", "scratch"]


@dataclass(frozen=True)
class DenseTask:
    """One dense model to train: what all scorers of one (data set, model, recipe, seed) share."""

    dataset: DatasetRef
    model: ModelRef
    recipe: TrainingRecipe
    seed: int
    trace: bool
    rewind_to: float | None
    data_key: str
    key: str


@dataclass(frozen=True)
class ScoreTask:
    """One scoring of a dense model, shared by every sparsity and by the variants of the scorer.

    Attributes:
        at_init: score the network as it was before training.
        native: also ask for the criterion's own rule of how much to remove.
    """

    dense: DenseTask
    scorer: ScorerRef
    draw: int
    granularity: Granularity
    scoring: Scoring
    at_init: bool
    native: bool
    key: str


@dataclass(frozen=True)
class ScheduleSettings:
    """How a trial's pruning is spread over rounds.

    Attributes:
        name: one-shot, iterative, rewind or at-init.
        rounds: number of rounds of "iterative".
        rewind_share: share of what is left that each round of "rewind" removes.
        rewind_to: share of the dense training's steps that "rewind" goes back to.
    """

    name: Schedule
    rounds: int
    rewind_share: float
    rewind_to: float

    @property
    def content(self) -> list[Any]:
        """What of it decides a result."""
        own: dict[str, list[float]] = {
            "iterative": [self.rounds],
            "rewind": [self.rewind_share, self.rewind_to],
        }
        return [self.name, *own.get(self.name, [])]


@dataclass(frozen=True)
class Trial:
    """One cell of the matrix.

    Attributes:
        score: the scoring that it prunes by.
        variant: what a control makes of the scores.
        draw: number of the independent draw.
        settings: how units or weights are chosen.
        schedule: how the pruning is spread over rounds.
        recovery: the recipe of what follows a cut.
        sparsity: fraction of the budget to remove.
        latency: at which batch sizes inference is timed, if at all.
        dissection: how interpretability is measured, if it is.
        shared: what is the same for all trials of the suite and is no axis; trials that differ in it are
            not comparable.
        key: its content key.
    """

    score: ScoreTask
    variant: Variant | None
    draw: int
    settings: PruningSettings
    schedule: ScheduleSettings
    recovery: TrainingRecipe
    sparsity: float | Literal["native"]
    latency: LatencySettings | None
    dissection: DissectionSettings | None
    shared: Mapping[str, Any]
    key: str

    @property
    def dense(self) -> DenseTask:
        """The dense model it prunes."""
        return self.score.dense

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
            "granularity": self.score.granularity,
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
        return {
            "data": self.dense.data_key,
            "train": self.dense.key,
            "score": self.score.key,
            "trial": self.key,
        }

    def seed_for(self, purpose: str) -> int:
        """A derived seed that all criteria on this dense model share."""
        return derived_seed(purpose, self.dense.dataset.label, self.dense.model.label, self.dense.seed)
