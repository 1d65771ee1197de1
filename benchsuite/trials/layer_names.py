"""Whether a network has the layers that a suite names; asked before it is trained."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from benchsuite.errors import Unsupported, UsageError
from benchsuite.pruning.layer_targets import layers_apart
from benchsuite.pruning.plain_form import make_plain
from benchsuite.pruning.tracing.trace import trace
from benchsuite.pruning.widths import missing_units
from benchsuite.store.stages import is_complete
from benchsuite.training import on_device
from benchsuite.trials.data import load_data
from benchsuite.trials.dense_training import example, untrained

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchsuite.plan.dense_task import DenseTask
    from benchsuite.pruning.settings import Restriction
    from benchsuite.trials.worker_context import WorkerContext


def check_layer_names(
    worker: WorkerContext,
    task: DenseTask,
    restriction: Restriction,
    widths: Mapping[str, int],
    apart: Sequence[tuple[str, ...]] = (),
) -> None:
    """Look for the layers that a suite names in a network that is yet to be trained.

    Nothing is looked for in a network that cannot be analysed: its trials say why.

    Args:
        worker: where to work.
        task: which model.
        restriction: patterns of layers.
        widths: by layer, how many units it keeps.
        apart: patterns of layers with a target of their own; no layer may have two.

    Raises:
        UsageError: the network has no such layer, or one with fewer units than are to be kept, or one with
            two targets.
    """
    if not (restriction or widths or apart) or is_complete(worker.folder(task.key)):
        return
    dataset, _ = load_data(worker, task.dataset, task.data_key)
    data = on_device(dataset, worker.device)
    model, _ = untrained(worker, task, data, lambda _: None)
    with suppress(Unsupported):
        make_plain(model.eval(), example(data))
        graph = trace(model, example(data))
        try:
            graph.restricted(restriction)
            missing_units(graph, widths)
            layers_apart(graph, apart)
        except UsageError as error:
            raise UsageError(f"{task.model.label}: {error}") from error
