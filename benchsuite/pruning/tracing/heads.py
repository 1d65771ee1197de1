"""Heads of attentions, and what belongs to each of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from benchsuite.pruning.attention import HEADS, attention_of, heads_attribute, is_pointwise
from benchsuite.pruning.axes import Axis, axes_of
from benchsuite.pruning.tracing.layouts import VIEWS, output_shape

if TYPE_CHECKING:
    from collections.abc import Collection

    from benchsuite.pruning.attention import Attention
    from benchsuite.pruning.tracing.couplings import Couplings
    from benchsuite.pruning.tracing.recorded_graph import RecordedGraph


@dataclass(frozen=True)
class AttentionLayers:
    """What takes part in the attentions whose heads can be removed.

    Attributes:
        follow: outputs of the layers that make queries, keys and values, which are followed to their end.
        stop: those whose outputs are followed to where the heads are told apart.
        readers: inputs of the layers that read what the heads give; they are tied to the heads.
        of_heads: axes with an entry for each head; nobody follows them.
    """

    follow: set[Axis] = field(default_factory=set)
    stop: set[Axis] = field(default_factory=set)
    readers: set[Axis] = field(default_factory=set)
    of_heads: set[Axis] = field(default_factory=set)

    def __contains__(self, axis: Axis) -> bool:
        return any(axis in those for those in (self.follow, self.stop, self.readers, self.of_heads))


def tie_heads(model: nn.Module, graph: RecordedGraph, couplings: Couplings) -> AttentionLayers:
    """Tie what belongs to each head of the attentions whose heads can be removed.

    Args:
        model: the network.
        graph: what it recorded.
        couplings: the entries of its axes; ties are added.
    """
    found = AttentionLayers()
    for name, module in model.named_modules():
        if (parts := attention_of(module)) is not None:
            _Heads(graph, couplings, name, module, parts).tie(found)
    return found


def _told_apart(shape: tuple[int, ...], size: int, *, last: bool) -> tuple[int, ...]:
    """The dimensions that a view gives so many channels, if several.

    Args:
        shape: the view's.
        size: how many channels.
        last: whether they are the last dimensions, as after a linear layer, or begin with the second.
    """
    parts = (shape[start:] for start in range(1, len(shape) - 1))
    if not last:
        parts = (shape[1:end] for end in range(3, len(shape) + 1))
    return next((part for part in parts if prod(part) == size), ())


class _Heads:
    """Ties all that belongs to a head of one attention."""

    def __init__(
        self, graph: RecordedGraph, couplings: Couplings, name: str, module: nn.Module, parts: Attention
    ) -> None:
        self._graph, self._couplings, self._parts = graph, couplings, parts
        self._name, self._module = name, module
        self._before = f"{name}." if name else ""
        self._axis = Axis(name, "heads")

    def tie(self, found: AttentionLayers) -> None:
        makers = {Axis(self._before + maker, "out"): count for maker, count in self._parts.makers.items()}
        reader = Axis(self._before + self._parts.reader, "in")
        if not self._couplings.sizes.keys() >= {*makers, reader}:
            return
        self._couplings.add(self._axis, self._parts.heads)
        for maker, count in makers.items():
            size = self._couplings.sizes[maker]
            if self._has_heads_first(maker, count):
                self._tie(maker, size)
                found.stop.add(maker)
            else:
                self._tie(maker, size // count)
                found.follow.add(maker)
        self._tie(reader, self._parts.width)
        found.readers.add(reader)
        layers = {*self._parts.makers, self._parts.reader}
        self._tie_what_heads_have(layers, found)
        self._tie_stated({self._parts.width, *(self._couplings.sizes[maker] for maker in makers)})

    def _tie(self, axis: Axis, size: int) -> None:
        """Tie the entries of an axis to their heads, which follow each other in every `size` entries."""
        every = np.arange(self._couplings.sizes[axis])
        head = every % size // (size // self._parts.heads)
        self._couplings.tie(self._couplings.of(axis, every), self._couplings.of(self._axis, head))

    def _has_heads_first(self, maker: Axis, count: int) -> bool:
        """Whether the rows of one head follow each other, as the view after the layer shows.

        Else those of the queries of all heads come first, then those of the keys, then of the values.
        """
        size, heads = self._couplings.sizes[maker], self._parts.heads
        if size != count * self._parts.width:
            return True
        layer = self._module.get_submodule(self._inside(maker.name))
        last, node = isinstance(layer, nn.Linear), self._graph.of_layer[layer]
        while len(node.outputs) == 1:
            node = node.outputs[0]
            made = output_shape(node.operation, 0)
            if node.operation.name().startswith(VIEWS) and (told := _told_apart(made, size, last=last)):
                return count > 1 and told[0] == heads and told[:2] != (count, heads)
        return False

    def _tie_what_heads_have(self, layers: Collection[str], found: AttentionLayers) -> None:
        """Tie parameters and layers in the attention that have an entry for each head, such as biases."""
        if self._parts.heads == 1:
            return
        inside = {p for layer in layers for p in self._module.get_submodule(layer).parameters()}
        for name, module in self._module.named_modules():
            whole = self._before + name if name else self._name
            axes = [axis for axis, size in axes_of(whole, module) if size == self._parts.heads]
            if name not in layers and is_pointwise(module):
                for axis in axes:
                    self._tie_if_known(axis, found)
            elif not isinstance(module, nn.Linear | nn.modules.conv._ConvNd) and not axes:
                for own, parameter in module.named_parameters(recurse=False):
                    dims = [dim for dim, size in enumerate(parameter.shape) if size == self._parts.heads]
                    if len(dims) == 1 and parameter not in inside:
                        axis = Axis(f"{whole}.{own}" if whole else own, "parameter", dims[0])
                        if axis not in self._couplings.sizes:
                            self._couplings.add(axis, self._parts.heads)
                        self._tie_if_known(axis, found)

    def _tie_if_known(self, axis: Axis, found: AttentionLayers) -> None:
        if axis in self._couplings.sizes:
            self._tie(axis, self._parts.heads)
            found.of_heads.add(axis)

    def _tie_stated(self, widths: Collection[int]) -> None:
        """Tie numbers in attributes that count heads, or what all heads have together."""
        own = Axis(self._name, "size", attribute=heads_attribute(self._module) or "")
        stated = {each.axis for of_one in self._graph.stated.of.values() for each in of_one}
        for axis in stated - {own}:
            inside = axis.name == self._name or axis.name.startswith(self._before)
            size = self._couplings.sizes[axis]
            if inside and (size in widths or self._counts_heads(axis)):
                self._tie(axis, size)

    def _inside(self, name: str) -> str:
        """A module's name within the attention."""
        return "" if name == self._name else name.removeprefix(self._before)

    def _counts_heads(self, axis: Axis) -> bool:
        """Whether a number says how many heads there are: by its name, or as the only one of a shape."""
        value = getattr(self._module.get_submodule(self._inside(axis.name)), axis.attribute)
        if isinstance(value, tuple | list):
            return value[axis.dim] == self._parts.heads and value.count(self._parts.heads) == 1
        return value == self._parts.heads and axis.attribute in HEADS
