"""What is to be trained, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchsuite.contracts.plugin import PluginChoice
    from benchsuite.contracts.recipe import TrainingRecipe


@dataclass(frozen=True)
class DenseTask:
    """One dense model to train: what all scorers of one (data set, model, recipe, seed) share.

    Attributes:
        network: identifies the untrained network's structure: the model, and the data that it is built for.
        data_key: content key of the data set's stage.
        key: content key of the training's stage.
    """

    dataset: PluginChoice
    model: PluginChoice
    recipe: TrainingRecipe
    seed: int
    network: str
    data_key: str
    key: str


@dataclass(frozen=True)
class TraceTask:
    """What is to be recorded of a dense model's training, a stage of its own.

    Attributes:
        updates: the initial weights and the accumulated squared updates.
        rewind_to: share of the training's steps after which the network is kept, if it is.
        key: content key of the stage.
    """

    updates: bool
    rewind_to: float | None
    key: str
