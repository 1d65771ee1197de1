"""A trained dense model in memory, with its pruning graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchsuite.errors import PluginError
from benchsuite.metrics.cost import measure_cost
from benchsuite.pruning.folding import fold
from benchsuite.pruning.tracing.trace import trace
from benchsuite.store.stages import content_digest, load_tensors
from benchsuite.training import on_device
from benchsuite.trials.data import load_data
from benchsuite.trials.dense_training import build_model, dense_stage_of, example
from benchsuite.trials.facts import WEIGHTS
from benchsuite.trials.usable_model import return_class_scores

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from benchsuite.metrics.network_cost import Cost
    from benchsuite.plan.dense_task import DenseTask
    from benchsuite.pruning.graph import PruningGraph
    from benchsuite.training import DeviceDataset
    from benchsuite.trials.facts import DenseFacts
    from benchsuite.trials.worker_context import WorkerContext

_PROBE_SAMPLES = 8


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
        mean: what normalisation subtracts, per channel on the scale 0..1, or per feature.
        std: what it divides by.
        facts: what the training stage noted; the cost is that of the network with plain weights.
        folded: by name of each weight that was not a plain one, what computed it.
        content: what identifies the weights; see `content_digest`.
    """

    model: nn.Module
    data: DeviceDataset
    graph: PruningGraph
    probe: Tensor
    mean: tuple[float, ...]
    std: tuple[float, ...]
    facts: DenseFacts
    folded: Mapping[str, str]
    content: str

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
    folded = fold(model, example(data))
    if folded:
        facts = facts.model_copy(update={"cost": measure_cost(model, example(data))})
    return DenseModel(
        model=model,
        data=data,
        graph=trace(model, example(data)),
        probe=data.train.normalise(data.train.inputs[:_PROBE_SAMPLES]),
        mean=dataset.mean,
        std=dataset.std,
        facts=facts,
        folded=folded,
        content=content_digest(folder) or "",
    )
