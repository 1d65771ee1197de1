"""A trained dense model in memory, with its pruning graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchsuite.errors import PluginError, Unsupported
from benchsuite.metrics.cost import measure_cost
from benchsuite.pruning.plain_form import make_plain
from benchsuite.pruning.tracing.trace import trace
from benchsuite.pruning.transposed import with_layers_of_torch
from benchsuite.store.stages import content_digest, load_tensors
from benchsuite.training import on_device
from benchsuite.trials.data import load_data
from benchsuite.trials.dense_training import (
    build_model,
    dense_stage_of,
    difference,
    example,
    outputs_of,
    probe,
)
from benchsuite.trials.facts import OUTPUTS, WEIGHTS
from benchsuite.trials.usable_model import return_class_scores

if TYPE_CHECKING:
    from torch import Tensor, nn

    from benchsuite.contracts.inputs import Inputs
    from benchsuite.metrics.network_cost import Cost
    from benchsuite.plan.dense_task import DenseTask
    from benchsuite.pruning.graph import PruningGraph
    from benchsuite.pruning.plain_form import PlainForm
    from benchsuite.training import DeviceDataset
    from benchsuite.trials.facts import DenseFacts
    from benchsuite.trials.worker_context import WorkerContext

_STATE = (
    "it keeps a state outside its parameters and buffers, such as a count of steps; register it with "
    "register_buffer, which is saved"
)
_TOLERANCE = 1e-3
"""What another device may make of an output, relative to the largest."""


@dataclass(frozen=True, eq=False)
class DenseModel:
    """A trained dense model in evaluation mode with what its trials need.

    It was trained as its author wrote it. Weights that it computes anew in every pass are plain ones here:
    scores, pruning and recovery are of these.

    Attributes:
        model: the network; trials copy it and leave it as it is.
        data: the data set on the device.
        graph: its prunable layers and coupled groups.
        probe: a few normalised training inputs for checks.
        mean: what normalisation subtracts, per channel on the scale 0..1, or per feature; empty for inputs by
            name.
        std: what it divides by.
        facts: what the training stage noted; the cost is that of the network in its plain form.
        form: what was changed of the network as it was built.
        content: what identifies the weights; see `content_digest`.
        outputs: what the network computes of the probe.
    """

    model: nn.Module
    data: DeviceDataset
    graph: PruningGraph
    probe: Any
    mean: tuple[float, ...]
    std: tuple[float, ...]
    facts: DenseFacts
    form: PlainForm
    content: str
    outputs: Tensor

    def check_unchanged(self) -> None:
        """Raise `Unsupported` if the network computes something else than when it was loaded.

        Its trials never change it, so it, or its class, keeps a state that no copy takes along.
        """
        if (found := difference(self.outputs, outputs_of(self.model, self.probe))) > _TOLERANCE:
            raise Unsupported(
                "the network computes something else since another trial ran in this process (by "
                f"{found:.2g} of the largest output): {_STATE}"
            )

    @property
    def top1(self) -> float:
        """Accuracy on the test split."""
        return self.facts.top1

    @property
    def cost(self) -> Cost:
        """Its cost."""
        return self.facts.cost


def load_dense(worker: WorkerContext, task: DenseTask, *, at_init: bool = False) -> DenseModel:
    """The dense model of a task with its graph; the training stage must be complete.

    Args:
        worker: where to work.
        task: which model.
        at_init: give it the weights it had before training.

    Raises:
        PluginError: it was not trained.
        Unsupported: its coupled groups or plain weights cannot be found.
        StageDamaged: its files are not what the training left.
    """
    dataset, _ = load_data(worker, task.dataset, task.data_key)
    folder = worker.folder(task.key)
    facts = dense_stage_of(worker, task).read()
    if facts is None:
        raise PluginError(f"the dense model of {task.model.label} on {task.dataset.label} was not trained")
    data = on_device(dataset, worker.device)
    model = build_model(worker, task, dataset)
    return_class_scores(model, facts.class_scores)
    if not at_init:
        model.load_state_dict(load_tensors(folder / WEIGHTS))
    model.to(worker.device).eval()
    inputs = probe(data)
    if not at_init and (folder / OUTPUTS).exists():  # there is none in a run of older code
        _check_as_trained(model, inputs, load_tensors(folder / OUTPUTS)["outputs"])
    form = make_plain(model, example(data))
    if form.other_operations:
        cost = measure_cost(with_layers_of_torch(model), example(data))
        facts = facts.model_copy(update={"cost": cost})
    return DenseModel(
        model=model,
        data=data,
        graph=trace(model, example(data)),
        probe=inputs,
        mean=dataset.mean,
        std=dataset.std,
        facts=facts,
        form=form,
        content=content_digest(folder) or "",
        outputs=outputs_of(model, inputs),
    )


def _check_as_trained(model: nn.Module, inputs: Inputs, expected: Tensor) -> None:
    """Raise `Unsupported` if a network that was built anew does not compute what the trained one did."""
    if (found := difference(expected.to(inputs.device), outputs_of(model, inputs))) > _TOLERANCE:
        raise Unsupported(
            "with the weights that the training left, a network that is built anew computes something else "
            f"than the trained one (by {found:.2g} of the largest output): {_STATE}"
        )
