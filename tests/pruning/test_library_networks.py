"""The pruned equals the masked network, and targets are met, for each family of torchvision and timm."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
import timm
import torch
from pruning_networks import unit_scores
from torch import Tensor, nn
from torchvision import models
from torchvision.models.vgg import make_layers

from benchsuite.metrics.cost import measure_cost
from benchsuite.pruning.group_scores import group_scores
from benchsuite.pruning.selection import select_units
from benchsuite.pruning.settings import Budget, PruningSettings, Scope
from benchsuite.pruning.surgery import check_surgery, remove_units
from benchsuite.pruning.tracing.proof import randomise
from benchsuite.pruning.tracing.trace import trace

if TYPE_CHECKING:
    from benchsuite.pruning.graph import PruningGraph


def _vgg() -> nn.Module:
    """VGG with batch normalisation and a classifier for small images."""
    features = make_layers([8, "M", 16, "M", 32, 32, "M", 64, 64, "M"], batch_norm=True)
    model = models.VGG(features, init_weights=False)
    model.avgpool = nn.Identity()
    model.classifier = nn.Sequential(nn.Linear(64 * 2 * 2, 32), nn.ReLU(), nn.Linear(32, 10))
    return model


FAMILIES: dict[str, tuple[Any, int]] = {
    "resnet": (models.resnet18, 64),
    "vgg-bn": (_vgg, 32),
    "mobilenet": (models.mobilenet_v2, 64),
    "densenet": (lambda: models.DenseNet(8, (2, 2, 2, 2), 16), 64),
    "efficientnet": (models.efficientnet_b0, 64),
    "convnext": (lambda: timm.create_model("convnext_atto", num_classes=10), 64),
    "vit": (lambda: timm.create_model("vit_tiny_patch16_224", num_classes=10, img_size=32, depth=3), 32),
}


@cache
def traced(name: str) -> tuple[nn.Module, PruningGraph, Tensor]:
    build, size = FAMILIES[name]
    torch.manual_seed(0)
    model = build().eval()
    randomise(model)
    example = torch.randn(2, 3, size, size)
    return model, trace(model, example), example


@pytest.mark.slow
@pytest.mark.parametrize("scope", ["layer", "global", "protected"])
@pytest.mark.parametrize("budget", ["units", "params", "macs"])
@pytest.mark.parametrize("name", FAMILIES)
def test_pruned_equals_masked_and_the_target_is_met(name: str, budget: Budget, scope: Scope) -> None:
    model, graph, example = traced(name)
    assert {pin.layer for pin in graph.pinned if not pin.output} == set()
    settings = PruningSettings(scope=scope, budget=budget)
    scores = group_scores(graph, unit_scores(graph), settings)
    selection = select_units(graph, scores, settings, 0.4, seed=0)
    pruned = remove_units(model, graph, selection.removed)
    check = check_surgery(model, pruned, graph, selection.removed, example[:1])
    assert check.relative_difference < 1e-6
    cost = measure_cost(pruned, example)
    assert (cost.params, cost.macs) == (selection.params, selection.macs)
    dense = measure_cost(model, example)
    left = sum(pruned.get_submodule(layer.name).weight.shape[0] for layer in graph.layers)
    achieved = {
        "units": 1 - left / graph.units,
        "params": 1 - cost.params / dense.params,
        "macs": 1 - cost.macs / dense.macs,
    }[budget]
    # A target can be missed by at most half of what the largest position removes.
    costs = graph.cost_model
    steps = {
        "units": [sum(len(m.units[0]) for m in g.members) / graph.units for g in graph.groups],
        "params": [1 - costs.cost(costs.counts({g.name: 1}))[0] / dense.params for g in graph.groups],
        "macs": [1 - costs.cost(costs.counts({g.name: 1}))[1] / dense.macs for g in graph.groups],
    }[budget]
    assert abs(achieved - 0.4) <= max(steps) / 2 + 1e-12
