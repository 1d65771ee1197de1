"""The stages that all criteria share: data and dense training. Each begins "if it exists, return"."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from benchsuite import devices, stages
from benchsuite.datasets import Augmentation, Dataset, Split
from benchsuite.errors import PluginError
from benchsuite.keys import derived_seed
from benchsuite.metrics.accuracy import Evaluation, evaluate
from benchsuite.metrics.cost import Cost, measure_cost
from benchsuite.pruning.graph import PruningGraph, trace
from benchsuite.store import write_atomically
from benchsuite.training import (
    DeviceDataset,
    TraceRequest,
    TrainingLog,
    TrainingTrace,
    on_device,
    total_steps,
    train,
)

if TYPE_CHECKING:
    from pathlib import Path

    from benchsuite.execution import Workplace
    from benchsuite.plugins import Registry
    from benchsuite.suite import DatasetRef
    from benchsuite.tasks import DenseTask

_PROBE_SAMPLES = 8


@dataclass(frozen=True)
class Bench:
    """Where a worker works: the run directory, the plugins, the device."""

    workplace: Workplace
    registry: Registry
    device: torch.device
    threads: int

    def folder(self, key: str) -> Path:
        """The folder of a stage."""
        return self.workplace.run / "stages" / key


@dataclass(frozen=True, eq=False)
class Dense:
    """A trained dense model in evaluation mode with what its trials need.

    Attributes:
        model: the network; trials copy it and leave it as it is.
        data: the data set on the device.
        graph: its prunable layers and coupled groups.
        cost: its cost.
        evaluation: facts of its evaluation on the test split.
        probe: a few normalised training inputs for checks.
        mean: what normalisation subtracts, per channel on the scale 0..1, or per feature.
        std: what it divides by.
        facts: what the training stage noted.
        trace: what training recorded, where a scorer of the suite needs it.
    """

    model: nn.Module
    data: DeviceDataset
    graph: PruningGraph
    cost: Cost
    probe: Tensor
    mean: tuple[float, ...]
    std: tuple[float, ...]
    facts: dict[str, Any]
    trace: TrainingTrace | None

    @property
    def top1(self) -> float:
        """Accuracy on the test split."""
        return float(self.facts["top1"])


def load_data(bench: Bench, ref: DatasetRef, key: str) -> tuple[Dataset, dict[str, Any]]:
    """The data set, from its stage if that exists, else from its plugin; and the stage's facts.

    The tensors of a stage are mapped from one file, so that all workers share one copy in memory.
    """
    folder = bench.folder(key)
    with stages.stage(folder) as facts:
        if facts is None:
            dataset = ref.dataset(bench.registry).load(bench.workplace.data)
            if not isinstance(dataset, Dataset):
                raise PluginError(
                    f"data set {ref.label}: load() returned {type(dataset).__name__}, not a Dataset"
                )
            tensors = {f"{name}/{part}": getattr(getattr(dataset, name), part) for name, part in _parts()}
            stages.save_tensors(folder / "data.safetensors", tensors)
            facts = {
                "classes": dataset.classes,
                "mean": dataset.mean,
                "std": dataset.std,
                "augmentation": asdict(dataset.augmentation),
                "digest": _digest(folder / "data.safetensors"),
            }
            stages.complete(folder, facts)
    tensors = stages.load_tensors(folder / "data.safetensors")
    splits = {
        name: Split(tensors[f"{name}/inputs"], tensors[f"{name}/labels"])
        for name in ("train", "validation", "test")
    }
    return Dataset(
        **splits,
        classes=tuple(facts["classes"]),
        mean=tuple(facts["mean"]),
        std=tuple(facts["std"]),
        augmentation=Augmentation(**facts["augmentation"]),
    ), facts


def _parts() -> list[tuple[str, str]]:
    return [(split, part) for split in ("train", "validation", "test") for part in ("inputs", "labels")]


def _digest(path: Path) -> str:
    import hashlib

    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def build_model(
    bench: Bench, task: DenseTask, dataset: Dataset | DeviceDataset, purpose: str = "build"
) -> nn.Module:
    """The untrained network, initialised from a seed derived from purpose, data set, model and seed."""
    plugin = task.model.model(bench.registry)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(purpose, task.dataset.label, task.model.label, task.seed))
        model = plugin.build(dataset.input_shape, len(dataset.classes))
    if not isinstance(model, nn.Module):
        raise PluginError(
            f"model {task.model.label}: build() returned {type(model).__name__}, not an nn.Module"
        )
    return model


def train_dense(bench: Bench, task: DenseTask) -> None:
    """Train, evaluate and keep the dense model of a task, if it is not there already."""
    folder = bench.folder(task.key)
    with stages.stage(folder) as facts:
        if facts is not None:
            return
        dataset, data_facts = load_data(bench, task.dataset, task.data_key)
        data = on_device(dataset, bench.device)
        model = build_model(bench, task, dataset).to(bench.device)
        seed = derived_seed("train", task.dataset.label, task.model.label, task.seed)
        request = _trace_request(task, data)
        started = time.perf_counter()
        log = train(model, data, task.recipe, seed=seed, device=bench.device, trace=request)
        seconds = time.perf_counter() - started
        evaluation = evaluate(model, data.test, data.classes)
        stages.save_tensors(folder / "model.safetensors", model.state_dict())
        if log.trace is not None:
            log.trace.save(folder / "trace.safetensors")
        write_atomically(folder / "training.json", json.dumps(curve(log), indent=1))
        stages.complete(
            folder,
            {
                "top1": evaluation.top1,
                "loss": finite_or_none(evaluation.loss),
                "recall": dict(zip(data.classes, evaluation.recall, strict=True)),
                "confusion": evaluation.confusion.tolist(),
                "train_seconds": seconds,
                "cost": asdict(measure_cost(model.eval(), _example(data))),
                "file_bytes": (folder / "model.safetensors").stat().st_size,
                "data_digest": data_facts["digest"],
                "device": devices.device_name(bench.device),
            },
        )


def _trace_request(task: DenseTask, data: DeviceDataset) -> TraceRequest | None:
    if not task.trace and task.rewind_to is None:
        return None
    snapshots = () if task.rewind_to is None else (rewind_step(task, data),)
    return TraceRequest(updates=task.trace, snapshots=snapshots)


def rewind_step(task: DenseTask, data: DeviceDataset) -> int:
    """The step of the dense training that rewinding goes back to."""
    assert task.rewind_to is not None
    return round(task.rewind_to * total_steps(task.recipe, len(data.train)))


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


def load_dense(bench: Bench, task: DenseTask, *, at_init: bool = False) -> Dense:
    """The dense model of a task with its graph; the training stage must be complete.

    Args:
        bench: where to work.
        task: which model.
        at_init: give it the weights it had before training.
    """
    folder = bench.folder(task.key)
    facts = stages.read_facts(folder)
    if facts is None:
        raise PluginError(f"the dense model of {task.model.label} on {task.dataset.label} was not trained")
    dataset, _ = load_data(bench, task.dataset, task.data_key)
    data = on_device(dataset, bench.device)
    model = build_model(bench, task, dataset)
    if not at_init:
        model.load_state_dict(stages.load_tensors(folder / "model.safetensors"))
    model.to(bench.device).eval()
    cost = facts["cost"]
    trace_file = folder / "trace.safetensors"
    return Dense(
        model=model,
        data=data,
        graph=trace(model, _example(data)),
        cost=Cost(**{**cost, "unknown_modules": tuple(cost["unknown_modules"])}),
        probe=data.train.normalise(data.train.inputs[:_PROBE_SAMPLES]),
        mean=dataset.mean,
        std=dataset.std,
        facts=facts,
        trace=TrainingTrace.load(trace_file) if trace_file.exists() and not at_init else None,
    )


def _example(data: DeviceDataset) -> Tensor:
    """One normalised sample as a batch."""
    return data.train.normalise(data.train.inputs[:1])


def evaluation_metrics(evaluation: Evaluation, prefix: str, classes: tuple[str, ...]) -> dict[str, float]:
    """Flat metrics of an evaluation: top-1, loss where it is finite, recall of each class."""
    metrics = {f"{prefix}/top1": evaluation.top1}
    if math.isfinite(evaluation.loss):
        metrics[f"{prefix}/loss"] = evaluation.loss
    for name, recall in zip(classes, evaluation.recall, strict=True):
        if recall is not None:
            metrics[f"{prefix}/class/{name}"] = recall
    return metrics
