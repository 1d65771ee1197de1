"""Torch's own attention as one of linear layers: it computes the same, and loses whole heads."""

from __future__ import annotations

import copy
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest
import torch
from pruning_networks import CLASSES, PackedAttention, check_cut, example
from torch import Tensor, nn

from benchsuite.metrics.cost import measure_cost
from benchsuite.pruning.packed_attention import SeparateAttention, separate_attentions, separate_state
from benchsuite.pruning.plain_form import make_plain
from benchsuite.pruning.tracing.trace import trace
from benchsuite.training.trace import TrainingTrace

if TYPE_CHECKING:
    from collections.abc import Callable

WIDTH, HEADS, SAMPLES, QUERIES, KEYS = 12, 3, 2, 5, 4


def packed(**options: Any) -> nn.MultiheadAttention:
    torch.manual_seed(0)
    made = nn.MultiheadAttention(WIDTH, HEADS, **options).double().eval()
    for parameter in made.parameters():
        nn.init.normal_(parameter)
    return made


def masks(kind: str) -> Tensor | None:
    generator = torch.Generator().manual_seed(1)
    if kind == "none":
        return None
    number = torch.randn(SAMPLES * HEADS, QUERIES, KEYS, generator=generator, dtype=torch.float64)
    number[..., 0] = 0  # every query has a key that it may look at
    number = number if kind.endswith("each") else number[0]
    return number.gt(0.8) if kind.startswith("bool") else number


@pytest.mark.parametrize("kind", ["none", "bool", "float", "bool each", "float each"])
@pytest.mark.parametrize(
    "options", [{}, {"bias": False}, {"batch_first": True}, {"kdim": 7, "vdim": 9}], ids=str
)
def test_it_computes_what_torch_computes(options: dict[str, Any], kind: str) -> None:
    whole = packed(**options)
    separate = SeparateAttention(whole)
    generator = torch.Generator().manual_seed(2)
    sizes = (QUERIES, WIDTH), (KEYS, options.get("kdim", WIDTH)), (KEYS, options.get("vdim", WIDTH))
    given = [
        torch.randn(SAMPLES, *size, generator=generator, dtype=torch.float64, requires_grad=True)
        for size in sizes
    ]
    for weights, average in product((True, False), (True, False)):
        inputs = given if options.get("batch_first") else [each.transpose(0, 1) for each in given]
        asked: dict[str, Any] = {
            "attn_mask": masks(kind),
            "need_weights": weights,
            "average_attn_weights": average,
        }
        expected, found = whole(*inputs, **asked), separate(*inputs, **asked)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
        wanted = torch.autograd.grad(expected[0].square().sum(), given)
        torch.testing.assert_close(torch.autograd.grad(found[0].square().sum(), given), wanted)


@pytest.mark.parametrize("weights", [True, False])
def test_one_sample_without_a_batch(weights: bool) -> None:
    whole = packed()
    tokens = torch.randn(QUERIES, WIDTH, dtype=torch.float64)
    found = SeparateAttention(whole)(tokens, tokens, tokens, need_weights=weights)
    torch.testing.assert_close(found, whole(tokens, tokens, tokens, need_weights=weights))


