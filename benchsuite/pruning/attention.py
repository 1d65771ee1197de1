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
        holder: name of the module, within this one, that knows how many; empty for the module itself. It is
            another one where the layer that reads what the heads give lies beside it.
        makers: by name of each layer, within the module, that makes queries, keys and values, how many of
            these it makes.
        reader: name of the layer that reads what the heads give.
        width: how much it reads.
    """

    heads: int
    holder: str
    makers: dict[str, int]
    reader: str
    width: int


def attention_of(module: nn.Module) -> Attention | None:
    """The attention that a module computes, or None.

    It has an attribute with its number of heads and layers of fitting widths. Whether the rest of its code
    does with fewer heads, only a trial removal shows.
    """
    holder = _holder(module)
    if holder is None:
        return None
    inner = module.get_submodule(holder)
    heads = int(getattr(inner, _own_attribute(inner) or ""))
    layers = dict(_layers(module))
    within = dict(_layers(inner))
    if holder:
        layers = {name: layer for name, layer in layers.items() if name.partition(".")[0] != holder}
        layers |= {f"{holder}.{name}": layer for name, layer in within.items()}
    made = {part: f"{holder}.{name}" if holder else name for part, name in _makers(within).items()}
    if not made or heads < 1:
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
    return Attention(heads, holder, makers, readers[0], others[readers[0]])


def _holder(module: nn.Module) -> str | None:
    """The name of the module, within this one, that knows how many heads there are; None if it is not clear.

    It is the module itself, or the only one of its children that makes queries, keys and values, if no layer
    in there reads what the heads give.
    """
    if _own_attribute(module) is not None:
        return ""
    found = [
        name
        for name, child in module.named_children()
        if _own_attribute(child) is not None and _makers(dict(_layers(child)))
    ]
    return found[0] if len(found) == 1 and attention_of(module.get_submodule(found[0])) is None else None


def _own_attribute(module: nn.Module) -> str | None:
    found = [name for name in HEADS if type(getattr(module, name, None)) is int]
    return found[0] if found else None


def heads_attribute(module: nn.Module) -> tuple[nn.Module, str]:
    """The module, it or one in it, and the name of its attribute with the number of heads of an attention."""
    holder = _holder(module)
    assert holder is not None
    inner = module.get_submodule(holder)
    return inner, _own_attribute(inner) or ""


def heads_of(module: nn.Module) -> int:
    """How many heads an attention has."""
    return int(getattr(*heads_attribute(module)))


def take_heads(module: nn.Module, count: int) -> None:
    """Tell an attention, in place, that it has so many heads less; its layers are cut separately."""
    inner, attribute = heads_attribute(module)
    setattr(inner, attribute, int(getattr(inner, attribute)) - count)


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
