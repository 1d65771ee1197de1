"""Gates of one channel, gated linear units and shuffled pixels: what goes with what."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pruning_networks import check_cut, drawn_cut, example
from torch import Tensor, nn
from torch.nn import functional

from benchsuite.pruning.tracing.proof import randomise
from benchsuite.pruning.tracing.trace import trace


class Gate(nn.Module):
    """Maps times a gate of one channel that is computed from them."""

    def __init__(self, channels: int, *, residual: bool) -> None:
        super().__init__()
        self.gate, self.residual = nn.Conv2d(channels, 1, 3, padding=1), residual

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(self.gate(x))
        return x + x * gate if self.residual else gate * x


class Expanded(nn.Module):
    """Maps minus one channel that is repeated for each of them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.one = nn.Conv2d(channels, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x - self.one(x).expand_as(x)


class Glu(nn.Module):
    """A convolution with twice the channels, and a gated linear unit."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.both = nn.Conv2d(channels, 2 * channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return functional.glu(self.both(x), dim=1)


class Upscaled(nn.Module):
    """A convolution whose channels become pixels, and channels again behind a layer."""

    def __init__(self, channels: int, *, back: bool) -> None:
        super().__init__()
        self.four = nn.Conv2d(channels, 4 * channels, 3, padding=1)
        self.behind = nn.Conv2d(channels, channels // 4, 1)
        self.back = back

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(functional.pixel_shuffle(self.four(x), 2))
        return functional.pixel_unshuffle(torch.relu(self.behind(x)), 2) if self.back else x


class Maps(nn.Module):
    """Two convolutions and a classifier, with something between the convolutions."""

    def __init__(self, between: nn.Module) -> None:
        super().__init__()
        self.first, self.between = nn.Conv2d(1, 8, 3, padding=1), between
        self.second, self.head = nn.Conv2d(8, 6, 3, padding=1), nn.Linear(6, 5)

    def forward(self, images: Tensor) -> Tensor:
        x = self.between(torch.relu(self.first(images)))
        found: Tensor = self.head(torch.relu(self.second(x)).mean((2, 3)))
        return found


class Tokens(nn.Module):
    """Tokens with a weight each, and a gated linear unit over their features."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.weight = nn.Linear(8, 12), nn.Linear(12, 1)
        self.both, self.head = nn.Linear(12, 16), nn.Linear(8, 5)

    def forward(self, images: Tensor) -> Tensor:
        x = torch.relu(self.first(images.flatten(1).unflatten(1, (-1, 8))))
        x = functional.glu(self.both(x * torch.softmax(self.weight(x), dim=1)))
        found: Tensor = self.head(x.sum(1))
        return found


NETWORKS = {
    "gate": (lambda: Maps(Gate(8, residual=False)), {"first": 8, "second": 6}),
    "gate beside": (lambda: Maps(Gate(8, residual=True)), {"first": 8, "second": 6}),
    "expanded": (lambda: Maps(Expanded(8)), {"first": 8, "second": 6}),
    "glu": (lambda: Maps(Glu(8)), {"first": 8, "between.both": 16, "second": 6}),
    "pixels": (
        lambda: Maps(Upscaled(8, back=False)),
        {"first": 8, "between.four": 32, "second": 6},
    ),
    "pixels and back": (
        lambda: Maps(Upscaled(8, back=True)),
        {"first": 8, "between.four": 32, "between.behind": 2, "second": 6},
    ),
    "tokens": (Tokens, {"first": 12, "both": 16}),
}


def built(name: str) -> nn.Module:
    torch.manual_seed(0)
    network: nn.Module = NETWORKS[name][0]().eval()
    randomise(network)
    return network


@pytest.mark.parametrize("name", NETWORKS)
def test_what_can_go(name: str) -> None:
    graph = trace(built(name), example())
    units = {
        layer.name: sum(
            len(position)
            for group in graph.groups
            for member in group.members
            if member.layer == layer.name
            for position in member.units
        )
        for layer in graph.layers
    }
    assert units == NETWORKS[name][1]


@pytest.mark.parametrize("name", NETWORKS)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_any_cut_computes_what_the_masked_network_does_and_costs_what_is_said(
    name: str, data: st.DataObject
) -> None:
    network = built(name)
    graph = trace(network, example())
    check_cut(network, graph, drawn_cut(data, graph))


def test_a_mean_over_all_channels_is_no_gate_that_lets_some_go() -> None:
    """The mean of what is left is another one than that with zeros in place of what went."""

    class OfMean(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * torch.sigmoid(x.mean(1, keepdim=True))

    graph = trace(Maps(OfMean()).eval(), example())
    assert {layer.name for layer in graph.layers} == {"second"}


def test_a_norm_over_channels_and_positions_is_named() -> None:
    graph = trace(Maps(nn.LayerNorm((8, 8, 8))).eval(), example())
    assert "first (between (LayerNorm) normalises channels and positions together)" in graph.what_stays()