class Classifier(nn.Module):
    """Patches as tokens, then any layers, then their mean."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.first, self.layers, self.head = nn.Conv2d(1, WIDTH, 4, 4), layers, nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.first(x).flatten(2).transpose(1, 2)
        return self.head(self.layers(tokens).mean(1))  # type: ignore[no-any-return]


def encoder(**options: Any) -> nn.Module:
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS + 1, 10, batch_first=True, **options)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=not options)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "attention": lambda: PackedAttention(WIDTH, HEADS),
    "encoder": encoder,
    "encoder with norms first": lambda: encoder(norm_first=True),
    "encoder without biases": lambda: encoder(bias=False),
    "one attention twice": lambda: nn.Sequential(*[PackedAttention(WIDTH, HEADS)] * 2),
}


def classifier(kind: str) -> Classifier:
    torch.manual_seed(0)
    return Classifier(NETWORKS[kind]()).eval()


@pytest.mark.parametrize("kind", NETWORKS)
def test_networks_lose_whole_heads(kind: str) -> None:
    network = classifier(kind)
    plain = copy.deepcopy(network)
    names = separate_attentions(plain, example())
    every = network.named_modules(remove_duplicate=False)
    assert names == tuple(name for name, each in every if isinstance(each, nn.MultiheadAttention))
    torch.testing.assert_close(plain(example()), network(example()))
    costs = [measure_cost(each, example()[:1]) for each in (plain, network)]
    assert len({(cost.params, cost.macs, cost.nonzero_macs) for cost in costs}) == 1
    graph = trace(plain, example())
    assert all(pin.output for pin in graph.pinned)
    heads = [g for g in graph.groups if any(m.layer.endswith("q_proj") for m in g.members)]
    assert {group.size for group in heads} == {plain.get_submodule(names[0]).num_heads}
    smaller = check_cut(plain, graph, {group.name: tuple(range(group.size - 1)) for group in heads})
    for name in names:
        attention = smaller.get_submodule(name)
        assert isinstance(attention, SeparateAttention)
        assert (attention.num_heads, attention.q_proj.out_features) == (1, attention.head_dim)
    check_cut(plain, graph, {group.name: (0,) for group in graph.groups})


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_state_from_before_fits(kind: str) -> None:
    network = classifier(kind)
    plain = copy.deepcopy(network)
    form = make_plain(plain, example())
    for parameter in plain.parameters():
        nn.init.zeros_(parameter)
    plain.load_state_dict(form.state(network.state_dict()))
    torch.testing.assert_close(plain(example()), network(example()))


def test_a_state_of_three_weights_fits() -> None:
    whole = nn.ModuleDict({"one": packed(kdim=7, vdim=9)})
    separate = nn.ModuleDict({"one": SeparateAttention(packed(kdim=7, vdim=9))})
    separate.load_state_dict(separate_state(whole.state_dict(), ["one"]))


def test_a_recorded_training_is_read_by_the_names_of_the_layers() -> None:
    network = classifier("encoder")
    plain = copy.deepcopy(network)
    form = make_plain(plain, example())
    of_all = {name: torch.rand_like(value) for name, value in network.named_parameters()}
    trace_of = TrainingTrace(of_all, of_all, of_all, {0: network.state_dict()}, torch.zeros(1)).changed(
        form.state
    )
    shapes = {name: value.shape for name, value in plain.named_parameters()}
    for states in (trace_of.initial, trace_of.squared_updates, trace_of.snapshots[0]):
        assert {name: value.shape for name, value in states.items()} == shapes
    name = "layers.layers.1.self_attn"
    whole = torch.cat([trace_of.initial[f"{name}.{part}_proj.weight"] for part in "qkv"])
    assert torch.equal(whole, of_all[f"{name}.in_proj_weight"])


def test_modes_and_what_learns_stay() -> None:
    network = classifier("encoder").train()
    for parameter in network.layers.parameters():
        parameter.requires_grad_(False)
    network.get_submodule("layers.layers.0.self_attn").in_proj_bias.requires_grad_(True)
    separate_attentions(network, example())
    assert all(module.training for module in network.modules())
    learning = {name for name, value in network.layers.named_parameters() if value.requires_grad}
    assert learning == {f"layers.0.self_attn.{part}_proj.bias" for part in "qkv"}
    with torch.no_grad():
        network(example())  # its attentions drop out as before


@pytest.mark.parametrize("weights", [True, False])
def test_a_causal_mask_is_believed_where_torch_believes_it(weights: bool) -> None:
    whole = packed(batch_first=True).train()
    tokens = torch.randn(2, 5, WIDTH, dtype=torch.float64)
    other = torch.ones(5, 5, dtype=torch.bool).tril(-2)  # no causal one
    asked = {"attn_mask": other, "is_causal": True, "need_weights": weights}
    found = SeparateAttention(whole)(tokens, tokens, tokens, **asked)
    torch.testing.assert_close(found, whole(tokens, tokens, tokens, **asked))


def test_a_mask_of_padding_is_refused() -> None:
    tokens = torch.randn(2, 5, WIDTH, dtype=torch.float64)
    with pytest.raises(TypeError, match="mask of padding"):
        SeparateAttention(packed(batch_first=True))(tokens, tokens, tokens, torch.zeros(2, 5).bool())


class Padded(nn.Module):
    """Tokens of zeros are padding, which torch's encoder leaves out in evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = encoder()

    def forward(self, x: Tensor) -> Tensor:
        return self.encoder(x, src_key_padding_mask=(x == 0).all(-1))  # type: ignore[no-any-return]


