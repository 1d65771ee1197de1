"""Heads of attentions, and what belongs to each of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from benchsuite.pruning.attention import HEADS, attention_of, heads_attribute, is_pointwise
from benchsuite.pruning.axes import Axis, axes_of
from benchsuite.pruning.tracing.layouts import VIEWS, output_shape

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from benchsuite.pruning.attention import Attention
    from benchsuite.pruning.tracing.couplings import Couplings
    from benchsuite.pruning.tracing.recorded_graph import Node, RecordedGraph


@dataclass(frozen=True)
class AttentionLayers:
    """What takes part in the attentions whose heads can be removed.

    Attributes:
        follow: outputs of the layers that make queries, keys and values, which are followed to their end.
        stop: those whose outputs are followed to where the heads are told apart.
        readers: inputs of the layers that read what the heads give; they are tied to the heads.
        of_heads: axes with an entry for each head; nobody follows them.
        widths: numbers in attributes that may be as wide as all heads, with the attention's axis and how many
            heads it has.
    """

    follow: set[Axis] = field(default_factory=set)
    stop: set[Axis] = field(default_factory=set)
    readers: set[Axis] = field(default_factory=set)
    of_heads: set[Axis] = field(default_factory=set)
    widths: dict[Axis, tuple[Axis, int]] = field(default_factory=dict)

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


def _reached(nodes: Sequence[Node], following: Callable[[Node], list[Node]]) -> set[Node]:
    """The nodes that some nodes lead to, these aside."""
    waiting = [each for node in nodes for each in following(node)]
    seen: set[Node] = set()
    while waiting:
        if (node := waiting.pop()) not in seen:
            seen.add(node)
            waiting.extend(following(node))
    return seen


class _Heads:
    """Ties all that belongs to a head of one attention."""

    def __init__(
        self, graph: RecordedGraph, couplings: Couplings, name: str, module: nn.Module, parts: Attention
    ) -> None:
        self._graph, self._couplings, self._parts = graph, couplings, parts
        self._name, self._module = name, module
        self._before = f"{name}." if name else ""
        self._axis = Axis(name, "heads")
        self._of_heads: set[Axis] = set()

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
        self._note_stated({self._parts.width, *(self._couplings.sizes[maker] for maker in makers)}, found)

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
        layer = self._layer(self._inside(maker.name))
        last, node = isinstance(layer, nn.Linear), self._graph.of_layer[layer]
        for after in node.only_readers():
            made = output_shape(after.operation, 0)
            if after.operation.name().startswith(VIEWS) and (told := _told_apart(made, size, last=last)):
                return count > 1 and told[0] == heads and told[:2] != (count, heads)
        return False

    def _tie_what_heads_have(self, layers: Collection[str], found: AttentionLayers) -> None:
        """Tie parameters and layers in the attention that have an entry for each head, such as biases.

        What queries, keys and values are made of, or what the heads' results go into, has none.
        """
        if self._parts.heads == 1:
            return
        elsewhere = self._before_and_after()
        wide = {self._parts.width, *(self._layer(name).weight.shape[1] for name in self._parts.makers)}
        for name, module in self._module.named_modules():
            whole = self._before + name if name else self._name
            axes = [axis for axis, size in axes_of(whole, module) if size == self._parts.heads]
            if is_pointwise(module):
                if name not in layers and module not in elsewhere:
                    for axis in axes:
                        self._tie_if_known(axis, found)
            elif not isinstance(module, nn.modules.conv._ConvNd) and not axes:
                for own, parameter in module.named_parameters(recurse=False):
                    dims = [dim for dim, size in enumerate(parameter.shape) if size == self._parts.heads]
                    if len(dims) == 1 and parameter not in elsewhere and wide.isdisjoint(parameter.shape):
                        axis = Axis(f"{whole}.{own}" if whole else own, "parameter", dims[0])
                        if axis not in self._couplings.sizes:
                            self._couplings.add(axis, self._parts.heads)
                        self._tie_if_known(axis, found)

    def _before_and_after(self) -> set[nn.Module | nn.Parameter]:
        """The layers and parameters that queries, keys and values are made of, or that read the result."""
        makers = [self._graph.of_layer[self._layer(name)] for name in self._parts.makers]
        reader = self._graph.of_layer[self._layer(self._parts.reader)]
        before = _reached(makers, lambda node: node.inputs)
        after = _reached([reader], lambda node: node.outputs)
        return {node.owner for node in (*before, *after) if node.owner is not None}

    def _layer(self, name: str) -> nn.Linear | nn.modules.conv._ConvNd:
        layer = self._module.get_submodule(name)
        assert isinstance(layer, nn.Linear | nn.modules.conv._ConvNd)
        return layer

    def _tie_if_known(self, axis: Axis, found: AttentionLayers) -> None:
        if axis in self._couplings.sizes:
            self._tie(axis, self._parts.heads)
            self._of_heads.add(axis)
            found.of_heads.add(axis)

    def _note_stated(self, widths: Collection[int], found: AttentionLayers) -> None:
        """Tie numbers in attributes that count heads; note those that may count what all heads have."""
        holder = self._before + self._parts.holder if self._parts.holder else self._name
        own = Axis(holder, "size", attribute=heads_attribute(self._module)[1])
        of_heads = self._made_of_heads()
        for operation, every in self._graph.stated.of.items():
            for stated in every:
                inside = stated.axis.name == self._name or stated.axis.name.startswith(self._before)
                if not inside or stated.axis == own:
                    continue
                size = self._couplings.sizes[stated.axis]
                if size == self._parts.heads and (operation in of_heads or stated.axis.attribute in HEADS):
                    self._tie(stated.axis, size)
                elif size in widths and stated.dim in (1, len(output_shape(operation, 0)) - 1):
                    found.widths[stated.axis] = self._axis, self._parts.heads

    def _made_of_heads(self) -> set[Any]:
        """The operations on what has an entry for each head, before it meets queries and keys."""
        names = {axis.name for axis in self._of_heads}
        owners = {owner for owner, name in self._graph.names.items() if name in names}
        roots = [node for node in self._graph.nodes if node.owner in owners]
        made = {node.operation for node in _reached(roots, lambda node: node.outputs)}
        makers = [self._graph.of_layer[self._layer(name)] for name in self._parts.makers]
        return made - {node.operation for node in _reached(makers, lambda node: node.outputs)}

    def _inside(self, name: str) -> str:
        """A module's name within the attention."""
        return "" if name == self._name else name.removeprefix(self._before)
