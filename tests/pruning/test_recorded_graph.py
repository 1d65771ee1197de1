"""The graph of a forward pass: layers as one node each, parameters outside of layers, operations between."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from benchsuite.errors import Unsupported
from benchsuite.pruning.tracing.recorded_graph import Node, RecordedGraph, is_depthwise, record


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.depthwise = nn.Conv2d(4, 4, 1, groups=4)
        self.fc = nn.Linear(4, 3)
        self.scale = nn.Parameter(torch.ones(4, 1, 1))
        self.number = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).relu()
        x = self.depthwise(x) * self.scale + x
        return self.fc(x.mean((2, 3))) * self.number


def recorded() -> tuple[Small, RecordedGraph]:
    model = Small()
    return model, record(model, torch.rand(2, 1, 6, 6))


def kinds(nodes: list[Node]) -> list[str]:
    return [type(node.owner).__name__ if node.owner is not None else node.operation.name() for node in nodes]


def test_what_is_read_and_made_is_recorded() -> None:
    model, graph = recorded()
    assert set(graph.of_layer) == {model.conv, model.depthwise, model.fc}
    assert kinds(graph.of_layer[model.conv].outputs) == ["ReluBackward0"]
    (relu,) = graph.of_layer[model.conv].outputs
    assert sorted(kinds(relu.outputs)) == ["AddBackward0", "Conv2d"]
    (product,) = graph.of_layer[model.depthwise].outputs
    assert kinds(product.inputs) == ["Conv2d", "Parameter"]
    assert graph.names[model.scale] == "scale"
    assert model.number not in {node.owner for node in graph.nodes}, "a single number has no channels"
    assert not graph.nodes[0].outputs
    assert model.fc.weight not in {node.owner for node in graph.nodes}


def test_edges_know_their_ends() -> None:
    model, graph = recorded()
    conv, depthwise, fc = (graph.of_layer[layer] for layer in (model.conv, model.depthwise, model.fc))
    assert (conv.reading, conv.making) == ("in", "out")
    assert (depthwise.reading, depthwise.making) == ("through", "through")
    assert not list(conv.edges("in")), "it reads the network's input alone"
    assert [(place, node.owner, end) for place, node, end in conv.edges("out")] == [(0, None, "through")]
    assert [node.owner for _, node, _ in depthwise.edges("through")] == [None, None]
    mean, _ = (node for _, node, _ in fc.edges("in"))  # and the transposition of its weight
    assert [(node.owner, end) for _, node, end in mean.edges("through")] == [
        (None, "through"),
        (model.fc, "in"),
    ]


def test_every_edge_is_known_at_both_of_its_ends() -> None:
    _, graph = recorded()
    for node in graph.nodes:
        for source in node.inputs:
            assert source.outputs.count(node) == node.inputs.count(source)


def test_a_layer_that_is_used_twice_is_one_node() -> None:
    shared = nn.Linear(4, 4)
    model = nn.Sequential(shared, nn.ReLU(), shared, nn.Tanh())
    graph = record(model, torch.rand(2, 4))
    assert list(graph.of_layer) == [shared]
    assert sorted(kinds(graph.of_layer[shared].outputs)) == ["ReluBackward0", "TanhBackward0"]
    assert kinds(graph.of_layer[shared].inputs).count("ReluBackward0") == 1


@pytest.mark.parametrize(
    ("conv", "depthwise"),
    [
        (nn.Conv2d(4, 4, 1, groups=4), True),
        (nn.Conv2d(8, 4, 1, groups=4), False),
        (nn.Conv2d(4, 8, 1, groups=4), False),
        (nn.Conv2d(1, 1, 1), False),
        (nn.Conv2d(4, 4, 1), False),
    ],
)
def test_what_is_depthwise(conv: nn.Conv2d, depthwise: bool) -> None:
    assert is_depthwise(conv) is depthwise


def test_an_output_that_no_gradient_reaches_is_told() -> None:
    class Counting(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x > 0).sum(1)

    for model in (Counting(), nn.Flatten()):
        with pytest.raises(Unsupported, match="no gradient leads"):
            record(model, torch.rand(2, 4))


def test_nothing_stays_on_the_network() -> None:
    model, _ = recorded()
    assert not any(module._forward_hooks for module in model.modules())