class Listed(nn.Module):
    """Calls its attention by a list that is no part of the network."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = PackedAttention(WIDTH, HEADS)
        self.called = [self.attention.inside]

    def forward(self, x: Tensor) -> Tensor:
        return self.called[0](x, x, x)[0]  # type: ignore[no-any-return]


class ReadingInTraining(nn.Module):
    """Punishes large weights itself."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.attention(x, x, x)[0]
        return found - self.attention.in_proj_weight.square().sum() if self.training else found


class Reading(nn.Module):
    """Reads the packed weight itself."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x)[0] + self.attention.in_proj_weight.sum()  # type: ignore[no-any-return]


class Own(nn.MultiheadAttention):
    """A subclass, whose code nobody knows."""


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = PackedAttention(WIDTH, HEADS), PackedAttention(WIDTH, HEADS)
        self.other.inside.in_proj_weight = self.one.inside.in_proj_weight

    def forward(self, x: Tensor) -> Tensor:
        return self.other(self.one(x))  # type: ignore[no-any-return]


def holding(attention: nn.Module) -> PackedAttention:
    made = PackedAttention(WIDTH, HEADS)
    made.inside = attention  # type: ignore[assignment]
    return made


def hooked() -> nn.Module:
    made = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
    made.register_forward_hook(lambda *_: None)
    return made


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
@pytest.mark.parametrize(
    "layers",
    [
        Reading(),
        ReadingInTraining(),
        Padded(),
        Listed(),
        Tied(),
        holding(Own(WIDTH, HEADS, batch_first=True)),
        holding(nn.MultiheadAttention(WIDTH, HEADS, batch_first=True, add_bias_kv=True)),
        holding(nn.MultiheadAttention(WIDTH, HEADS, batch_first=True, add_zero_attn=True)),
        holding(hooked()),
    ],
    ids=["reading", "reading in training", "padded", "listed", "tied", "subclass", "biases", "zero", "hook"],
)
def test_what_is_not_the_same_stays_as_it_is(layers: nn.Module) -> None:
    network = Classifier(layers).eval()
    before = {name: type(module) for name, module in network.named_modules()}
    expected = network(example())
    assert separate_attentions(network, example()) == ()
    assert {name: type(module) for name, module in network.named_modules()} == before
    assert torch.equal(network(example()), expected)
    trace(network, example())  # and what else can go, may go


def test_each_is_judged_by_itself_where_not_all_can() -> None:
    network = Classifier(nn.Sequential(PackedAttention(WIDTH, HEADS), Reading())).eval()
    assert separate_attentions(network, example()) == ("layers.0.inside",)


def test_a_network_without_attentions_is_not_run() -> None:
    def forbidden(*_: object) -> None:
        raise AssertionError

    network = nn.Linear(3, 2)
    network.forward = forbidden  # type: ignore[assignment]
    assert separate_attentions(network, torch.zeros(1, 3)) == ()
