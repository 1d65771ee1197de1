"""Attentions that take their width from the input: they get one of their own, and lose whole heads."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from pruning_networks import HEADS, WIDTH, Around, check_cut, example
from torch import Tensor, nn
from torch.nn.functional import dropout, scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

from benchsuite.pruning.own_width import give_own_widths
from benchsuite.pruning.tracing.trace import trace


class Divided(nn.Module):
    """As in DeiT: the width of a head is a share of the input's, and what the heads give is as wide as it."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads = HEADS
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        made = self.qkv(x).reshape(batch, tokens, 3, self.num_heads, width // self.num_heads)
        q, k, v = made.permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-2, -1) * (width // self.num_heads) ** -0.5).softmax(-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(batch, tokens, width))  # type: ignore[no-any-return]


class OfThree(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.heads, self.to_out = HEADS, nn.Linear(WIDTH, WIDTH)
        self.to_q, self.to_k, self.to_v = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        size = x.size(-1) // self.heads
        made = (layer(x) for layer in (self.to_q, self.to_k, self.to_v))
        q, k, v = (each.view(*x.shape[:2], self.heads, size).transpose(1, 2) for each in made)
        return self.to_out(scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape_as(x))  # type: ignore[no-any-return]


class OnMaps(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.num_heads = HEADS
        self.qkv, self.proj = nn.Conv2d(WIDTH, 3 * WIDTH, 1), nn.Conv2d(WIDTH, WIDTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        maps = x.transpose(1, 2).unflatten(2, (2, 2))
        return self.attend(maps).flatten(2).transpose(1, 2)

    def attend(self, x: Tensor) -> Tensor:
        batch, width, height, _ = x.shape
        q, k, v = self.qkv(x).reshape(batch, 3, self.num_heads, width // self.num_heads, -1).unbind(1)
        found = v @ (q.transpose(2, 3) @ k).softmax(-1).transpose(2, 3)
        return self.proj(found.reshape(batch, width, height, -1))  # type: ignore[no-any-return]


class Rest(Divided):
    """Only the heads are a share of the input; what they give is as wide as it is."""

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        made = self.qkv(x).reshape(batch, tokens, 3, self.num_heads, width // self.num_heads)
        found = scaled_dot_product_attention(*made.permute(2, 0, 3, 1, 4))
        return self.proj(found.transpose(1, 2).reshape(batch, tokens, -1))  # type: ignore[no-any-return]


class MapsAlone(OnMaps):
    forward = OnMaps.attend


class AroundMaps(Around):
    def forward(self, x: Tensor) -> Tensor:
        maps = self.first(x)
        return self.head((maps + self.attention(maps)).mean((2, 3)))  # type: ignore[no-any-return]


def around(attention: nn.Module) -> Around:
    torch.manual_seed(0)
    kind = AroundMaps if isinstance(attention, MapsAlone) else Around
    network = kind(attention).eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.4)
    return network


def hooks(network: nn.Module) -> int:
    return sum(len(m._forward_pre_hooks) + len(m._forward_hooks) for m in network.modules())


@pytest.mark.parametrize("kind", [Divided, OfThree, Rest, MapsAlone])
def test_heads_and_inputs_go_each_by_themselves(kind: type[nn.Module]) -> None:
    network = around(kind())
    before = network(example())
    assert not trace(network, example()).layers or kind is MapsAlone
    assert give_own_widths(network, example()) == ("attention",)
    assert torch.equal(network(example()), before)
    graph = trace(network, example())
    assert all(pin.output for pin in graph.pinned), graph.pinned
    (heads,) = (g for g in graph.groups if any(m.layer.endswith(("qkv", "to_q")) for m in g.members))
    (inputs,) = (g for g in graph.groups if g is not heads)
    assert (heads.size, inputs.size) == (HEADS, WIDTH)
    for removed in ({heads.name: (0, 2)}, {inputs.name: (1, 4, 5)}, {heads.name: (1,), inputs.name: (0, 7)}):
        check_cut(network, graph, removed)
    once = check_cut(network, graph, {heads.name: (1,)})
    again = graph.without({heads.name: (1,)}, once)
    twice = check_cut(once, again, {heads.name: (0,), inputs.name: (3,)})
    torch.testing.assert_close(
        twice(example()), check_cut(network, graph, {heads.name: (0, 1), inputs.name: (3,)})(example())
    )


def smaller() -> Around:
    network = around(Divided())
    give_own_widths(network, example())
    graph = trace(network, example())
    heads = next(g.name for g in graph.groups if g.size == HEADS)
    found = check_cut(network, graph, {heads: (0,), "first": (2, 3)})
    assert isinstance(found, Around)
    return found


def test_the_pruned_network_is_trained_and_copied_like_any_other() -> None:
    network = smaller()
    twin = copy.deepcopy(network)
    stand_in, own = (next(iter(each.attention._forward_pre_hooks.values())) for each in (network, twin))
    assert stand_in is not own
    network.train()
    network(example()).square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    twin.load_state_dict(network.state_dict())
    torch.testing.assert_close(twin(example()), network.eval()(example()))
    assert stand_in._held == own._held == {}


def test_the_pruned_network_is_exported() -> None:
    network = smaller()
    samples = torch.export.Dim("samples")
    with torch.no_grad():
        expected = network(torch.cat([example(), example()]))
        program = torch.export.export(network, (example(),), dynamic_shapes=({0: samples},))
        found = program.module()(torch.cat([example(), example()]))
    torch.testing.assert_close(found, expected)


def test_batches_and_types_may_change_between_calls() -> None:
    network = smaller()
    one, several = torch.randn(1, 1, 8, 8), torch.randn(3, 1, 8, 8)
    with torch.no_grad():
        together = network(torch.cat([one, several]))
        torch.testing.assert_close(torch.cat([network(one), network(several)]), together)
        doubled = copy.deepcopy(network).double()
        torch.testing.assert_close(doubled(several.double()).float(), together[1:])
        each = torch.vmap(lambda image: network(image[None])[0])(several)
    torch.testing.assert_close(each, together[1:])
    torch.testing.assert_close(network(one), together[:1])


def test_nothing_is_kept_where_the_attention_fails() -> None:
    network = smaller()
    stand_in: Any = next(iter(network.attention._forward_pre_hooks.values()))
    network.attention.proj = nn.Linear(5, 5)
    with pytest.raises(RuntimeError):
        network(example())
    assert stand_in._held == {}


def test_threads_do_not_meet() -> None:
    network = smaller()
    inputs = [torch.randn(2, 1, 8, 8) for _ in range(40)]
    with torch.no_grad(), ThreadPoolExecutor(4) as pool:
        expected = [network(each) for each in inputs]
        for found, wanted in zip(pool.map(network, inputs), expected, strict=True):
            torch.testing.assert_close(found, wanted)


class Known(Divided):
    """Knows the width of a head."""

    def forward(self, x: Tensor) -> Tensor:
        made = self.qkv(x).reshape(*x.shape[:2], 3, self.num_heads, 4)
        q, k, v = made.permute(2, 0, 3, 1, 4)
        return self.proj(scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class AddsItself(Divided):
    """Adds its input, whose values therefore count."""

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


class AsksOne(OfThree):
    """Makes queries of the first token alone."""

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[-1] // self.heads
        made = self.to_q(x[:, :1]), self.to_k(x), self.to_v(x)
        q, k, v = (each.unflatten(2, (self.heads, size)).transpose(1, 2) for each in made)
        return self.to_out(scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class MarksPadding(Divided):
    """Tokens whose numbers are all -1 are padding."""

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        made = self.qkv(x).reshape(batch, tokens, 3, self.num_heads, width // self.num_heads)
        seen = ~(x == -1).all(-1)[:, None, None, :]
        found = scaled_dot_product_attention(*made.permute(2, 0, 3, 1, 4), attn_mask=seen)
        return self.proj(found.transpose(1, 2).reshape(batch, tokens, width))  # type: ignore[no-any-return]


class DropsOut(Divided):
    """Drops out a part of its input in training."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(dropout(x, 0.1, self.training))


class AddsNoise(Divided):
    """In training the output has noise as large as the input."""

    def forward(self, x: Tensor) -> Tensor:
        found = super().forward(x)
        return found + x.std() * torch.randn_like(found) if self.training else found


class Recomputes(Divided):
    """Computes again in the backward pass what it does not keep."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        return checkpoint(super().forward, x, use_reentrant=False)  # type: ignore[no-any-return]


class ByName(nn.Module):
    """Calls an attention by the name of its argument."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = Divided()

    def forward(self, x: Tensor) -> Tensor:
        return self.inside(x=x)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "kind",
    [
        Known,
        AddsItself,
        AsksOne,
        ByName,
        OnMaps,
        MarksPadding,
        DropsOut,
        AddsNoise,
        Recomputes,
    ],
)
def test_others_stay_as_they_are(kind: type[nn.Module]) -> None:
    network = around(kind())
    before = network(example())
    assert give_own_widths(network, example()) == ()
    assert hooks(network) == 0
    assert torch.equal(network(example()), before)
    graph = trace(network, example())
    for group in graph.groups:
        check_cut(network, graph, {group.name: (0,)})


def test_networks_without_attentions_are_not_run() -> None:
    class Silent(nn.Module):
        def forward(self, _: Tensor) -> Tensor:
            raise AssertionError

    assert give_own_widths(Silent(), example()) == ()
