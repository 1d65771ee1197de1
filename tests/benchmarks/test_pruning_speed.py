"""Pruning ResNet-50 to a MACs target, compared with Torch-Pruning's own pruner for the same target."""

from __future__ import annotations

import copy
import time
import warnings
from typing import TYPE_CHECKING

import pytest
import torch
import torch_pruning
from torchvision import models

from benchsuite.metrics.cost import measure_cost
from benchsuite.pruning.networks import SmallerNetwork
from benchsuite.pruning.settings import PruningSettings
from benchsuite.pruning.tracing.trace import trace

if TYPE_CHECKING:
    from torch import Tensor, nn

pytestmark = pytest.mark.slow

TARGET = 0.5
STEPS = 100
"""How many steps Torch-Pruning would take to an empty network; each removes 1% of the units."""
EXAMPLE = torch.zeros(1, 3, 224, 224)


def resnet50() -> nn.Module:
    torch.manual_seed(0)
    return models.resnet50(weights=None).eval()


def with_torch_pruning(model: nn.Module) -> nn.Module:
    """Its documented loop for a target: one step after another until the counted MACs reach the target."""
    pruner = torch_pruning.pruner.MagnitudePruner(
        model,
        EXAMPLE,
        importance=torch_pruning.importance.MagnitudeImportance(p=1),
        pruning_ratio=1.0,
        iterative_steps=STEPS,
        ignored_layers=[model.fc],
    )
    dense, _ = torch_pruning.utils.count_ops_and_params(model, EXAMPLE)
    macs = dense
    while macs > (1 - TARGET) * dense:
        pruner.step()
        macs, _ = torch_pruning.utils.count_ops_and_params(model, EXAMPLE)
    return model


def in_one_step_with_torch_pruning(model: nn.Module, units: float) -> nn.Module:
    """One step that removes a share of the units known in advance, without a search."""
    pruner = torch_pruning.pruner.MagnitudePruner(
        model,
        EXAMPLE,
        importance=torch_pruning.importance.MagnitudeImportance(p=1),
        pruning_ratio=units,
        ignored_layers=[model.fc],
    )
    pruner.step()
    return model


def test_resnet50_to_half_of_its_macs(benchmark) -> None:
    """Ours: scores, selection, surgery, its check and counting; the analysis, once per model, is separate."""
    model = resnet50()
    dense = measure_cost(model, EXAMPLE)
    start = time.perf_counter()
    graph = trace(model, EXAMPLE)
    tracing = time.perf_counter() - start

    def prune() -> SmallerNetwork:
        settings = PruningSettings(scope="layer", budget="macs")
        network = SmallerNetwork(model, graph, dense, settings, 0, EXAMPLE)
        scores: dict[str, Tensor] = {
            layer.name: layer.weight.detach().abs().flatten(1).sum(1) for layer in network.layers
        }
        network.cut(scores, TARGET, dict)
        return network

    ours = benchmark.pedantic(prune, rounds=3)
    assert ours.metrics["sparsity/macs"] == pytest.approx(TARGET, abs=0.005)
    copies = [copy.deepcopy(model) for _ in range(2)]
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own warnings about unwrapped parameters
        searched = with_torch_pruning(copies[0])
        middle = time.perf_counter()
        in_one_step_with_torch_pruning(copies[1], ours.metrics["sparsity/units"])
    end = time.perf_counter()
    reached = 1 - measure_cost(searched, EXAMPLE).macs / dense.macs
    assert reached >= TARGET - 0.005
    seconds = benchmark.stats.stats.median
    facts = {
        "seconds": seconds,
        "trace_seconds": tracing,
        "macs_removed": ours.metrics["sparsity/macs"],
        "torch_pruning_seconds": middle - start,
        "torch_pruning_macs_removed": reached,
        "torch_pruning_one_step_seconds": end - middle,
        "ratio": (middle - start) / seconds,
        "ratio_with_trace": (middle - start) / (seconds + tracing),
        "ratio_one_step": (end - middle) / seconds,
    }
    benchmark.extra_info.update({name: round(value, 4) for name, value in facts.items()})
