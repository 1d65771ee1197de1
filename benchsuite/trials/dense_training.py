"""The stage of a dense model: its training. Begins "if it exists, return"."""

from __future__ import annotations

import json
import math
import time
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from benchsuite.contracts.covered_imports import covered_imports
from benchsuite.contracts.inputs import example_of
from benchsuite.contracts.named_inputs import NamedInputs
from benchsuite.errors import PluginError, Unsupported
from benchsuite.hardware import devices
from benchsuite.metrics.accuracy import Evaluation, evaluate
from benchsuite.metrics.cost import evaluating, measure_cost
from benchsuite.store import metric_names
from benchsuite.store.files import write_atomically
from benchsuite.store.keys import derived_seed
from benchsuite.store.stages import save_tensors
from benchsuite.training import DeviceDataset, TraceRequest, TrainingLog, on_device, train
from benchsuite.trials.data import load_data
from benchsuite.trials.facts import OUTPUTS, WEIGHTS, DenseFacts, dense_stage
from benchsuite.trials.usable_model import place_of_class_scores, return_class_scores, usable

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchsuite.contracts.dataset import Dataset
    from benchsuite.contracts.inputs import Inputs
    from benchsuite.contracts.model import ModelPlugin
    from benchsuite.plan.dense_task import DenseTask
    from benchsuite.store.stages import Stage
    from benchsuite.trials.usable_model import Place
    from benchsuite.trials.worker_context import WorkerContext


_SAMPLES = 8
_TOLERANCE = 1e-2
"""What other kernels for other sizes of batches may make of an output, relative to the largest."""


def build_model(
    worker: WorkerContext,
    task: DenseTask,
    dataset: Dataset | DeviceDataset,
    purpose: str = "build",
    tell: Callable[[str], None] = lambda _: None,
) -> nn.Module:
    """The untrained network, initialised from a seed derived from purpose, data set, model and seed.

    `tell` is told what was changed of it. Which of several outputs is its class scores is not known here.
    """
    plugin = cast("ModelPlugin", worker.create("model", task.model))
    worker.check_content("model", task.model, plugin.fingerprint)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(purpose, task.dataset.label, task.model.label, task.seed))
        with covered_imports("model", plugin):
            shape, classes = dataset.input_shape, len(dataset.classes)
            if isinstance(shape, NamedInputs):
                model = plugin.build_named(shape, classes)
            else:
                model = plugin.build(shape, classes)
            if isinstance(model, torch.export.ExportedProgram):
                model = model.module()
            if not isinstance(model, nn.Module):
                raise PluginError(
                    f"model {task.model.label}: build() returned {type(model).__name__}, not an nn.Module"
                )
            return usable(model, shape, lambda text: tell(f"model {task.model.label}: {text}"))


def dense_stage_of(worker: WorkerContext, task: DenseTask) -> Stage[DenseFacts]:
    """Where the dense model of a task is kept."""
    folder, data = worker.folder(task.key), worker.folder(task.data_key)
    return dense_stage(folder, data, accept_old=worker.reads_old_runs)


def train_dense(
    worker: WorkerContext, task: DenseTask, request: TraceRequest | None = None
) -> TrainingLog | None:
    """Train, evaluate and keep the dense model of a task; None if it was there already.

    Args:
        worker: where to work.
        task: which model.
        request: what to record of the training, if it takes place; it changes no number.
    """
    dataset, data_facts = load_data(worker, task.dataset, task.data_key)
    logs: list[TrainingLog] = []

    def make() -> DenseFacts:
        folder = worker.folder(task.key)
        data = on_device(dataset, worker.device)
        started = time.perf_counter()
        # Its forward pass may import something too.
        with covered_imports("model", worker.create("model", task.model)):
            model, log, class_scores = trained(worker, task, data, request)
            check_evaluation(model, data, task.model.label)
        seconds = time.perf_counter() - started
        logs.append(log)
        which = f"the dense network {task.model.label} on {task.dataset.label}, seed {task.seed},"
        evaluation = evaluate(model, data.test, data.classes, network=which)
        if class_scores is not None:
            worker.tell(f"{which} returns several outputs: {class_scores!r} is taken as its class scores")
        if (fault := no_better_than_naive(evaluation)) is not None:
            worker.tell(f"{which} {fault}: what is pruned from it says nothing about criteria")
        save_tensors(folder / WEIGHTS, model.state_dict())
        save_tensors(folder / OUTPUTS, {"outputs": outputs_of(model, probe(data))})
        write_atomically(folder / "training.json", json.dumps(curve(log), indent=1))
        return DenseFacts(
            top1=evaluation.top1,
            loss=finite_or_none(evaluation.loss),
            recall=dict(zip(data.classes, evaluation.recall, strict=True)),
            confusion=evaluation.confusion.tolist(),
            train_seconds=seconds,
            cost=measure_cost(model.eval(), example(data)),
            file_bytes=(folder / WEIGHTS).stat().st_size,
            data_digest=data_facts.digest,
            device=devices.device_name(worker.device),
            overlap=data_facts.overlap,
            class_scores=class_scores,
        )

    dense_stage_of(worker, task).get(make, worker.tell)
    return logs[0] if logs else None


