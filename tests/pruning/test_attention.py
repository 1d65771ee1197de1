"""Attentions by other authors: their names are known, and what cannot do with fewer heads stays."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pruning_networks import HEADS, WIDTH, around, check_cut, example
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from benchsuite.pruning.attention import attention_of, heads_of
from benchsuite.pruning.graph import UNSAMPLED
from benchsuite.pruning.tracing.trace import trace

SEPARATE = ("q_proj", "k_proj", "v_proj")


class Written(nn.Module):
    """An attention whose layers and attributes have any names.

    Args:
        makers: names of the layers that make queries, keys and values, in this order, each as many of them.
        heads: name of the attribute with the number of heads.
        reader: name of the layer that reads the heads.
        size: name of an attribute with the width of a head; "" for what is left, "input" for the share of the
            input's width.
        inner: width of all heads.
    """

    def __init__(
        self, makers: tuple[str, ...], heads: str, reader: str, size: str = "", inner: int = WIDTH
    ) -> None:
        super().__init__()
        self.names = makers, heads, reader, size
        for name in makers:
            setattr(self, name, nn.Linear(WIDTH, self.parts(name) * inner, bias=len(makers) > 1))
        setattr(self, heads, HEADS)
        setattr(self, reader, nn.Linear(inner, WIDTH))
        if size not in ("", "input"):
            setattr(self, size, inner // HEADS)

    def parts(self, name: str) -> int:
        makers = self.names[0]
        return 3 if len(makers) == 1 else 2 if len(makers) == 2 and name == makers[1] else 1

    def forward(self, x: Tensor) -> Tensor:
        makers, heads, reader, size = self.names
        number = getattr(self, heads)
        width = x.shape[-1] // number if size == "input" else getattr(self, size) if size else -1
        made = [part for name in makers for part in getattr(self, name)(x).chunk(self.parts(name), -1)]
        q, k, v = (each.reshape(*x.shape[:2], number, width).transpose(1, 2) for each in made)
        found = scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return getattr(self, reader)(found)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "written",
    [
        (SEPARATE, "num_heads", "out_proj", "head_dim"),
        (("query", "key", "value"), "num_attention_heads", "dense", "attention_head_size"),
        (("to_q", "to_k", "to_v"), "heads", "to_out"),
        (("wq", "wk", "wv"), "n_heads", "wo", "head_dim", 6),
        (("q", "k", "v"), "nhead", "proj", "", 18),
        (("q", "kv"), "num_heads", "proj"),
        (("to_q", "to_kv"), "heads", "to_out", "", 6),
        (("to_qkv",), "heads", "to_out"),
        (("qkv_proj",), "num_heads", "o_proj", "head_dim", 24),
        (("c_attn",), "n_head", "c_proj"),
    ],
)
def test_whole_heads_go_whatever_the_names(written: Any) -> None:
    attention = Written(*written)
    network = around(attention)
    graph = trace(network, example())
    assert {layer.name for layer in graph.layers} == {
        "first",
        *(f"attention.{name}" for name in (*written[0], written[2])),
    }
    (group,) = (g for g in graph.groups if any(m.layer == f"attention.{written[0][0]}" for m in g.members))
    assert group.size == HEADS
    smaller = check_cut(network, graph, {group.name: (0, 2)})
    left = smaller.get_submodule("attention")
    assert heads_of(left) == 1
    inner = next(iter(left.children())).out_features // attention.parts(written[0][0])  # type: ignore[operator]
    assert inner * HEADS == getattr(attention, written[2]).in_features


class Apart(nn.Module):
    """An attention whose last layer lies beside the module that knows how many heads there are."""

    def __init__(self, others: int = 0) -> None:
        super().__init__()
        written = Written(SEPARATE, "num_attention_heads", "out_proj", "head_dim")
        self.output, written.out_proj = nn.Sequential(written.out_proj, nn.Dropout()), nn.Identity()
        self.self = written
        for number in range(others):
            setattr(self, f"other{number}", nn.Linear(WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.self(x))  # type: ignore[no-any-return]


def test_heads_go_where_the_layer_that_reads_them_lies_beside() -> None:
    module = Apart()
    assert attention_of(module.self) is None
    found = attention_of(module)
    assert found is not None
    assert (found.heads, found.holder, found.reader) == (HEADS, "self", "output.0")
    network = around(module)
    graph = trace(network, example())
    (group,) = (g for g in graph.groups if any(m.layer == "attention.self.q_proj" for m in g.members))
    assert group.size == HEADS
    left = check_cut(network, graph, {group.name: (0, 2)}).get_submodule("attention")
    assert heads_of(left) == 1
    assert left.self.num_attention_heads == 1  # type: ignore[union-attr]  # a module


def test_it_is_not_guessed_which_of_several_layers_reads_the_heads() -> None:
    assert attention_of(Apart(others=1)) is None


def test_an_attention_is_not_that_of_the_block_around_it_too() -> None:
    block = nn.Module()
    block.attention = Written(SEPARATE, "num_heads", "out_proj", "head_dim")
    block.mlp = nn.Linear(WIDTH, WIDTH)
    assert attention_of(block.attention) is not None
    assert attention_of(block) is None


@pytest.mark.parametrize(
    "change",
    [
        {"num_heads": None},
        {"num_heads": True},
        {"num_heads": 0},
        {"num_heads": 5},
        {"k_proj": None},
        {"q_proj": nn.Linear(WIDTH, 6)},
        {"out_proj": nn.Linear(6, WIDTH)},
        {"another": nn.Linear(WIDTH, 2)},
        {"key": nn.Linear(WIDTH, WIDTH)},
    ],
)
def test_what_is_not_clear_is_no_attention(change: dict[str, Any]) -> None:
    module = Written(SEPARATE, "num_heads", "out_proj")
    assert attention_of(module) is not None
    for name, value in change.items():
        setattr(module, name, value)
    assert attention_of(module) is None


TOKENS = 4


class Normed(nn.Module):
    """A layer and a batch normalisation of what it makes of each token."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.layer, self.norm = layer, nn.BatchNorm1d(layer.out_features)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer(x)
        return self.norm(x.flatten(0, 1)).reshape_as(x)


