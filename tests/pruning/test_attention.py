"""Attentions by other authors: their names are known, and what cannot do with fewer heads stays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from pruning_networks import CLASSES, check_cut, example
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from benchsuite.pruning.attention import attention_of, heads_of, take_heads
from benchsuite.pruning.tracing.trace import trace

if TYPE_CHECKING:
    from torch import Tensor

WIDTH, HEADS = 12, 3
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


class Around(nn.Module):
    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, WIDTH, 4, 4), nn.LayerNorm(WIDTH)
        self.attention, self.head = attention, nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).flatten(2).transpose(1, 2)
        return self.head((x + self.attention(self.norm(x))).mean(1))  # type: ignore[no-any-return]


def around(attention: nn.Module) -> Around:
    torch.manual_seed(0)
    return Around(attention).eval()


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


@pytest.mark.parametrize("makers", [SEPARATE, ("qkv",)])
def test_a_width_that_follows_from_the_input_lets_nothing_go(makers: tuple[str, ...]) -> None:
    network = around(Written(makers, "num_heads", "proj", "input"))
    graph = trace(network, example())
    # Neither can the input be narrower, which the code divides among the heads.
    assert graph.layers == ()
    assert {pin.layer for pin in graph.pinned} >= {"first", *(f"attention.{name}" for name in makers)}
    assert "the pruned network does not run" in graph.what_stays()


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


def test_widths_of_all_heads_follow() -> None:
    module = Written(SEPARATE, "num_heads", "out_proj", "head_dim")
    module.inner_dim, module.all_head_dim, module.scale = WIDTH, None, 12
    take_heads(module, 2)
    assert (module.num_heads, module.inner_dim, module.all_head_dim, module.scale) == (1, 4, None, 12)
    assert module.head_dim == WIDTH // HEADS
