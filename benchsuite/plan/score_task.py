"""What is to be scored, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchsuite.contracts.layers import Granularity
    from benchsuite.contracts.plugin import PluginChoice
    from benchsuite.plan.dense_task import DenseTask, TraceTask
    from benchsuite.pruning.settings import Restriction
    from benchsuite.scoring.settings import ScoringSettings


@dataclass(frozen=True)
class ScoreTask:
    """One scoring of a dense model, shared by every sparsity and by the variants of the scorer.

    Attributes:
        trace: what the scorer needs of the training's course, if it does.
        at_init: score the network as it was before training.
        native: also ask for the criterion's own rule of how much to remove.
        target: for a scorer that depends on it, the share of the budget that the first cut removes.
        restriction: which layers are scored.
        stream: tells its random numbers from those of other scorings of the same trial; empty for most.
        key: content key of the stage.
    """

    dense: DenseTask
    trace: TraceTask | None
    scorer: PluginChoice
    draw: int
    granularity: Granularity
    scoring: ScoringSettings
    at_init: bool
    native: bool
    target: float | None
    restriction: Restriction
    stream: str
    key: str


@dataclass(frozen=True)
class RoundTask:
    """One scoring between the rounds of a trial.

    Attributes:
        score: which criterion, and how.
        trial: content key of the trial, in whose folder the network lies.
        number: how many cuts the network has had.
        target: the share of the budget that the next cut removes, where the scorer needs it.
    """

    score: ScoreTask
    trial: str
    number: int
    target: float | None
