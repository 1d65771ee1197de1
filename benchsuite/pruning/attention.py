"""Attentions whose heads can be removed, recognised by the names that authors usually give the parts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterator

HEADS = ("num_heads", "num_attention_heads", "n_heads", "n_head", "nheads", "nhead", "heads")
"""How authors call the number of heads."""
_LAYER = r"(?:to_|w_?|fc_|lin_)?(?:{})(?:_?(?:proj|projection|lin|linear|layer|fc))?"
_PARTS = {
    "qkv": re.compile(_LAYER.format("qkv") + "|Wqkv|c_attn|in_proj"),
    "qk": re.compile(_LAYER.format("qk")),
    "kv": re.compile(_LAYER.format("kv")),
    "q": re.compile(_LAYER.format("q|query|queries")),
    "k": re.compile(_LAYER.format("k|keys?")),
    "v": re.compile(_LAYER.format("v|values?")),
}
_WHOLE = (("qkv",), ("q", "kv"), ("qk", "v"), ("q", "k", "v"))
"""Which layers make queries, keys and values together."""


@dataclass(frozen=True)
class Attention:
    """The parts of a module that computes an attention.

    Attributes:
        heads: how many heads.
        makers: by name of each layer, within the module, that makes queries, keys and values, how many of
            these it makes.
        reader: name of the layer that reads what the heads give.
        width: how much it reads.
    """

    heads: int
    makers: dict[str, int]
    reader: str
    width: int


def attention_of(module: nn.Module) -> Attention | None:
    """The attention that a module computes, or None.

    It has an attribute with its number of heads and layers of fitting widths. Whether the rest of its code
    does with fewer heads, only a trial removal shows.
    """
    attribute = heads_attribute(module)
    if attribute is None or (heads := int(getattr(module, attribute))) < 1:
        return None
    layers = dict(_layers(module))
    made = _makers(layers)
    if not made:
        return None
    makers = {name: len(part) for part, name in made.items()}
    parts = {name: layers[name].weight.shape[0] / count for name, count in makers.items()}
    if any(layers[name].weight.shape[0] % heads for name in makers):
        return None
    others = {name: layer.weight.shape[1] for name, layer in layers.items() if name not in makers}
    # What the heads give is as wide as the values, and these as the keys but where one layer makes both.
    width = min(parts.values())
    readers = [name for name, size in others.items() if size == width] if {*parts.values()} == {width} else []
    if not readers and len(makers) == 1:
        readers = [name for name, size in others.items() if size % heads == 0]
    if len(readers) != 1 or others[readers[0]] % heads:
        return None
    return Attention(heads, makers, readers[0], others[readers[0]])


def heads_attribute(module: nn.Module) -> str | None:
    """The name of the attribute with the number of heads, or None."""
    found = [name for name in HEADS if type(getattr(module, name, None)) is int]
    return found[0] if found else None


def heads_of(module: nn.Module) -> int:
    """How many heads an attention has."""
    attribute = heads_attribute(module)
    assert attribute is not None
    return int(getattr(module, attribute))


def take_heads(module: nn.Module, count: int) -> None:
    """Tell an attention, in place, that it has so many heads less; its layers are cut separately."""
    attribute = heads_attribute(module)
    assert attribute is not None
    setattr(module, attribute, int(getattr(module, attribute)) - count)


def is_pointwise(module: nn.Module) -> bool:
    """Whether it is a linear layer, or a convolution that is one at every position."""
    if isinstance(module, nn.modules.conv._ConvNd):
        return not module.transposed and module.groups == 1 and {*module.kernel_size} == {1}
    return isinstance(module, nn.Linear)


def _layers(module: nn.Module) -> Iterator[tuple[str, nn.Linear | nn.modules.conv._ConvNd]]:
    """The layers in a module, and the first one in each of its children that is no layer itself."""
    for name, child in module.named_children():
        for inner, layer in child.named_modules():
            if is_pointwise(layer):
                assert isinstance(layer, nn.Linear | nn.modules.conv._ConvNd)
                yield f"{name}.{inner}" if inner else name, layer
                break


def _makers(layers: dict[str, nn.Linear | nn.modules.conv._ConvNd]) -> dict[str, str]:
    """By what it makes, "q", "kv" and so on, the name of a layer; empty where it is not clear."""
    named = {
        part: [name for name in layers if pattern.fullmatch(name.partition(".")[0])]
        for part, pattern in _PARTS.items()
    }
    for whole in _WHOLE:
        if all(len(named[part]) == 1 for part in whole):
            return {part: named[part][0] for part in whole}
    return {}
