"""Which units can go, by the kind of layer, as the page on own models says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from pruning_networks import AttentionOfThree
from timm.layers import Attention
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from benchsuite.pruning.tracing.trace import trace
from benchsuite.pruning.units_first import put_units_first

if TYPE_CHECKING:
    from benchsuite.pruning.graph import PruningGraph


class Sequences(nn.Module):
    """A linear layer, something that reads sequences of its outputs, and two more."""

    def __init__(self, between: nn.Module, features: int = 16) -> None:
        super().__init__()
        self.first, self.between = nn.Linear(8, 16), between
        self.behind, self.head = nn.Linear(features, 10), nn.Linear(10, 5)

    def forward(self, images: Tensor) -> Tensor:
        found = self.between(torch.relu(self.first(images.flatten(1).view(-1, 8, 8))))
        return self.head(torch.relu(self.behind(found.mean(1))))


class Maps(nn.Module):
    """A convolution, another kind of one, and a convolution behind it."""

    def __init__(self, between: nn.Module) -> None:
        super().__init__()
        self.first, self.between = nn.Conv2d(1, 8, 3, padding=1), between
        self.behind, self.head = nn.Conv2d(16, 6, 3), nn.Linear(6, 5)

    def forward(self, images: Tensor) -> Tensor:
        found = torch.relu(self.between(torch.relu(self.first(images))))
        return self.head(torch.relu(self.behind(found)).mean((2, 3)))


class OfTwo(nn.Module):
    """What a module returns that returns more than its output."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        found = self.inner(x, x, x) if isinstance(self.inner, nn.MultiheadAttention) else self.inner(x)
        output: Tensor = found[0]
        return output


class Separate(nn.Module):
    """Attention of four heads, with a linear layer each for queries, keys and values."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(16, 16) for _ in range(3))
        self.proj = nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (each(x).unflatten(-1, (4, 4)).transpose(1, 2) for each in (self.q, self.k, self.v))
        found: Tensor = self.proj(scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return found


class Tied(nn.Module):
    """Two linear layers with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(16, 16), nn.Linear(16, 16)
        self.other.weight = self.one.weight

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.other(torch.relu(self.one(x)))
        return found


class OwnTransposed(nn.ConvTranspose2d):
    """A subclass, whose code nobody knows."""


def encoder() -> nn.Module:
    return nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)


KINDS = {
    "convolution": (Maps(nn.Conv2d(8, 16, 3)), {"first", "between", "behind"}),
    "grouped": (Maps(nn.Conv2d(8, 16, 3, groups=4)), {"first", "between", "behind"}),
    "depthwise": (Maps(nn.Conv2d(8, 16, 3, groups=8)), {"first", "between", "behind"}),
    "transposed": (Maps(nn.ConvTranspose2d(8, 16, 2, stride=2)), {"first", "between", "behind"}),
    "transposed, of a subclass": (Maps(OwnTransposed(8, 16, 2, stride=2)), {"first", "behind"}),
    "grouped transposed": (Maps(nn.ConvTranspose2d(8, 16, 2, groups=4)), {"first", "between", "behind"}),
    "depthwise transposed": (Maps(nn.ConvTranspose2d(8, 16, 2, groups=8)), {"first", "between", "behind"}),
    "linear": (Sequences(nn.Linear(16, 16)), {"first", "between", "behind"}),
    "qkv": (
        Sequences(Attention(16, num_heads=4, qkv_bias=True)),
        {"first", "between.qkv", "between.proj", "behind"},
    ),
    "q, k, v": (Sequences(Separate()), {"first", "between.proj", "behind"}),
    "q, k, v by heads": (
        Sequences(AttentionOfThree(16, 4)),
        {"first", "between.to_q", "between.to_k", "between.to_v", "between.to_out.0", "behind"},
    ),
    "multihead": (Sequences(OfTwo(nn.MultiheadAttention(16, 4, batch_first=True))), {"behind"}),
    "encoder": (Sequences(encoder()), {"between.linear1", "behind"}),
    "lstm": (Sequences(OfTwo(nn.LSTM(16, 12, batch_first=True)), 12), {"first", "behind"}),
    "gru": (Sequences(OfTwo(nn.GRU(16, 12, batch_first=True)), 12), {"first", "behind"}),
    "rnn": (Sequences(OfTwo(nn.RNN(16, 12, batch_first=True)), 12), {"first", "behind"}),
    "tied": (Sequences(Tied()), {"first", "between.one", "behind"}),
}


def traced(kind: str) -> PruningGraph:
    torch.manual_seed(0)
    network, images = KINDS[kind][0].eval(), torch.randn(2, 1, 8, 8)
    put_units_first(network, images)
    return trace(network, images)


@pytest.mark.parametrize("kind", KINDS)
def test_the_units_that_can_go_are_those_of_the_table(kind: str) -> None:
    graph = traced(kind)
    assert {layer.name for layer in graph.layers} == KINDS[kind][1]
    for layer in graph.layers:
        assert (
            sum(
                len(units)
                for g in graph.groups
                for m in g.members
                if m.layer == layer.name
                for units in m.units
            )
            == layer.units
        )


@pytest.mark.parametrize(
    ("kind", "layer", "positions"),
    [
        ("grouped", "between", 4),
        ("depthwise", "between", 8),
        ("grouped transposed", "between", 4),
        ("depthwise transposed", "between", 8),
        ("qkv", "between.qkv", 4),
        ("q, k, v by heads", "between.to_k", 4),
    ],
)
def test_groups_and_heads_go_whole(kind: str, layer: str, positions: int) -> None:
    (group,) = (g for g in traced(kind).groups if layer in {member.layer for member in g.members})
    assert group.size == positions


@pytest.mark.parametrize("kind", ["transposed, of a subclass", "q, k, v", "multihead", "encoder", "lstm"])
def test_what_stays_is_named_with_its_reason(kind: str) -> None:
    graph = traced(kind)
    said = graph.what_stays()
    staying = {pin.layer for pin in graph.pinned if not pin.output} | graph.left_out.keys()
    named = [name for name in staying if f" {name} (" in said]
    assert len(named) == min(3, len(staying))
    assert "output" not in said
    assert said.endswith(f" and {len(staying) - 3} more") == (len(staying) > 3)


def test_where_all_can_go_nothing_is_named() -> None:
    assert traced("convolution").what_stays() == ""