def trained(
    worker: WorkerContext, task: DenseTask, data: DeviceDataset, request: TraceRequest | None
) -> tuple[nn.Module, TrainingLog, Place | None]:
    """The dense model of a task, trained from its beginning; what that did; and which output counts."""
    model, place = untrained(worker, task, data, worker.tell)
    seed = derived_seed("train", task.dataset.label, task.model.label, task.seed)
    return model, train(model, data, task.recipe, seed=seed, device=worker.device, trace=request), place


def untrained(
    worker: WorkerContext, task: DenseTask, data: DeviceDataset, tell: Callable[[str], None]
) -> tuple[nn.Module, Place | None]:
    """The network of a task before its training, on the worker's device; and which output counts."""
    model = build_model(worker, task, data, tell=tell).to(worker.device)
    wanted = cast("ModelPlugin", worker.create("model", task.model)).logits
    inputs = data.train.normalise(data.train.inputs[:2])
    place = place_of_class_scores(model, inputs, len(data.classes), wanted)
    return_class_scores(model, place)
    return model, place


def check_evaluation(model: nn.Module, data: DeviceDataset, name: str) -> None:
    """Raise `Unsupported` for a network whose output in evaluation depends on more than the sample.

    Its accuracy would depend on the size of batches, or on chance.
    """
    inputs = probe(data)
    together, again = outputs_of(model, inputs), outputs_of(model, inputs)
    alone = torch.cat([outputs_of(model, inputs[n : n + 1]) for n in range(len(inputs))])
    if not isinstance(together, Tensor) or not together.isfinite().all():
        return  # said with more detail where the network is evaluated
    for other, fault in (
        (again, "is not deterministic in evaluation: it gives the same input two outputs"),
        (alone, "gives a sample another output beside other samples than alone, in evaluation"),
    ):
        if (found := difference(together, other)) > _TOLERANCE:
            raise Unsupported(f"the model {name} {fault} (by {found:.2g} of the largest)")


def no_better_than_naive(evaluation: Evaluation) -> str | None:
    """What is wrong with a network that learnt nothing; None if it does better.

    It learnt nothing if it classifies no more samples well than one that always names the most frequent class
    would, within two standard errors.
    """
    counts = evaluation.confusion.sum(dim=1)
    samples = int(counts.sum())
    naive = int(counts.max()) / samples
    if evaluation.top1 > naive + 2 * math.sqrt(naive * (1 - naive) / samples):
        return None
    return (
        f"is right on {evaluation.top1:.1%} of the test samples, and always naming the most frequent class "
        f"would be on {naive:.1%}"
    )


def curve(log: TrainingLog) -> dict[str, Any]:
    """A training's course as plain data."""
    return {
        "losses": log.losses,
        "learning_rates": log.learning_rates,
        "steps": log.steps,
        "steps_per_epoch": log.steps_per_epoch,
        "seconds": log.seconds,
        "cuda_graph": log.captured,
    }


def finite_or_none(number: float) -> float | None:
    """The number if JSON can hold it."""
    return number if math.isfinite(number) else None


def probe(data: DeviceDataset) -> Any:
    """A few normalised training samples for checks, as a batch."""
    return data.train.normalise(data.train.inputs[:_SAMPLES])


def outputs_of(model: nn.Module, inputs: Inputs) -> Tensor:
    """What a network computes in evaluation."""
    with evaluating(model), torch.no_grad(), devices.exact_float32():
        outputs: Tensor = model(inputs)
        return outputs


def difference(one: Tensor, other: Tensor) -> float:
    """The largest difference of two networks' outputs, relative to the largest output of the first.

    Infinite where one of them has NaN or infinity and the other has not.
    """
    finite = one.isfinite()
    if not torch.equal(finite, other.isfinite()):
        return math.inf
    one, other = one[finite], other[finite]
    return float((one - other).abs().max()) / (float(one.abs().max()) or 1.0) if len(one) else 0.0


def example(data: DeviceDataset) -> Any:
    """As few normalised samples as an analysis of a network needs; one, unless inputs come by name."""
    return data.train.normalise(example_of(data.train.inputs))


def evaluation_metrics(evaluation: Evaluation, classes: tuple[str, ...]) -> dict[str, float]:
    """Flat metrics of an evaluation: top-1, loss where it is finite, recall of each class."""
    metrics = {metric_names.TOP1: evaluation.top1}
    if math.isfinite(evaluation.loss):
        metrics[metric_names.LOSS] = evaluation.loss
    for name, recall in zip(classes, evaluation.recall, strict=True):
        if recall is not None:
            metrics[metric_names.class_recall(name)] = recall
    return metrics
