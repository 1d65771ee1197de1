"""Weight masks, compared with a direct implementation of the definition, and during training."""

from __future__ import annotations

import copy
from functools import cache
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pruning_networks import build, example
from torch import Tensor, nn

from benchsuite.errors import Collapsed, Unsupported
from benchsuite.metrics.cost import measure_cost
from benchsuite.pruning.base import GONE
from benchsuite.pruning.masks import WeightMasks, select_weights
from benchsuite.pruning.settings import Budget, PruningSettings, Scope
from benchsuite.pruning.tracing.trace import trace

if TYPE_CHECKING:
    from benchsuite.pruning.graph import PruningGraph

SCOPES: tuple[Scope, ...] = ("layer", "global", "protected")


@cache
def traced(name: str) -> tuple[nn.Module, PruningGraph]:
    model = build(name)
    return model, trace(model, example())


def magnitudes(graph: PruningGraph) -> dict[str, Tensor]:
    return {layer.name: layer.weight.abs() for layer in graph.weight_layers}


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("budget", ["params", "macs"])
@pytest.mark.parametrize("name", ["resnet", "mobilenet", "vit"])
def test_target_is_met_within_one_weight(name: str, budget: Budget, scope: Scope) -> None:
    model, graph = traced(name)
    dense = measure_cost(model, example())
    for sparsity in (0.1, 0.4, 0.6):
        selection = select_weights(graph, magnitudes(graph), PruningSettings(scope, budget), sparsity, seed=0)
        masked = copy.deepcopy(model)
        WeightMasks(selection.keep).apply_(masked)
        cost = measure_cost(masked, example())
        assert cost.params == dense.params
        assert cost.macs == dense.macs
        assert 1 - cost.nonzero_params / dense.params == pytest.approx(selection.params_removed, abs=1e-12)
        assert 1 - cost.nonzero_macs / dense.macs == pytest.approx(selection.macs_removed, abs=1e-12)
        if budget == "params":
            assert abs(selection.params_removed - sparsity) <= 0.5 / dense.params + 1e-12
        else:
            largest = max(graph.weight_macs.values())
            assert abs(selection.macs_removed - sparsity) <= 0.5 * largest / dense.macs + 1e-12


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 0.9), st.integers(0, 1000))
def test_global_scope_removes_the_smallest(sparsity: float, seed: int) -> None:
    _, graph = traced("resnet")
    generator = torch.Generator().manual_seed(seed)
    scores = {
        layer.name: torch.rand(layer.weight.shape, generator=generator, dtype=torch.float64)
        for layer in graph.weight_layers
    }
    chosen = PruningSettings("global", "params", normalise="none")
    try:
        selection = select_weights(graph, scores, chosen, sparsity, seed=0)
    except (Collapsed, Unsupported):
        return
    kept = torch.cat([scores[name][mask] for name, mask in selection.keep.items()])
    removed = torch.cat([scores[name][~mask] for name, mask in selection.keep.items()])
    assert abs(len(removed) - sparsity * measure_params("resnet")) <= 0.5 + 1e-9
    assert not len(removed) or float(removed.max()) < float(kept.min())


def measure_params(name: str) -> int:
    return sum(parameter.numel() for parameter in traced(name)[0].parameters())


def test_layer_scope_takes_the_same_fraction_of_each_layer() -> None:
    _, graph = traced("resnet")
    selection = select_weights(graph, magnitudes(graph), PruningSettings("layer", "params"), 0.5, seed=0)
    fractions = [1 - float(mask.double().mean()) for mask in selection.keep.values()]
    assert max(fractions) - min(fractions) <= max(1 / mask.numel() for mask in selection.keep.values())
    for name, mask in selection.keep.items():
        size = traced("resnet")[0].get_submodule(name).weight.detach().abs()
        assert float(size[~mask].max()) <= float(size[mask].min())


def test_protected_scope_keeps_its_floor() -> None:
    _, graph = traced("resnet")
    scores = magnitudes(graph)
    scores["conv1"] = scores["conv1"] * 1e-6
    chosen = PruningSettings("protected", "params", floor=0.2, normalise="none")
    selection = select_weights(graph, scores, chosen, 0.6, seed=0)
    assert float(selection.keep["conv1"].double().mean()) == pytest.approx(0.2, abs=1 / 72)
    with pytest.raises(Collapsed, match="every weight of conv1"):
        select_weights(graph, scores, PruningSettings("global", "params", normalise="none"), 0.6, seed=0)


