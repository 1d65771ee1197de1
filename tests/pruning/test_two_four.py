"""The 2:4 pattern, checked weight by weight."""

from __future__ import annotations

import copy

import pytest
import torch
from pruning_networks import build, example
from torch import nn

from benchsuite.errors import Unsupported
from benchsuite.metrics.cost import measure_cost
from benchsuite.pruning.masks import WeightMasks
from benchsuite.pruning.networks import MaskedNetwork, SmallerNetwork
from benchsuite.pruning.plain_form import make_plain
from benchsuite.pruning.settings import PruningSettings
from benchsuite.pruning.tracing.trace import trace
from benchsuite.pruning.two_four import select_two_four


def test_the_two_best_of_every_four_inputs_stay() -> None:
    model = build("resnet")
    graph = trace(model, example())
    scores = {layer.name: layer.weight.abs() for layer in graph.weight_layers}
    selection = select_two_four(graph, scores, seed=0)
    assert set(selection.keep) == {layer.name for layer in graph.weight_layers} - {"conv1"}
    for name, mask in selection.keep.items():
        for unit in range(mask.shape[0]):
            for start in range(0, mask.shape[1], 4):
                for place in torch.cartesian_prod(*map(torch.arange, (1, *mask.shape[2:]))).view(
                    -1, mask.ndim - 1
                ):
                    index = (unit, slice(start, start + 4), *place[1:].tolist())
                    best = scores[name][index].topk(2).indices.tolist()
                    assert mask[index].nonzero().flatten().tolist() == sorted(best)
    assert selection.ties == 0
    masked = copy.deepcopy(model)
    WeightMasks(selection.keep).apply_(masked)
    dense, cost = measure_cost(model, example()), measure_cost(masked, example())
    assert selection.params_removed == pytest.approx(1 - cost.nonzero_params / dense.params)
    assert selection.macs_removed == pytest.approx(1 - cost.nonzero_macs / dense.macs)


def test_equal_scores_are_decided_by_the_seed_and_counted() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Linear(8, 5))
    graph = trace(model, example())
    scores = {"1": torch.ones(8, 64)}
    scores["1"][:, 2::4] = 2.0
    scores["1"][:, 3::4] = 3.0
    assert select_two_four(graph, scores, seed=0).ties == 0
    scores["1"][:, 3::4] = 1.0
    one, same, other = (select_two_four(graph, scores, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one.keep["1"], same.keep["1"])
    assert not torch.equal(one.keep["1"], other.keep["1"])
    assert bool(one.keep["1"][:, 2::4].all())
    assert one.ties == 3 * 8 * 16


def test_networks_without_fours_are_unsupported() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 6), nn.Linear(6, 5))
    graph = trace(model, example())
    with pytest.raises(Unsupported, match="divided by four"):
        select_two_four(graph, {"2": torch.ones(5, 6)}, seed=0)
    with pytest.raises(ValueError, match="scores of 1 have shape"):
        select_two_four(graph, {"1": torch.ones(5, 6)}, seed=0)


def _network(kind: type[MaskedNetwork] | type[SmallerNetwork]) -> MaskedNetwork | SmallerNetwork:
    model = build("resnet")
    cost = measure_cost(model, example())
    settings = PruningSettings(scope="2:4")
    return kind(model, trace(model, example()), cost, settings, 0, example())


def test_the_scope_keeps_the_exact_pattern_through_recovery() -> None:
    network = _network(MaskedNetwork)
    scores = {layer.name: layer.weight.detach().abs() for layer in network.layers}
    network.cut(scores, 0.5, dict)
    assert network.after_step is not None
    optimizer = torch.optim.SGD(network.model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)
    before = {layer.name: layer.weight.detach().clone() for layer in network.layers}
    for _ in range(3):
        optimizer.zero_grad()
        network.model.train()(torch.randn(4, *example().shape[1:])).square().mean().backward()
        optimizer.step()
        network.after_step()
    for layer in network.layers:
        weight = layer.weight.detach()
        assert not torch.equal(weight, before[layer.name])
        if layer.name == "conv1":
            assert bool(weight.all())
            continue
        fours = weight.movedim(1, -1).reshape(-1, 4)
        best = scores[layer.name].movedim(1, -1).reshape(-1, 4).topk(2).indices
        assert bool(((fours != 0).sum(1) == 2).all())
        assert bool((fours.gather(1, best) != 0).all())
    assert network.metrics["sparsity/params"] == pytest.approx(
        1 - measure_cost(network.model, example()).nonzero_params / network.cost.params
    )


def test_the_scope_is_for_half_of_single_weights() -> None:
    with pytest.raises(Unsupported, match='granularity = "weight"'):
        _network(SmallerNetwork)
    network = _network(MaskedNetwork)
    scores = {layer.name: layer.weight.detach().abs() for layer in network.layers}
    with pytest.raises(Unsupported, match=r"is 0\.5, not 0\.3"):
        network.cut(scores, 0.3, dict)
    with pytest.raises(Unsupported, match="not native"):
        network.cut_by_rule({}, {})


@pytest.mark.parametrize(("inputs", "units", "pruned"), [(8, 12, True), (6, 10, False), (10, 6, False)])
def test_no_four_of_a_recurrent_layer_lie_in_both_of_its_matrices(
    inputs: int, units: int, pruned: bool
) -> None:
    class Steps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru, self.head = nn.GRU(inputs, units, batch_first=True), nn.Linear(units, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.head(self.gru(x)[0][:, -1])
            return out

    model, x = Steps().eval(), torch.randn(2, 5, inputs)
    make_plain(model, x)
    graph = trace(model, x)
    scores = {layer.name: layer.weight.abs() for layer in graph.weight_layers if layer.kind == "recurrent"}
    if not pruned:
        with pytest.raises(Unsupported, match="divided by four"):
            select_two_four(graph, scores, seed=0)
        return
    (mask,) = select_two_four(graph, scores, seed=0).keep.values()
    for matrix in (mask[:, :inputs], mask[:, inputs:]):
        assert (matrix.unflatten(1, (-1, 4)).sum(2) == 2).all()
