"""Biases of queries, keys and values that are joined in every pass become the bias of their layer."""

from __future__ import annotations

import copy

import pytest
import torch
from pruning_networks import HEADS, WIDTH, Around, around, check_cut, example
from torch import Tensor, nn
from torch.nn import functional

from benchsuite.pruning.joined_biases import join_biases, joined_state
from benchsuite.pruning.plain_form import make_plain
from benchsuite.pruning.tracing.trace import trace


class Joining(nn.Module):
    """As in BEiT: no bias of keys, and the layer's weight is used through a function.

    Args:
        keys: what stands for the bias of keys: "buffer", "parameter" or "nothing".
        calls: whether the layer is called where there are no biases.
    """

    def __init__(self, keys: str = "buffer", calls: bool = True) -> None:
        super().__init__()
        self.num_heads, self.calls = HEADS, calls
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH, bias=False), nn.Linear(WIDTH, WIDTH)
        self.q_bias, self.v_bias = nn.Parameter(torch.randn(WIDTH)), nn.Parameter(torch.randn(WIDTH))
        if keys == "buffer":
            self.register_buffer("k_bias", torch.zeros(WIDTH), persistent=False)
        elif keys == "parameter":
            self.k_bias = nn.Parameter(torch.randn(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        if self.q_bias is None and self.calls:
            made = self.qkv(x)
        else:
            biases = [self.q_bias, getattr(self, "k_bias", torch.zeros(WIDTH).to(x)), self.v_bias]
            joined = None if self.q_bias is None else torch.cat(biases)
            made = functional.linear(x, self.qkv.weight, joined)
        q, k, v = made.reshape(*x.shape[:2], 3, self.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        found = functional.scaled_dot_product_attention(q, k, v)
        return self.proj(found.transpose(1, 2).reshape(x.shape))  # type: ignore[no-any-return]


@pytest.mark.parametrize("keys", ["buffer", "parameter", "nothing"])
def test_the_layer_has_the_bias_and_heads_go(keys: str) -> None:
    network = around(Joining(keys))
    plain = copy.deepcopy(network)
    form = make_plain(plain, example())
    assert (form.joined, form.widened) == (("attention",), ("attention",))
    torch.testing.assert_close(plain(example()), network(example()))
    graph = trace(plain, example())
    assert all(pin.output for pin in graph.pinned), graph.pinned
    heads = next(g.name for g in graph.groups if g.size == HEADS)
    check_cut(plain, graph, {heads: (0,), "first": (1, 2)})
    for parameter in plain.parameters():
        nn.init.zeros_(parameter)
    plain.load_state_dict(form.state(network.state_dict()))
    torch.testing.assert_close(plain(example()), network(example()))


def test_a_state_without_the_biases_stays() -> None:
    state = {"a.qkv.weight": torch.ones(3)}
    assert joined_state(state, ["a"]) == state


@pytest.mark.parametrize("change", ["does not call", "own bias", "wrong size", "no biases"])
def test_others_stay_as_they_are(change: str) -> None:
    attention = Joining(calls=change != "does not call")
    if change == "own bias":
        attention.qkv = nn.Linear(WIDTH, 3 * WIDTH)
    elif change == "wrong size":
        attention.qkv = nn.Linear(WIDTH, 2 * WIDTH, bias=False)
    elif change == "no biases":
        attention.q_bias = attention.v_bias = attention.k_bias = None  # type: ignore[assignment]
    network = Around(attention).eval()
    names = {*network.state_dict()}
    assert join_biases(network, example()) == ()
    assert {*network.state_dict()} == names


class BehindTheNorm(Joining):
    """Adds its biases elsewhere."""

    def forward(self, x: Tensor) -> Tensor:
        made = self.qkv(x).reshape(*x.shape[:2], 3, self.num_heads, -1)
        q, k, v = made.permute(2, 0, 3, 1, 4).unbind(0)
        q = functional.normalize(q, dim=-1)
        if self.q_bias is not None:
            q = q + self.q_bias.view(self.num_heads, 1, -1)
            v = v + self.v_bias.view(self.num_heads, 1, -1)
        found = functional.scaled_dot_product_attention(q, k, v)
        return self.proj(found.transpose(1, 2).reshape(x.shape))  # type: ignore[no-any-return]


class InTraining(Joining):
    """Punishes large biases in training."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) - (self.q_bias.square().sum() if self.training else 0)


@pytest.mark.parametrize("kind", [BehindTheNorm, InTraining])
@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_other_uses_are_seen_whatever_the_biases_are(kind: type[Joining], scale: float) -> None:
    network = around(kind())
    for name in ("q_bias", "v_bias"):
        nn.init.normal_(getattr(network.attention, name), std=scale)
    assert join_biases(network, example()) == ()


def test_shared_and_partly_frozen_biases_stay() -> None:
    one, other = Joining(), Joining()
    other.q_bias, other.v_bias = one.q_bias, one.v_bias
    assert join_biases(around(nn.Sequential(one, other)), example()) == ()
    frozen = Joining()
    frozen.q_bias.requires_grad_(False)
    assert join_biases(around(frozen), example()) == ()


def test_an_attention_of_two_names_has_its_state_by_both() -> None:
    one = Joining()
    network = around(nn.Sequential(one, one))
    plain = copy.deepcopy(network)
    form = make_plain(plain, example())
    assert form.joined == ("attention.0", "attention.1")
    plain.load_state_dict(form.state(network.state_dict()))
    torch.testing.assert_close(plain(example()), network(example()))


def test_what_does_not_learn_does_not_learn_later() -> None:
    network = around(Joining()).requires_grad_(False)
    join_biases(network, example())
    assert not any(parameter.requires_grad for parameter in network.parameters())
