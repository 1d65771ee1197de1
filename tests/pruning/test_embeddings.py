"""Columns of embeddings go with the units that they are added to."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest
import torch
from pruning_networks import CLASSES
from torch import Tensor, nn

from benchsuite.metrics.cost import measure_cost
from benchsuite.pruning.plain_form import make_plain
from benchsuite.pruning.surgery import check_surgery, remove_units
from benchsuite.pruning.tracing.trace import trace

WORDS, STEPS, WIDTH, INNER = 11, 6, 8, 7


def words_of(x: Tensor) -> Tensor:
    """Words from any numbers, (samples, steps)."""
    return (x.abs() * 7).long() % WORDS


def texts(samples: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(samples, STEPS, generator=generator, dtype=torch.float64)


class Stream(nn.Module):
    """Words and their places are added and normalised; a block adds to them."""

    def __init__(self, kind: str, width: int = WIDTH, inner: int = INNER) -> None:
        super().__init__()
        self.kind = kind
        largest = 1.0 if kind == "largest norm" else None
        self.words = nn.Embedding(WORDS, width, padding_idx=0, max_norm=largest)
        self.places = nn.Embedding(STEPS, width)
        self.norm, self.inner_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.enter, self.leave = nn.Linear(width, inner), nn.Linear(inner, width)
        self.head = nn.Linear(width, WORDS if kind == "tied" else CLASSES, bias=kind != "tied")
        if kind == "tied":
            self.head.weight = self.words.weight
        if kind == "bag":
            self.bag = nn.EmbeddingBag(WORDS, width, mode="max")

    def forward(self, x: Tensor) -> Tensor:
        words = words_of(x)
        x = self.norm(self.words(words) + self.places(torch.arange(words.shape[1])))
        x = x + self.leave(self.enter(self.inner_norm(x)).relu())
        x = x.mean(1)
        return self.head(x + self.bag(words) if self.kind == "bag" else x)  # type: ignore[no-any-return]


def stream(kind: str = "plain") -> Stream:
    torch.manual_seed(0)
    return Stream(kind).double().eval()


def narrower(network: Stream, columns: list[int], inner: list[int]) -> Stream:
    """The network of these columns and units, built anew."""
    small = Stream(network.kind, len(columns), len(inner)).double().eval()
    state = {}
    for name, value in network.state_dict().items():
        if name.startswith(("words.", "places.", "bag.", "norm.", "inner_norm.", "head.weight")):
            state[name] = value[..., columns]
        elif name == "enter.weight":
            state[name] = value[inner][:, columns]
        elif name == "leave.weight":
            state[name] = value[columns][:, inner]
        else:
            state[name] = value[{"enter.bias": inner, "leave.bias": columns}.get(name, slice(None))]
    small.load_state_dict(state)
    return small


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", ["plain", "tied", "bag"])
def test_what_is_left_is_the_narrower_network(kind: str, seed: int) -> None:
    network, x, chance = stream(kind), texts(), random.Random(seed)
    graph = trace(network, x)
    assert {group.name: group.size for group in graph.groups} == {"enter": INNER, "leave": WIDTH}
    assert all(len(group.members) == 1 for group in graph.groups)
    removed = {
        group.name: tuple(sorted(chance.sample(range(group.size), chance.randrange(1, group.size))))
        for group in graph.groups
    }
    pruned: Any = remove_units(network, graph, removed)
    left = [
        [unit for unit in range(size) if unit not in removed[name]]
        for name, size in (("leave", WIDTH), ("enter", INNER))
    ]
    small = narrower(network, *left)
    torch.testing.assert_close(pruned(x), small(x))
    check_surgery(network, pruned, graph, removed, x)
    counts = graph.cost_model.counts({name: len(gone) for name, gone in removed.items()})
    cost = measure_cost(small, x)
    assert graph.cost_model.cost(counts) == (cost.params, cost.macs)
    assert measure_cost(pruned, x) == cost
    assert pruned.words.embedding_dim == len(left[0])
    assert (pruned.head.weight is pruned.words.weight) == (kind == "tied")
    # The word of padding learns nothing, before as after.
    pruned(x).square().sum().backward()
    assert kind == "tied" or not pruned.words.weight.grad[0].any()


def test_columns_of_a_largest_norm_stay() -> None:
    network, x = stream("largest norm"), texts()
    graph = trace(network, x)
    assert {group.name for group in graph.groups} == {"enter"}
    assert {pin.reason for pin in graph.pinned if pin.layer == "leave"} == {"words (Embedding) cannot be cut"}


class Encoder(nn.Module):
    """Torch's own encoder behind words and places."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, 12), nn.Embedding(STEPS, 12)
        layer = nn.TransformerEncoderLayer(12, 3, 10, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(12, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        words = words_of(x)
        x = self.encoder(self.words(words) + self.places(torch.arange(words.shape[1])))
        return self.head(x[:, 0])  # type: ignore[no-any-return]


def test_an_encoder_of_words_loses_columns_heads_and_units() -> None:
    torch.manual_seed(0)
    network, x = Encoder().double().eval(), texts()
    before = copy.deepcopy(network)
    make_plain(network, x)
    torch.testing.assert_close(network(x), before(x))
    graph = trace(network, x)
    assert all(pin.output for pin in graph.pinned)
    sizes = sorted(group.size for group in graph.groups)
    assert sizes == [3, 3, 10, 10, 12]
    removed = {group.name: (0, group.size - 1) for group in graph.groups}
    pruned: Any = remove_units(network, graph, removed)
    check_surgery(network, pruned, graph, removed, x)
    assert pruned.words.weight.shape == (WORDS, 10)
    again = graph.without(removed, pruned)
    more = {group.name: (1,) for group in again.groups}
    check_surgery(pruned, remove_units(pruned, again, more), again, more, x)


class Alone(nn.Module):
    """No layer makes what the embedding makes."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.recurrent = nn.Embedding(WORDS, 5), nn.GRU(5, 6, batch_first=True)
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.recurrent(self.words(words_of(x)))[1][-1])  # type: ignore[no-any-return]


def test_columns_that_no_layer_makes_stay() -> None:
    torch.manual_seed(0)
    network, x = Alone().double().eval(), texts()
    make_plain(network, x)
    graph = trace(network, x)
    assert {group.name for group in graph.groups} == {"recurrent.l0"}
    removed = {"recurrent.l0": (1, 3)}
    pruned = remove_units(network, graph, removed)
    check_surgery(network, pruned, graph, removed, x)
    assert graph.left_out["words"].startswith("of type Embedding; ")