def test_what_cannot_be_reached_says_how_far_one_gets() -> None:
    _, graph = traced("resnet")
    few = {"conv1": magnitudes(graph)["conv1"]}
    with pytest.raises(Unsupported, match=r"at most [0-9.]+% of the params, not 50\.0%"):
        select_weights(graph, few, PruningSettings("global", "params"), 0.5, seed=0)
    with pytest.raises(Unsupported, match='"params" or "macs", not "units"'):
        select_weights(graph, magnitudes(graph), PruningSettings("global", "units"), 0.5, seed=0)
    with pytest.raises(Unsupported, match="no scores for any layer"):
        select_weights(graph, {}, PruningSettings("global", "params"), 0.5, seed=0)
    with pytest.raises(ValueError, match="scores of conv1 have shape"):
        select_weights(graph, {"conv1": torch.ones(3)}, PruningSettings("global", "params"), 0.5, seed=0)


def test_layers_without_scores_stay_whole() -> None:
    _, graph = traced("resnet")
    scores = magnitudes(graph)
    del scores["fc"]
    selection = select_weights(graph, scores, PruningSettings("global", "params"), 0.5, seed=0)
    assert "fc" not in selection.keep


@pytest.mark.parametrize("scope", SCOPES)
def test_equal_scores_are_decided_by_the_seed_and_counted(scope: Scope) -> None:
    _, graph = traced("resnet")
    scores = {layer.name: torch.ones_like(layer.weight) for layer in graph.weight_layers}
    chosen = PruningSettings(scope, "params")
    one, same, other = (select_weights(graph, scores, chosen, 0.5, seed=seed) for seed in (0, 0, 1))
    assert all(torch.equal(one.keep[name], same.keep[name]) for name in one.keep)
    assert any(not torch.equal(one.keep[name], other.keep[name]) for name in one.keep)
    counted = sum(mask.numel() for mask in one.keep.values())
    assert one.ties == counted


def test_no_ties_are_counted_where_scores_differ() -> None:
    _, graph = traced("resnet")
    for scope in SCOPES:
        assert (
            select_weights(graph, magnitudes(graph), PruningSettings(scope, "params"), 0.5, seed=0).ties == 0
        )


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_masks_hold_exactly_through_training(momentum: float) -> None:
    model, graph = traced("resnet")
    model = copy.deepcopy(model).train()
    selection = select_weights(graph, magnitudes(graph), PruningSettings("global", "params"), 0.5, seed=0)
    keep_at_zero = WeightMasks(selection.keep).bind(model)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=momentum, weight_decay=1e-2)
    labels = torch.randint(5, (16,), generator=torch.Generator().manual_seed(0))
    before = {name: model.get_submodule(name).weight.detach().clone() for name in selection.keep}
    addresses = {name: model.get_submodule(name).weight.data_ptr() for name in selection.keep}
    for _ in range(5):
        loss = nn.functional.cross_entropy(model(example(16)), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        keep_at_zero()
        for name, mask in selection.keep.items():
            assert not model.get_submodule(name).weight[~mask].any()
    for name, mask in selection.keep.items():
        weight = model.get_submodule(name).weight.detach()
        assert bool((weight[mask] != before[name][mask]).any())
        assert weight.data_ptr() == addresses[name]


def test_masks_follow_the_precision_of_the_network() -> None:
    model, graph = traced("mlp")
    selection = select_weights(graph, magnitudes(graph), PruningSettings("layer", "params"), 0.5, seed=0)
    masks = WeightMasks(selection.keep)
    for dtype in (torch.float32, torch.float64):
        masked = copy.deepcopy(model).to(dtype)
        masks.apply_(masked)
        for name, mask in selection.keep.items():
            expected = model.get_submodule(name).weight.detach().to(dtype) * mask
            assert torch.equal(masked.get_submodule(name).weight, expected)


@pytest.mark.slow
def test_ten_million_weights() -> None:
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 3000), nn.ReLU(), nn.Linear(3000, 3300), nn.Linear(3300, 5)
    )
    graph = trace(model, example())
    selection = select_weights(graph, magnitudes(graph), PruningSettings("protected", "macs"), 0.9, seed=0)
    assert selection.macs_removed == pytest.approx(0.9, abs=1e-6)


