"""What each kind of stage notes beside its files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from benchsuite.metrics.network_cost import Cost
from benchsuite.store.stages import Facts, Stage, content_digest

if TYPE_CHECKING:
    from pathlib import Path


class DataFacts(Facts):
    """A data set's splits.

    Attributes:
        classes: class names in label order.
        mean: what normalisation subtracts, per channel on the scale 0..1, or per feature.
        std: what it divides by.
        augmentation: fields of `Augmentation`.
        digest: SHA-256 of the file that holds the splits.
        overlap: how many test samples are training samples too.
        inputs: the names of inputs that come by name, in the order of the data set.
        tokens: fields of `Tokens`, of a data set of texts.
    """

    decide = ("classes", "mean", "std", "augmentation", "tokens")

    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augmentation: dict[str, Any]
    digest: str
    overlap: int = 0
    inputs: tuple[str, ...] = ()
    tokens: dict[str, Any] | None = None


class DenseFacts(Facts):
    """A dense model.

    Attributes:
        top1: accuracy on the test split.
        loss: mean cross-entropy on the test split; None where it is not finite.
        recall: of each class; None for a class without samples.
        confusion: counts; rows are true classes, columns predicted ones.
        train_seconds: duration of the training.
        cost: its cost.
        file_bytes: size of the weights' file.
        data_digest: SHA-256 of the data set's splits.
        overlap: how many test samples are training samples too.
        device: where it was trained.
        class_scores: which of the network's outputs is the class scores; None where there is one.
    """

    top1: float
    loss: float | None
    recall: dict[str, float | None]
    confusion: list[list[int]]
    train_seconds: float
    cost: Cost
    file_bytes: int
    data_digest: str
    device: str
    overlap: int = 0
    class_scores: str | int | None = None


class TraceFacts(Facts):
    """What was recorded of a training.

    Attributes:
        unsupported: why there is no trace, if there is none.
    """

    decide = ("unsupported",)

    unsupported: str | None = None


SCORES = "scores.safetensors"
"""The file of a scoring stage: `score/<layer>`, and of the criterion's own rule `keep/<layer>`."""


class ScoreFacts(Facts):
    """A criterion's scores of a dense model.

    Attributes:
        seconds: wall time of the scorer.
        peak_memory_mb: memory at its peak beyond what was in use before, in 10^6 bytes.
        ties: how many units that can be removed (or weights) share their score with an earlier one of their
            layer.
        skipped: reasons of the layers that the scorer could not serve.
        merges: by layer, pairs (removed unit, kept unit) of the criterion's own rule.
        stability: see `benchsuite.scoring.stability`; None of a criterion that reads no samples.
        removable: by layer of which not all units can be removed, those that can; empty for weights.
        reported: by name, numbers that the scorer said of its own work.
    """

    decide = ("skipped", "merges")

    seconds: float
    peak_memory_mb: float
    ties: int
    skipped: dict[str, str]
    merges: dict[str, list[tuple[int, int]]]
    stability: float | None = None
    removable: dict[str, tuple[int, ...]] = Field(default_factory=dict)
    reported: dict[str, float] = Field(default_factory=dict)


class DissectionFacts(Facts):
    """A dense network's dissection.

    Attributes:
        unsupported: why the network cannot be dissected, if so.
    """

    unsupported: str | None = None


class MetricFacts(Facts):
    """What a metric plugin measured on a dense network.

    Attributes:
        numbers: by quantity.
        unsupported: why it measured nothing, if so.
    """

    numbers: dict[str, float] = Field(default_factory=dict)
    unsupported: str | None = None


class PrunedFacts(Facts):
    """The network that a trial ended with, and how it was made.

    Attributes:
        axes: the trial's.
        removed: by coupled group of the dense network, the removed positions; empty for masks.
    """

    decide = ("removed",)

    axes: dict[str, Any]
    removed: dict[str, tuple[int, ...]]


class RecoveryFacts(Facts):
    """What a training after a cut did; see `TrainingLog`."""

    losses: tuple[float, ...]
    learning_rates: tuple[float, ...]
    steps: int
    steps_per_epoch: int
    seconds: float
    captured: bool


class RoundFacts(Facts):
    """A round of a schedule, which trials with other sparsities may share.

    Attributes:
        cuts: how many cuts the network has had.
        removed: by coupled group of the dense network, the removed positions; empty for masks.
        metrics: of the cut: achieved sparsities, ties, surgery.
        cost: of the network after the cut.
        recovery: what followed.
        validation_top1: accuracy on the validation split; None where it is empty.
        cut_seconds: duration of scoring and cut.
        seconds: duration of all of it.
    """

    decide = ("cuts", "removed", "metrics", "cost")

    cuts: int
    removed: dict[str, tuple[int, ...]]
    metrics: dict[str, float]
    cost: Cost
    recovery: RecoveryFacts
    validation_top1: float | None
    cut_seconds: float
    seconds: float


CUT, RECOVERED, MASKS = "cut.safetensors", "recovered.safetensors", "masks.safetensors"
"""Files of a round: weights right after the cut and after the recovery, and what masks keep."""


def round_stage(folder: Path, made_from: str = "") -> Stage[RoundFacts]:
    """A round in its stage's folder."""
    return Stage(folder, RoundFacts, [CUT, RECOVERED, MASKS], made_from)


class PointFacts(Facts):
    """What was measured of the network after a round; it lies in a folder within the round's.

    Attributes:
        point: by name.
        unsupported: by what records call a metric plugin, why it measured nothing.
    """

    decide = ("point", "unsupported")

    point: dict[str, float]
    unsupported: dict[str, str] = Field(default_factory=dict)


PRUNED, OUTPUTS = "model.safetensors", "outputs.safetensors"
"""Files of a trial or a training: its network's weights, and that network's outputs on a few inputs."""


def pruned_stage(folder: Path) -> Stage[PrunedFacts]:
    """The network that a trial left in its folder."""
    return Stage(folder, PrunedFacts, [PRUNED, OUTPUTS])


WEIGHTS = "model.safetensors"
"""The file of a training's stage."""


def dense_stage(folder: Path, data: Path, *, accept_old: bool = False) -> Stage[DenseFacts]:
    """The dense model in its stage's folder.

    Args:
        folder: of the training.
        data: the folder of the data set's stage, which it was made from.
        accept_old: see `Stage`.
    """
    made_from = content_digest(data) or ""
    return Stage(folder, DenseFacts, [WEIGHTS, OUTPUTS], made_from, accept_old=accept_old)
