"""Pruned networks compared with masked ones, and with results computed by hand."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pruning_networks import NETWORKS, build, example, unit_scores
from torch import nn

from benchsuite.errors import Collapsed
from benchsuite.metrics.cost import measure_cost
from benchsuite.pruning.group_scores import group_scores
from benchsuite.pruning.selection import select_units
from benchsuite.pruning.settings import Budget, PruningSettings, Scope
from benchsuite.pruning.surgery import SurgeryFailed, check_surgery, remove_units
from benchsuite.pruning.tracing.trace import trace

if TYPE_CHECKING:
    from benchsuite.pruning.graph import PruningGraph


@cache
def traced(name: str) -> tuple[nn.Module, PruningGraph]:
    model = build(name)
    return model, trace(model, example())


@pytest.mark.parametrize("scope", ["layer", "global", "protected"])
@pytest.mark.parametrize("budget", ["units", "params", "macs"])
@pytest.mark.parametrize("name", NETWORKS)
def test_pruned_equals_masked_and_the_target_is_met(name: str, budget: Budget, scope: Scope) -> None:
    model, graph = traced(name)
    chosen = PruningSettings(scope=scope, budget=budget, normalise="none")
    scores = group_scores(graph, unit_scores(graph), chosen)
    dense = measure_cost(model, example())
    for sparsity in (0.2, 0.4):
        selection = select_units(graph, scores, chosen, sparsity, seed=0)
        pruned = remove_units(model, graph, selection.removed)
        check = check_surgery(model, pruned, graph, selection.removed, example(4))
        assert check.dtype == "float64"
        assert check.relative_difference < 1e-9
        cost = measure_cost(pruned, example())
        assert (cost.params, cost.macs) == (selection.params, selection.macs)
        achieved = {
            "units": 1 - _units(pruned, graph) / graph.units,
            "params": 1 - cost.params / dense.params,
            "macs": 1 - cost.macs / dense.macs,
        }[budget]
        assert abs(achieved - sparsity) <= _largest_step(graph, budget) / 2 + 1e-12


def _units(model: nn.Module, graph: PruningGraph) -> int:
    return sum(model.get_submodule(layer.name).weight.shape[0] for layer in graph.layers)


def _largest_step(graph: PruningGraph, budget: Budget) -> float:
    """The largest share of a budget that a single position of the dense network has."""
    model = graph.cost_model
    dense = model.cost(model.counts({}))
    steps = []
    for group in graph.groups:
        if budget == "units":
            steps.append(sum(len(member.units[0]) for member in group.members) / graph.units)
        else:
            index = 0 if budget == "params" else 1
            steps.append(1 - model.cost(model.counts({group.name: 1}))[index] / dense[index])
    return max(steps)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(NETWORKS)), st.randoms(use_true_random=False))
def test_predicted_cost_is_the_counted_one(name: str, random: object) -> None:
    model, graph = traced(name)
    removed = {
        group.name: tuple(random.sample(range(group.size), random.randrange(group.size)))  # type: ignore[attr-defined]
        for group in graph.groups
    }
    counts = graph.cost_model.counts({name: len(positions) for name, positions in removed.items()})
    cost = measure_cost(remove_units(model, graph, removed), example())
    assert graph.cost_model.cost(counts) == (cost.params, cost.macs)


def test_mlp_without_units_is_the_one_with_smaller_matrices() -> None:
    model, graph = traced("mlp")
    pruned = remove_units(model, graph, {"1": (0, 7), "3": (2,)})
    keep1 = [unit for unit in range(20) if unit not in (0, 7)]
    keep3 = [unit for unit in range(10) if unit != 2]
    w = {name: value.double().numpy() for name, value in model.state_dict().items()}
    x = example().flatten(1).double().numpy()
    x = 1 / (1 + np.exp(-(x @ w["1.weight"][keep1].T + w["1.bias"][keep1])))
    x = 1 / (1 + np.exp(-(x @ w["3.weight"][np.ix_(keep3, keep1)].T + w["3.bias"][keep3])))
    expected = x @ w["5.weight"][:, keep3].T + w["5.bias"]
    with torch.no_grad():
        np.testing.assert_allclose(pruned.double()(example().double()).numpy(), expected, rtol=1e-10)


def test_dense_network_is_left_as_it_was() -> None:
    model, graph = traced("mobilenet")
    before = copy.deepcopy(model.state_dict())
    pruned = remove_units(model, graph, {"expand.0": (1, 3)})
    with torch.no_grad():
        for parameter in pruned.parameters():
            parameter.zero_()
    check_surgery(model, remove_units(model, graph, {"stem.0": (1,)}), graph, {"stem.0": (1,)}, example())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_removing_nothing_changes_nothing() -> None:
    model, graph = traced("resnet")
    pruned = remove_units(model, graph, {})
    assert torch.equal(pruned(example()), model(example()))
    assert check_surgery(model, pruned, graph, {}, example()).max_difference == 0


def test_an_emptied_layer_is_refused() -> None:
    model, graph = traced("mlp")
    with pytest.raises(Collapsed, match="3"):
        remove_units(model, graph, {"3": range(10)})


def test_unknown_group_is_refused() -> None:
    model, graph = traced("mlp")
    with pytest.raises(KeyError, match="no coupled group 'fc'"):
        remove_units(model, graph, {"fc": (0,)})


def test_wrong_unit_removed_is_noticed() -> None:
    model, graph = traced("resnet")
    pruned = remove_units(model, graph, {"stage1.conv1": (3,)})
    with pytest.raises(SurgeryFailed, match="differs from the masked one"):
        check_surgery(model, pruned, graph, {"stage1.conv1": (4,)}, example())


def test_wrong_input_removed_is_noticed() -> None:
    """The reference must not make the same mistake as the surgery in what readers lose."""
    model, graph = traced("vgg")
    cuts = {
        name: tuple(
            replace(cut, entries=cut.entries[::-1].copy()) if cut.axis.side == "in" else cut for cut in parts
        )
        for name, parts in graph.cuts.items()
    }
    wrong = replace(graph, cuts=cuts)
    pruned = remove_units(model, wrong, {"4": (1,)})
    with pytest.raises(SurgeryFailed, match="differs from the masked one"):
        check_surgery(model, pruned, wrong, {"4": (1,)}, example())


def test_a_lost_gradient_is_noticed() -> None:
    model, graph = traced("mlp")
    pruned = remove_units(model, graph, {"1": (0,)})
    pruned.get_submodule("1").register_forward_hook(lambda module, inputs, output: output.detach())
    with pytest.raises(SurgeryFailed, match=r"no gradient reaches 1\.bias, 1\.weight"):
        check_surgery(model, pruned, graph, {"1": (0,)}, example())


def test_a_state_that_does_not_come_back_is_noticed() -> None:
    model, graph = traced("mlp")
    pruned = remove_units(model, graph, {"1": (0,)})
    pruned.register_load_state_dict_pre_hook(
        lambda module, state, *rest: state.update({"1.bias": state["1.bias"] + 1})
    )
    with pytest.raises(SurgeryFailed, match=r"1\.bias .* saving and loading"):
        check_surgery(model, pruned, graph, {"1": (0,)}, example())


def test_network_that_insists_on_float32_is_compared_there() -> None:
    class Insists(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(64, 8)
            self.fc = nn.Linear(8, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(torch.relu(self.first(x.flatten(1))).float())

    torch.manual_seed(0)
    model = Insists()
    graph = trace(model, example())
    pruned = remove_units(model, graph, {"first": (1,)})
    check = check_surgery(model, pruned, graph, {"first": (1,)}, example())
    assert check.dtype == "float32"
    assert check.relative_difference < check.tolerance


def test_pruned_network_trains() -> None:
    model, graph = traced("vit")
    pruned = remove_units(model, graph, {"attention.qkv": (0,), "patches": (3, 4)}).train()
    optimiser = torch.optim.SGD(pruned.parameters(), lr=0.05)
    inputs, labels = example(32), torch.randint(5, (32,), generator=torch.Generator().manual_seed(0))
    losses = []
    for _ in range(20):
        loss = nn.functional.cross_entropy(pruned(inputs), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
