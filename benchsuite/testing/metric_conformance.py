"""What every metric must pass, and small contexts to try one on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from benchsuite.contracts.dataset import Augmentation
from benchsuite.errors import Unsupported
from benchsuite.metrics.metric_context import MeasuredNetwork, MetricContext
from benchsuite.metrics.run_metric import run_metric
from benchsuite.pruning.kept_units import kept_units
from benchsuite.pruning.surgery import remove_units
from benchsuite.pruning.tracing.trace import trace
from benchsuite.testing.networks import TinyResidual, tiny_convnet, tiny_mlp, tiny_samples
from benchsuite.training.data import DeviceDataset, DeviceSplit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from benchsuite.metrics.metric import Metric
    from benchsuite.metrics.metric_stage import Stage
    from benchsuite.pruning.graph import PruningGraph


def metric_context_for(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    stage: Stage = "dense",
    device: torch.device | str = "cpu",
    seed: int = 0,
) -> MetricContext:
    """Return a metric's context for a small network; its three splits hold the same samples.

    Args:
        model: the dense network. It is what is measured at the stage "dense"; else a copy is without the
            first position of each coupled group.
        inputs: its inputs, samples first, float32.
        labels: class numbers.
        stage: see `MetricContext`.
        device: where to measure.
        seed: likewise.
    """
    place = torch.device(device)
    model = model.to(place).eval()
    inputs, labels = inputs.to(place), labels.to(place)
    graph = trace(model, inputs[:2])
    dense = _network(model, graph, {})
    measured = dense
    if stage != "dense":
        removed = {group.name: (0,) for group in graph.groups if group.size > 1}
        smaller = remove_units(model, graph, removed).eval()
        measured = _network(smaller, graph, removed)
    split = DeviceSplit(inputs, labels, torch.zeros(1, device=place), torch.ones(1, device=place))
    names = tuple(f"class {number}" for number in range(int(labels.max()) + 1))
    data = DeviceDataset(split, split, split, names, Augmentation())
    return MetricContext(stage, measured, dense, data, place, round_number=stage != "dense", seed=seed)


def _network(
    model: nn.Module, graph: PruningGraph, removed: Mapping[str, tuple[int, ...]]
) -> MeasuredNetwork:
    return MeasuredNetwork(model, graph.of(model).layers, kept_units(graph, removed))


_NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "convolutions": (tiny_convnet, (2, 8, 8)),
    "residual, grouped and depthwise": (TinyResidual, (2, 8, 8)),
    "linear without biases": (tiny_mlp, (4,)),
}


def check_networks(metric: Metric) -> None:
    """It measures some network at each of its stages, and returns what it declares."""
    for stage in metric.stages:
        served = 0
        for build, shape in _NETWORKS.values():
            try:
                run_metric(metric, metric_context_for(build(), *tiny_samples(24, shape), stage=stage))
            except Unsupported:
                continue
            served += 1
        assert served, f"stage {stage}: {metric.name} measures none of: {', '.join(_NETWORKS)}"


def check_determinism(metric: Metric) -> None:
    """The same seed gives the same numbers, whatever the global random state."""
    found = []
    for number in range(2):
        torch.manual_seed(number)
        torch.rand(number + 1)
        found.append(_numbers(metric))
    assert found[0] == found[1], f"two measurements with one seed differ: {_differing(*found)}"


def check_gpu(metric: Metric) -> str | None:
    """On a GPU the numbers equal those of the CPU, to 1%; not checked if there is no GPU."""
    if not torch.cuda.is_available():
        return "there is no GPU here"
    here, there = _numbers(metric), _numbers(metric, "cuda")
    for name, value in here.items():
        assert abs(there[name] - value) <= 0.01 * max(abs(value), 1e-6), f"{name} differs on the GPU"
    return None


def _numbers(metric: Metric, device: str = "cpu") -> dict[str, float]:
    samples = tiny_samples(24)
    context = metric_context_for(tiny_convnet(), *samples, stage=metric.stages[-1], device=device)
    return run_metric(metric, context)


def _differing(first: dict[str, float], second: dict[str, float]) -> str:
    names = [name for name in {**first, **second} if first.get(name) != second.get(name)]
    return ", ".join(f"{name} is {first.get(name)} and {second.get(name)}" for name in sorted(names)[:3])


METRIC_CHECKS: dict[str, Callable[[Metric], str | None]] = {
    "networks": check_networks,
    "determinism": check_determinism,
    "gpu": check_gpu,
}
"""What every metric must pass: each raises an error that says what is wrong.

One that cannot be made here returns why.
"""
