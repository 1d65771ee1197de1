"""The stage of a training trace: what is recorded of a dense model's training."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from benchsuite.errors import Unsupported
from benchsuite.store.stages import Stage, content_digest, load_tensors
from benchsuite.training import TraceRequest, TrainingTrace, on_device, total_steps
from benchsuite.trials.data import load_data
from benchsuite.trials.dense_training import train_dense, trained
from benchsuite.trials.facts import WEIGHTS, TraceFacts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from benchsuite.plan.dense_task import DenseTask, TraceTask
    from benchsuite.trials.worker_context import WorkerContext

_FILE = "trace.safetensors"


def train_with_traces(worker: WorkerContext, task: DenseTask, traces: Sequence[TraceTask]) -> None:
    """Make the dense model of a task and the traces of its training that are not there already.

    One training serves all. Where the dense model is there and a trace is not, the network is trained again;
    if that ends with other weights, as it can on a GPU, the trace is not of the model that everybody shares:
    then there is none, and what needs it is `unsupported`.
    """
    samples = len(load_data(worker, task.dataset, task.data_key)[0].train) if traces else 0
    request = _request(task, traces, samples)
    log = train_dense(worker, task, request)
    trace = log.trace if log is not None else None
    unsupported: str | None = None
    for wanted in traces:

        def make(wanted: TraceTask = wanted) -> TraceFacts:
            nonlocal trace, unsupported
            if trace is None and unsupported is None:
                trace, unsupported = _recorded_again(worker, task, request)
            if trace is None:
                return TraceFacts(unsupported=unsupported)
            _part(trace, task, wanted, samples).save(worker.folder(wanted.key) / _FILE)
            return TraceFacts()

        trace_stage(worker, task, wanted).get(make, worker.tell)


def load_trace(worker: WorkerContext, task: DenseTask, wanted: TraceTask) -> TrainingTrace:
    """What was recorded of the training of a dense model.

    Raises:
        Unsupported: nothing could be recorded of the training that made this model, with the reason.
    """
    facts = trace_stage(worker, task, wanted).read()
    if facts is None:
        raise Unsupported("no training trace: nothing was recorded of the training of this network")
    if facts.unsupported is not None:
        raise Unsupported(facts.unsupported)
    return TrainingTrace.load(worker.folder(wanted.key) / _FILE)


def trace_stage(worker: WorkerContext, task: DenseTask, wanted: TraceTask) -> Stage[TraceFacts]:
    """Where a trace is kept."""
    model = content_digest(worker.folder(task.key)) or ""
    return Stage(worker.folder(wanted.key), TraceFacts, [_FILE], made_from=model)


def early_step(task: DenseTask, wanted: TraceTask, samples: int) -> int:
    """The step of the dense training after which the network is kept, for a split of that many samples."""
    assert wanted.rewind_to is not None
    return round(wanted.rewind_to * total_steps(task.recipe, samples))


def _request(task: DenseTask, traces: Sequence[TraceTask], samples: int) -> TraceRequest | None:
    """What one training has to record for all of these traces."""
    if not traces:
        return None
    early = {early_step(task, wanted, samples) for wanted in traces if wanted.rewind_to is not None}
    return TraceRequest(updates=any(t.updates for t in traces), snapshots=tuple(sorted(early)))


def _recorded_again(
    worker: WorkerContext, task: DenseTask, request: TraceRequest | None
) -> tuple[TrainingTrace | None, str | None]:
    """The trace of a second training, or why it is not one of the dense model."""
    dataset, _ = load_data(worker, task.dataset, task.data_key)
    model, log, _ = trained(worker, task, on_device(dataset, worker.device), request)
    if _same_weights(model, worker, task):
        return log.trace, None
    return None, (
        "no training trace: the network was trained before a trace was wanted, and trained again on "
        "this device it ends with other weights; a new run directory trains it with the trace"
    )


def _same_weights(model: nn.Module, worker: WorkerContext, task: DenseTask) -> bool:
    kept = load_tensors(worker.folder(task.key) / WEIGHTS)
    now = model.state_dict()
    return kept.keys() == now.keys() and all(torch.equal(kept[name], now[name].cpu()) for name in kept)


def _part(trace: TrainingTrace, task: DenseTask, wanted: TraceTask, samples: int) -> TrainingTrace:
    """What of a recorded trace one stage holds."""
    if wanted.updates:
        return replace(trace, snapshots={})
    step = early_step(task, wanted, samples)
    return TrainingTrace({}, {}, {}, {step: trace.snapshots[step]}, trace.learning_rates)