class PositionMlp(nn.Module):
    """Computes a bias for each head and pair of tokens from their places."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads = HEADS
        self.fc1, self.fc2 = nn.Linear(2, 5), nn.Linear(5, HEADS)

    def forward(self) -> Tensor:
        places = torch.stack(torch.meshgrid(*[torch.arange(TOKENS).double()] * 2, indexing="ij"), -1)
        found = self.fc2(torch.tanh(self.fc1(places.to(self.fc1.weight.dtype))))
        return found.view(-1, self.num_heads).t().reshape(self.num_heads, TOKENS, TOKENS)


class PositionMethod(nn.Module):
    """Has no forward pass, but a method that calls another module."""

    def __init__(self) -> None:
        super().__init__()
        self.mlp = PositionMlp()

    def find(self) -> Tensor:
        return self.mlp()  # type: ignore[no-any-return]


class PositionTable(nn.Module):
    """Looks the biases up, and keeps the shape of what it finds."""

    def __init__(self) -> None:
        super().__init__()
        self.shape = TOKENS, TOKENS, HEADS
        self.table = nn.Parameter(torch.randn(7, HEADS))
        self.register_buffer("index", torch.arange(TOKENS)[:, None] - torch.arange(TOKENS) + TOKENS - 1)

    def forward(self) -> Tensor:
        return self.table[self.index.flatten()].view(self.shape).permute(2, 0, 1)


class PositionCache(nn.Module):
    """Keeps in evaluation what it looked up, until it is trained."""

    def __init__(self) -> None:
        super().__init__()
        self.biases = nn.Parameter(torch.randn(HEADS, TOKENS))
        self.register_buffer("index", (torch.arange(TOKENS)[:, None] - torch.arange(TOKENS)).abs())
        self.kept: dict[str, Tensor] = {}

    def train(self, mode: bool = True) -> PositionCache:
        if mode:
            self.kept = {}
        return super().train(mode)

    def forward(self) -> Tensor:
        if self.training:
            return self.biases[:, self.index]
        return self.kept.setdefault("", self.biases[:, self.index])


class Positioned(nn.Module):
    """An attention with what belongs to each head beside queries, keys and values.

    Args:
        positions: makes what is added to the products of queries and keys, (heads, tokens, tokens), if any.
        order: "parts": the rows of all heads' queries come first; "heads": those of the first head.
        value: width of a head's values.
        norm: whether a normalisation follows the layers.
    """

    def __init__(
        self, positions: type[nn.Module] | None, order: str = "parts", value: int = 4, norm: bool = False
    ) -> None:
        super().__init__()
        self.num_heads, self.key_dim, self.value_dim, self.order = HEADS, 4, value, order
        self.out_dim = HEADS * value
        made = nn.Linear(WIDTH, HEADS * (8 + value)), nn.Linear(HEADS * value, WIDTH)
        self.qkv, self.proj = (Normed(layer) if norm else layer for layer in made)
        self.temperature = nn.Parameter(torch.rand(HEADS, 1, 1) + 0.5)
        self.positions = None if positions is None else positions()

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, _ = x.shape
        if self.order == "heads":
            made = self.qkv(x).view(batch, tokens, self.num_heads, -1).transpose(1, 2)
            q, k, v = made.split([self.key_dim, self.key_dim, self.value_dim], -1)
        else:
            made = self.qkv(x).reshape(batch, tokens, 3, self.num_heads, self.key_dim)
            q, k, v = made.permute(2, 0, 3, 1, 4).unbind(0)
        products = q @ k.transpose(2, 3) * self.temperature
        if self.positions is not None:
            found = self.positions.find if isinstance(self.positions, PositionMethod) else self.positions
            products = products + found()
        found = (products.softmax(-1) @ v).transpose(1, 2).reshape(batch, tokens, self.out_dim)
        return self.proj(found)  # type: ignore[no-any-return]


@pytest.mark.parametrize("norm", [False, True], ids=["plain", "normed"])
@pytest.mark.parametrize(("order", "value"), [("parts", 4), ("heads", 4), ("heads", 6)])
@pytest.mark.parametrize("positions", [None, PositionMlp, PositionMethod, PositionTable, PositionCache])
def test_what_belongs_to_a_head_goes_with_it(
    positions: type[nn.Module] | None, order: str, value: int, norm: bool
) -> None:
    network = around(Positioned(positions, order, value, norm))
    with torch.no_grad():
        network(example())  # what is kept in evaluation is there
    graph = trace(network, example())
    assert {pin.layer: pin.reason for pin in graph.pinned if not pin.output} == {
        name: UNSAMPLED for name in graph.unsampled if name.endswith("fc1")
    }
    maker = "attention.qkv.layer" if norm else "attention.qkv"
    (group,) = (g for g in graph.groups if any(m.layer == maker for m in g.members))
    assert group.size == HEADS
    smaller = check_cut(network, graph, {group.name: (1,)})
    left: Any = smaller.get_submodule("attention")
    assert (left.num_heads, left.out_dim, left.value_dim) == (2, 2 * value, value)
    assert torch.equal(left.temperature, network.attention.temperature[[0, 2]])
    if positions is PositionMlp:
        assert (left.positions.fc2.out_features, left.positions.num_heads) == (2, 2)
    if positions is PositionTable:
        assert left.positions.shape == (TOKENS, TOKENS, 2)
    check_cut(smaller, graph.without({group.name: (1,)}, smaller), {g.name: (0,) for g in graph.groups})


def test_a_convolution_may_make_queries_keys_and_values() -> None:
    class OnMaps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.heads, self.qkv, self.proj = HEADS, nn.Conv2d(WIDTH, 36, 1), nn.Conv2d(WIDTH, WIDTH, 1)

        def forward(self, x: Tensor) -> Tensor:
            maps = x.transpose(1, 2).unflatten(2, (2, 2))
            q, k, v = self.qkv(maps).reshape(len(x), 3, self.heads, 4, 4).unbind(1)
            found = v @ (q.transpose(2, 3) @ k).softmax(-1).transpose(2, 3)
            return self.proj(found.reshape(len(x), -1, 2, 2)).flatten(2).transpose(1, 2)

    network = around(OnMaps())
    graph = trace(network, example())
    assert all(pin.output for pin in graph.pinned), graph.pinned
    (group,) = (g for g in graph.groups if any(m.layer == "attention.qkv" for m in g.members))
    assert group.size == HEADS
    check_cut(network, graph, {group.name: (0, 2)})


class Sloped(Positioned):
    """Distances count by a slope for each head, taken from the first of a table (Press et al. 2022)."""

    def __init__(self) -> None:
        super().__init__(None)
        self.register_buffer("slopes", 4.0 ** -torch.arange(HEADS).view(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        made = self.qkv(x).reshape(*x.shape[:2], 3, self.num_heads, self.key_dim).permute(2, 0, 3, 1, 4)
        q, k, v = made.unbind(0)
        distance = self.slopes[: self.num_heads] * torch.arange(x.shape[1])
        found = ((q @ k.transpose(2, 3) - distance).softmax(-1) @ v).transpose(1, 2)
        return self.proj(found.reshape(*x.shape[:2], self.out_dim))  # type: ignore[no-any-return]


@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_heads_that_are_counted_from_the_first_are_not_accepted_by_chance(blocks: int) -> None:
    network = around(nn.Sequential(*(Sloped() for _ in range(blocks))))
    graph = trace(network, example())
    assert not any("qkv" in member.layer for group in graph.groups for member in group.members)
    # What has nothing to do with heads still goes.
    assert "first" in {group.name for group in graph.groups}


class ViewedBehind(Positioned):
    """A view by the width of the network, behind the attention."""

    def __init__(self) -> None:
        super().__init__(None)
        self.width = WIDTH

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).view(len(x), -1, self.width)


class Windows(Positioned):
    """A shape in which one number is that of the heads by coincidence."""

    def __init__(self) -> None:
        super().__init__(None)
        self.window = (HEADS, 5, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        padded = nn.functional.pad(x, (0, 0, 0, 15 - x.shape[1]))
        return super().forward(padded.view(len(x), *self.window[:2], -1).flatten(1, 2)[:, : x.shape[1]])


class Remembering(Positioned):
    """As many tokens of its own as heads, beside those that it is given."""

    def __init__(self) -> None:
        super().__init__(None)
        self.memory = nn.Parameter(torch.randn(1, HEADS, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        whole = torch.cat([self.memory.expand(len(x), -1, -1), x], 1)
        return super().forward(whole)[:, HEADS:]


class Placed(Positioned):
    """Positions of as many tokens as heads, each as wide as the network."""

    def __init__(self) -> None:
        super().__init__(None)
        self.places = nn.Parameter(torch.randn(HEADS, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(torch.cat([x[:, :1], x[:, 1:] + self.places], 1))


@pytest.mark.parametrize("kind", [ViewedBehind, Windows, Remembering, Placed])
def test_numbers_that_are_those_of_the_heads_by_coincidence(kind: type[Positioned]) -> None:
    network = around(kind())  # type: ignore[call-arg]
    graph = trace(network, example())
    assert all(pin.output for pin in graph.pinned), graph.pinned
    assert {group.size for group in graph.groups} == {HEADS, WIDTH}
    check_cut(network, graph, {group.name: (0,) for group in graph.groups})


class Whole(nn.Module):
    """The network itself is the attention; before it and behind it are layers of as many units as heads."""

    def __init__(self, stem: int, classes: int) -> None:
        super().__init__()
        self.stem, self.first, self.num_heads = nn.Conv1d(8, stem, 1), nn.Linear(stem, WIDTH), HEADS
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, 10)
        self.head = nn.Linear(10, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(self.stem(x.squeeze(1)).transpose(1, 2))
        made = self.qkv(x).unflatten(2, (3, self.num_heads, 4)).permute(2, 0, 3, 1, 4)
        found = scaled_dot_product_attention(*made).transpose(1, 2).flatten(2)
        return self.head(self.proj(found).relu().mean(1))  # type: ignore[no-any-return]


@pytest.mark.parametrize(("stem", "classes"), [(6, 5), (HEADS, 5), (6, HEADS), (HEADS, HEADS)])
def test_layers_before_and_behind_have_no_entry_a_head(stem: int, classes: int) -> None:
    torch.manual_seed(0)
    graph = trace(Whole(stem, classes).eval(), example())
    assert {group.name: group.size for group in graph.groups} == {
        "stem": stem,
        "first": WIDTH,
        "qkv": HEADS,
        "proj": 10,
    }