@pytest.mark.parametrize("budget", ["params", "macs"])
@pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.8])
def test_row_scope_takes_the_lowest_of_each_row_at_one_fraction(budget: Budget, sparsity: float) -> None:
    _, graph = traced("resnet")
    generator = torch.Generator().manual_seed(0)
    scores = {
        layer.name: torch.rand(layer.weight.shape, generator=generator) for layer in graph.weight_layers
    }
    # Rows of very different sizes: only the order within a row may count.
    scaled = {
        name: score * 10 ** torch.arange(len(score)).double().view(-1, *[1] * (score.ndim - 1))
        for name, score in scores.items()
    }
    chosen = PruningSettings("row", budget)
    selection = select_weights(graph, scaled, chosen, sparsity, seed=0)
    removed = selection.params_removed if budget == "params" else selection.macs_removed
    assert removed == pytest.approx(sparsity, abs=0.01)
    lost, next_lost = [], []
    for name, score in scores.items():
        for row, keep in zip(score.flatten(1), selection.keep[name].flatten(1), strict=True):
            gone = int((~keep).sum())
            lowest = torch.zeros_like(keep).index_fill(0, row.argsort()[:gone], 1)
            assert torch.equal(lowest, ~keep)
            lost.append(gone / len(row))
            next_lost.append((gone + 1) / len(row))
    assert max(lost) <= min(next_lost)


def test_ties_in_rows_are_those_at_each_rows_cut() -> None:
    _, graph = traced("mlp")
    scores = {layer.name: torch.ones_like(layer.weight) for layer in graph.weight_layers[:1]}
    scores = {name: score + torch.arange(score.shape[1]) for name, score in scores.items()}
    (name,) = scores
    scores[name][3] = 1.0  # one row of equal weights
    selection = select_weights(graph, scores, PruningSettings("row", "params"), 0.2, seed=0)
    gone = (~selection.keep[name]).sum(1)
    assert int(gone.min()) > 0
    assert selection.ties == scores[name].shape[1]


class Tied(nn.Module):
    """Two layers, one before and one behind another, with one weight."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.enter, self.middle = nn.Linear(64, 6), nn.Linear(6, 8, bias=False)
        self.first = nn.Linear(8, 8, bias=False)
        self.second, self.last = nn.Linear(8, 8, bias=False), nn.Linear(8, 5)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        x = self.middle(self.enter(x.flatten(1)).relu()).relu()
        return self.last(self.second(self.first(x).relu()).relu())


@pytest.mark.parametrize("budget", ["params", "macs"])
def test_a_weight_that_layers_share_is_one_weight(budget: Budget) -> None:
    model = Tied().eval()
    graph = trace(model, example())
    assert [layer.name for layer in graph.weight_layers] == ["enter", "middle", "first", "last"]
    params, macs = 65 * 6 + 48 + 64 + 9 * 5, 64 * 6 + 48 + 2 * 64 + 8 * 5
    selection = select_weights(graph, magnitudes(graph), PruningSettings("layer", budget), 0.5, seed=0)
    WeightMasks(selection.keep).apply_(model)
    gone = {name: int((~mask).sum()) for name, mask in selection.keep.items()}
    assert selection.params_removed == pytest.approx(sum(gone.values()) / params)
    assert selection.macs_removed == pytest.approx((sum(gone.values()) + gone["first"]) / macs)
    assert torch.equal(model.second.weight == 0, ~selection.keep["first"])
    cost = measure_cost(model, example())
    assert cost.nonzero_params == params - sum(gone.values())
    assert cost.nonzero_macs == macs - sum(gone.values()) - gone["first"]


@pytest.mark.parametrize("scope", ["layer", "row", "global", "protected"])
def test_no_cut_brings_weights_back(scope: Scope) -> None:
    _, graph = traced("mlp")
    for seed in range(4):
        gone = {
            layer.name: torch.zeros(layer.weight.shape, dtype=torch.bool) for layer in graph.weight_layers
        }
        for number in range(1, 7):
            generator = torch.Generator().manual_seed(100 * seed + number)
            scores = {
                name: torch.rand(mask.shape, generator=generator).masked_fill(mask, GONE)
                for name, mask in gone.items()
            }
            chosen = PruningSettings(scope, "params", normalise="none")
            keep = select_weights(graph, scores, chosen, 0.08 * number, seed=number).keep
            assert not any((keep[name] & mask).any() for name, mask in gone.items())
            gone = {name: ~mask for name, mask in keep.items()}
