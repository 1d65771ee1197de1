"""The network of a finished trial: what is kept of it, and how it is made anew from that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch

from benchsuite.errors import BenchsuiteError
from benchsuite.hardware.devices import exact_float32
from benchsuite.metrics.cost import evaluating
from benchsuite.pruning.surgery import remove_units
from benchsuite.store.files import read_regular
from benchsuite.store.stages import StageDamaged, load_tensors, save_tensors
from benchsuite.store.texts import read_json
from benchsuite.trials.dense_model import DenseModel, load_dense
from benchsuite.trials.facts import OUTPUTS, PRUNED, PrunedFacts, pruned_stage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from benchsuite.contracts.inputs import Inputs
    from benchsuite.plan.dense_task import DenseTask
    from benchsuite.plan.trial import Trial
    from benchsuite.trials.worker_context import WorkerContext

_OLD_HISTORY = "pruning.json"
"""Where runs of before checksums kept what `PrunedFacts` holds."""
_TOLERANCE = 1e-3
"""Largest difference of outputs that two devices may make, relative to the largest output."""


class FinishedTrial(Protocol):
    """What `load_pruned` needs to know of a trial."""

    @property
    def key(self) -> str:
        """Content key of the trial."""
        ...

    @property
    def dense(self) -> DenseTask:
        """The dense model that it pruned."""
        ...


@dataclass(frozen=True, eq=False)
class PrunedModel:
    """What a trial made of its dense model.

    Attributes:
        dense: the dense model.
        model: the pruned network with the weights that it ended with, in evaluation mode.
        removed: by coupled group of the dense network, the removed positions; empty for masks.
    """

    dense: DenseModel
    model: nn.Module
    removed: dict[str, tuple[int, ...]]


def keep_pruned(
    worker: WorkerContext,
    trial: Trial,
    model: nn.Module,
    removed: Mapping[str, tuple[int, ...]],
    probe: Inputs,
) -> int:
    """Leave in the trial's folder what `load_pruned` needs; return the size of the weights' file in bytes."""
    folder = worker.folder(trial.key)
    save_tensors(folder / PRUNED, model.state_dict())
    save_tensors(folder / OUTPUTS, {"outputs": outputs_on(model, probe)})
    pruned_stage(folder).complete(PrunedFacts(axes=trial.axes, removed=dict(removed)))
    return (folder / PRUNED).stat().st_size


def load_pruned(worker: WorkerContext, trial: FinishedTrial) -> PrunedModel:
    """Make the network of a finished trial anew, from its dense model, the removed positions and its weights.

    Raises:
        StageDamaged: files are missing or are not what the trial left.
        BenchsuiteError: the network computes something else than in the trial, because benchsuite or the
            model's plugin has changed since.
    """
    folder = worker.folder(trial.key)
    dense = load_dense(worker, trial.dense)
    removed = _removed(worker, trial)
    changed = "has benchsuite or the model's plugin changed since?"
    try:
        model = remove_units(dense.model, dense.graph, removed)
        model.load_state_dict(load_tensors(folder / PRUNED))
    except (KeyError, IndexError, RuntimeError) as error:
        raise BenchsuiteError(
            f"the weights of trial {trial.key} do not fit its network; {changed} ({error})"
        ) from error
    expected = load_tensors(folder / OUTPUTS)["outputs"]
    difference = relative_difference(outputs_on(model, dense.probe), expected)
    if not difference <= _TOLERANCE:
        raise BenchsuiteError(
            f"the network of trial {trial.key} was made anew, but its outputs differ by {difference:.2g} of "
            f"the largest from those in the trial; {changed}"
        )
    return PrunedModel(dense, model, removed)


def _removed(worker: WorkerContext, trial: FinishedTrial) -> dict[str, tuple[int, ...]]:
    facts = pruned_stage(worker.folder(trial.key)).read()
    if facts is not None:
        return facts.removed
    path = worker.folder(trial.key) / _OLD_HISTORY
    try:
        return PrunedFacts.model_validate(read_json(read_regular(path))).removed
    except (OSError, ValueError) as error:
        raise StageDamaged(
            f"{path.parent} holds no network of a trial ({error}): run the trial again"
        ) from error


def outputs_on(model: nn.Module, inputs: Inputs) -> Tensor:
    """The network's outputs in evaluation mode and float32, on the CPU."""
    with evaluating(model), torch.no_grad(), exact_float32():
        outputs: Tensor = model(inputs)
    return outputs.cpu()


def relative_difference(outputs: Tensor, expected: Tensor) -> float:
    """The largest absolute difference over the largest absolute value expected; NaN if there is one."""
    if outputs.shape != expected.shape:
        return float("inf")
    largest = float(expected.abs().max())
    return float((outputs - expected).abs().max()) / (largest or 1.0)
