"""Attentions whose heads can be removed, recognised by the names that authors usually give the parts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEADS = ("num_heads", "num_attention_heads", "n_heads", "n_head", "nheads", "nhead", "heads")
_WIDTHS = ("attn_dim", "all_head_dim", "all_head_size", "inner_dim")
"""Attributes that have the width of all heads together."""
_LAYER = r"(?:to_|w_?|fc_|lin_)?(?:{})(?:_?(?:proj|projection|lin|linear|layer|fc))?"
_PARTS = {
    "qkv": re.compile(_LAYER.format("qkv") + "|Wqkv|c_attn|in_proj"),
    "kv": re.compile(_LAYER.format("kv")),
    "q": re.compile(_LAYER.format("q|query|queries")),
    "k": re.compile(_LAYER.format("k|keys?")),
    "v": re.compile(_LAYER.format("v|values?")),
}
_WHOLE = (("qkv",), ("q", "kv"), ("q", "k", "v"))
"""Which layers make queries, keys and values together."""


@dataclass(frozen=True)
class Attention:
    """The parts of a module that computes an attention.

    Attributes:
        heads: how many heads.
        size: width of a head.
        makers: names of the linear layers, within the module, that make queries, keys and values. One that
            makes several of them has the rows of all heads' queries first, then of the keys, then of the
            values.
        reader: name of the linear layer that reads what the heads give.
    """

    heads: int
    size: int
    makers: tuple[str, ...]
    reader: str


def attention_of(module: nn.Module) -> Attention | None:
    """The attention that a module computes, or None.

    It has an attribute with its number of heads and linear layers of fitting widths. Whether the rest of its
    code does with fewer heads, only a trial removal shows.
    """
    attribute = _heads_attribute(module)
    if attribute is None:
        return None
    heads = int(getattr(module, attribute))
    layers = dict(_linear_layers(module))
    makers = _makers(layers)
    if not makers:
        return None
    widths = {layers[name].out_features / len(part) for part, name in makers.items()}
    width = int(min(widths))
    if widths != {width} or heads < 1 or width % heads:
        return None
    made = tuple(makers.values())
    readers = [name for name, layer in layers.items() if name not in made and layer.in_features == width]
    return Attention(heads, width // heads, made, readers[0]) if len(readers) == 1 else None


def heads_of(module: nn.Module) -> int:
    """How many heads an attention has."""
    attribute = _heads_attribute(module)
    assert attribute is not None
    return int(getattr(module, attribute))


def take_heads(module: nn.Module, count: int) -> None:
    """Tell an attention, in place, that it has so many heads less; its layers are cut separately."""
    attribute = _heads_attribute(module)
    assert attribute is not None
    heads = int(getattr(module, attribute))
    setattr(module, attribute, heads - count)
    for name in _WIDTHS:
        width = getattr(module, name, None)
        if isinstance(width, int) and width % heads == 0:
            setattr(module, name, width // heads * (heads - count))


def _heads_attribute(module: nn.Module) -> str | None:
    found = [name for name in _HEADS if type(getattr(module, name, None)) is int]
    return found[0] if found else None


def _linear_layers(module: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    """The linear layers in a module, and the first ones in its sequences, as of `to_out`."""
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            yield name, child
        elif isinstance(child, nn.Sequential | nn.ModuleList):
            first = next(((n, c) for n, c in child.named_children() if isinstance(c, nn.Linear)), None)
            if first is not None:
                yield f"{name}.{first[0]}", first[1]


def _makers(layers: dict[str, nn.Linear]) -> dict[str, str]:
    """By what it makes, "q", "kv" and so on, the name of a layer; empty where it is not clear."""
    named = {part: [name for name in layers if pattern.fullmatch(name)] for part, pattern in _PARTS.items()}
    for whole in _WHOLE:
        if all(len(named[part]) == 1 for part in whole):
            return {part: named[part][0] for part in whole}
    return {}
