"""Recurrent layers: what they read can go, and features of which a view makes maps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pruning_networks import CLASSES, check_cut, example
from torch import Tensor, nn

from benchsuite.pruning.native import merge_units
from benchsuite.pruning.tracing.trace import trace

LAYERS = {
    "LSTM": (nn.LSTM, {}),
    "GRU": (nn.GRU, {}),
    "RNN": (nn.RNN, {}),
    "both directions": (nn.LSTM, {"bidirectional": True, "num_layers": 2}),
    "without biases": (nn.GRU, {"bias": False, "num_layers": 2}),
    "time first": (nn.GRU, {"batch_first": False}),
}
READS = {
    "mean": lambda out, _: out.mean(1),
    "last step": lambda out, _: out[:, -1],
    "last state": lambda _, state: (state[0] if isinstance(state, tuple) else state)[-1],
}


class Sequence(nn.Module):
    """The positions of a convolution's maps are the steps of a recurrent layer."""

    def __init__(self, layer: str, reads: str) -> None:
        super().__init__()
        kind, options = LAYERS[layer]
        self.reads = READS[reads]
        self.first, self.norm = nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.recurrent = kind(6, 5, **{"batch_first": True, **options})
        wide = 10 if self.recurrent.bidirectional and reads != "last state" else 5
        self.behind, self.head = nn.Linear(wide, 7), nn.Linear(7, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.first(x)).relu().flatten(2).transpose(1, 2)
        batch_first = self.recurrent.batch_first
        out, state = self.recurrent(x if batch_first else x.transpose(0, 1))
        found = self.reads(out if batch_first else out.transpose(0, 1), state)
        return self.head(self.behind(found).relu())  # type: ignore[no-any-return]


def sequence(layer: str = "LSTM", reads: str = "mean") -> Sequence:
    torch.manual_seed(0)
    return Sequence(layer, reads).eval()


@pytest.mark.parametrize("reads", READS)
@pytest.mark.parametrize("layer", LAYERS)
def test_what_a_recurrent_layer_reads_can_go(layer: str, reads: str) -> None:
    network = sequence(layer, reads)
    graph = trace(network, example())
    assert {group.name: group.size for group in graph.groups} == {"first": 6, "behind": 7}
    assert all(pin.output for pin in graph.pinned)
    assert graph.groups[0].readers == (), "there is no weight of units to see"
    smaller: Any = check_cut(network, graph, {"first": (0, 2), "behind": (3,)})
    assert smaller.recurrent.input_size == smaller.recurrent.weight_ih_l0.shape[1] == 4
    again = check_cut(smaller, graph.without({"first": (0, 2), "behind": (3,)}, smaller), {"first": (3,)})
    again.train()(example()).square().sum().backward()
    assert all(parameter.grad is not None for parameter in again.parameters())


class Beside(Sequence):
    """What the recurrent layer returns is added to what it reads."""

    def __init__(self) -> None:
        super().__init__("LSTM", "mean")
        self.recurrent, self.behind = nn.LSTM(6, 6, batch_first=True), nn.Linear(6, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).flatten(2).transpose(1, 2)
        return self.head(self.behind((x + self.recurrent(x)[0]).mean(1)))  # type: ignore[no-any-return]


class OverChannels(Sequence):
    """Its steps are the channels."""

    def __init__(self) -> None:
        super().__init__("LSTM", "mean")
        self.recurrent = nn.LSTM(64, 5, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.behind(self.recurrent(self.first(x).flatten(2))[0][:, -1]))  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", [Beside, OverChannels])
def test_what_else_meets_a_recurrent_layer_stays(kind: type[Sequence]) -> None:
    torch.manual_seed(0)
    network = kind().eval()  # type: ignore[call-arg]
    graph = trace(network, example())
    assert {group.name for group in graph.groups} == {"behind"}
    assert "first" in {pin.layer for pin in graph.pinned}
    check_cut(network, graph, {"behind": (0, 1)})


def test_twins_are_merged_in_every_direction() -> None:
    network = sequence("both directions")
    with torch.no_grad():
        for parameter in (*network.first.parameters(), *network.norm.parameters()):
            parameter[4] = parameter[1]
    graph = trace(network, example())
    merged = merge_units(network, graph, {"first": [(4, 1)]}, {"first": (4,)})
    smaller = check_cut(merged, graph, {"first": (4,)})
    torch.testing.assert_close(smaller(example()), network(example()))


class Unflattened(nn.Module):
    """Features become maps, as in decoders."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.width = how, 6
        self.first, self.maps = nn.Linear(64, 24), nn.Unflatten(1, (6, 2, 2))
        self.up, self.conv = nn.ConvTranspose2d(6, 5, 2, 2), nn.Conv2d(5, 7, 3, padding=1)
        self.head = nn.Linear(7, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x.flatten(1)).relu()
        match self.how:
            case "rest":
                x = x.view(len(x), -1, 2, 2)
            case "attribute":
                x = x.view(-1, self.width, 2, 2)
            case "module":
                x = self.maps(x)
            case "number":
                x = x.view(len(x), 6, 2, 2)
        return self.head(self.conv(self.up(x).relu()).relu().mean((2, 3)))  # type: ignore[no-any-return]


@pytest.mark.parametrize("how", ["rest", "attribute", "module", "number"])
def test_features_of_one_map_go_together(how: str) -> None:
    torch.manual_seed(0)
    network = Unflattened(how).eval()
    graph = trace(network, example())
    of_first = [group for group in graph.groups if group.members[0].layer == "first"]
    if how == "number":
        assert of_first == []
        return
    (group,) = of_first
    assert group.members[0].units == tuple(tuple(range(4 * n, 4 * n + 4)) for n in range(6))
    smaller: Any = check_cut(network, graph, {"first": (0, 5), "conv": (2,)})
    assert (smaller.first.out_features, smaller.up.in_channels) == (16, 4)
