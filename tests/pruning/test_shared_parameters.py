"""Layers that share a parameter lose the same units, and share the smaller parameter."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pruning_networks import check_cut, drawn_cut, example
from torch import Tensor, nn

from benchsuite.pruning.surgery import remove_units
from benchsuite.pruning.tracing.trace import trace
from benchsuite.trials.dissection import kept_units


class Chain(nn.Module):
    """Layers one after another with one weight, each with a bias of its own or one for all."""

    def __init__(self, number: int, *, skips: bool, one_bias: bool) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(64, 12), nn.Linear(12, 5)
        self.layers = nn.ModuleList(nn.Linear(12, 12) for _ in range(number))
        self.skips = skips
        for layer in self.layers:
            layer.weight = self.layers[0].weight
            if one_bias:
                layer.bias = self.layers[0].bias

    def forward(self, images: Tensor) -> Tensor:
        x = torch.relu(self.first(images.flatten(1)))
        for layer in self.layers:
            x = torch.relu(layer(x)) + (x if self.skips else 0)
        found: Tensor = self.head(x)
        return found


class Branches(nn.Module):
    """Two branches whose convolutions share a weight and whose norms share a scale."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3, padding=1)
        self.left, self.right = (nn.Conv2d(8, 6, 3, padding=1) for _ in range(2))
        self.left_norm, self.right_norm = nn.BatchNorm2d(6), nn.BatchNorm2d(6)
        self.right.weight, self.right_norm.weight = self.left.weight, self.left_norm.weight
        self.head = nn.Linear(12, 5)

    def forward(self, images: Tensor) -> Tensor:
        x = torch.relu(self.first(images))
        branches = [torch.relu(self.left_norm(self.left(x))), torch.tanh(self.right_norm(self.right(x)))]
        found: Tensor = self.head(torch.cat(branches, 1).mean((2, 3)))
        return found


class Apart(nn.Module):
    """Two convolutions with one weight, far apart and between other layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.one = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 6, 3, groups=2)
        self.between, self.other = nn.Conv2d(6, 8, 1), nn.Conv2d(8, 6, 3, groups=2)
        self.other.weight = self.one.weight
        self.head = nn.Linear(6, 5)

    def forward(self, images: Tensor) -> Tensor:
        x = torch.relu(self.one(torch.relu(self.first(images))))
        x = torch.relu(self.other(torch.relu(self.between(x))))
        found: Tensor = self.head(x.mean((2, 3)))
        return found


class WithEmbedding(nn.Module):
    """A last layer with the weight of an embedding."""

    largest: float | None = None

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(64, 16), nn.Linear(16, 8)
        self.words = nn.Embedding(5, 8, max_norm=self.largest)
        self.head = nn.Linear(8, 5, bias=False)
        self.head.weight = self.words.weight

    def forward(self, images: Tensor) -> Tensor:
        x = torch.relu(self.second(torch.relu(self.first(images.flatten(1)))))
        x = x + self.words(torch.zeros(len(x), dtype=torch.long))
        found: Tensor = self.head(x)
        return found


class WithLargestNorm(WithEmbedding):
    """A largest norm is one of all columns together, so that none can go."""

    largest = 100.0


NETWORKS = {
    "two": lambda: Chain(2, skips=False, one_bias=False),
    "one bias": lambda: Chain(2, skips=False, one_bias=True),
    "six with skips": lambda: Chain(6, skips=True, one_bias=False),
    "branches": Branches,
    "apart": Apart,
    "embedding": WithEmbedding,
    "largest norm": WithLargestNorm,
}
WHOLE = {"largest norm": {"second"}}


def built(name: str) -> nn.Module:
    torch.manual_seed(0)
    network: nn.Module = NETWORKS[name]().eval()
    return network


def shared(network: nn.Module) -> list[set[str]]:
    """The names under which each parameter goes that has several."""
    names: dict[nn.Parameter, set[str]] = {}
    for name, parameter in network.named_parameters(remove_duplicate=False):
        names.setdefault(parameter, set()).add(name)
    return sorted((each for each in names.values() if len(each) > 1), key=min)


@pytest.mark.parametrize("name", NETWORKS)
def test_all_their_units_can_go(name: str) -> None:
    network = built(name)
    graph = trace(network, example())
    layers = {n for n, m in network.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)}
    layers -= {"head"} | WHOLE.get(name, set())
    weights = {id(network.get_submodule(n).get_parameter("weight")) for n in layers}
    # Of those that share a weight the first is scored, and stands for the others.
    assert {layer.name for layer in graph.layers} | graph.shared.keys() == layers
    assert len(graph.layers) == len(weights)
    assert sum(u for layer in graph.layers if (u := layer.units)) == graph.units


@pytest.mark.parametrize("name", NETWORKS)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_any_cut_computes_what_the_masked_network_does_and_costs_what_is_said(
    name: str, data: st.DataObject
) -> None:
    network = built(name)
    graph = trace(network, example())
    smaller = check_cut(network, graph, drawn_cut(data, graph))
    assert shared(smaller) == shared(network) != []


def test_where_no_gradient_leads_to_the_first_of_them_they_stay() -> None:
    class Detached(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.one, self.other = nn.Linear(64, 8), nn.Linear(8, 8), nn.Linear(8, 8)
            self.other.weight, self.head = self.one.weight, nn.Linear(8, 5)

        def forward(self, images: Tensor) -> Tensor:
            x = torch.relu(self.first(images.flatten(1)))
            with torch.no_grad():
                aim = torch.tanh(self.one(x))
            scores: Tensor = self.head(torch.relu(self.other(x)) + aim)
            return scores

    graph = trace(Detached().eval(), example())
    assert graph.layers == ()
    assert "other (one, other share a parameter)" in graph.what_stays()


@pytest.mark.parametrize("name", ["two", "branches", "apart"])
def test_of_each_of_them_the_same_units_are_known_to_be_left(name: str) -> None:
    network = built(name)
    graph = trace(network, example())
    removed = {group.name: (0, group.size - 1) for group in graph.groups if group.size > 2}
    smaller, kept = remove_units(network, graph, removed), kept_units(graph, removed)
    assert graph.shared.keys() <= kept.keys()
    for layer, left in kept.items():
        bias, all_of_it = (each.get_submodule(layer).get_parameter("bias") for each in (smaller, network))
        assert torch.equal(bias, all_of_it[list(left)])


def test_what_shares_with_a_module_that_cannot_be_cut_stays_and_says_so() -> None:
    assert "second (words, head share a parameter)" in trace(built("largest norm"), example()).what_stays()
