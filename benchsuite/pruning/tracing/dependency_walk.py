"""A walk over the tracing library's graph, from every layer's output to all readers of its units.

The library's own walk drops ties between channels of one layer, so its graph is walked here with the index
maps of `_channel_flow`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from benchsuite.errors import Unsupported
from benchsuite.pruning.axes import Axis, axes_of, is_prunable, own_weight
from benchsuite.pruning.graph import OUTPUT
from benchsuite.pruning.tracing.channel_flow import input_map, inside, obstacle, output_map
from benchsuite.pruning.tracing.couplings import Couplings
from benchsuite.pruning.tracing.index_maps import Taken
from benchsuite.pruning.tracing.layouts import Layouts, output_shape
from benchsuite.pruning.tracing.module_couplings import tie_inside_modules
from benchsuite.pruning.tracing.parts import parted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from benchsuite.pruning.tracing.index_maps import IndexMap

    Integers = NDArray[np.int64]


MOST_STEPS = 200_000
"""Nodes that a walk may visit; the largest networks of torchvision and timm take some thousands."""
_SHIFTED = "it meets other channels by a shift or selection along the channels, as in LocalResponseNorm"


@dataclass(frozen=True)
class Dependencies:
    """What the dependency graph says about a network.

    Attributes:
        couplings: which entries must be removed together.
        sizes: number of entries of every axis.
        norms: by convolution or linear layer, the batch normalisation that is the only one to read it.
    """

    couplings: Couplings
    sizes: dict[Axis, int]
    norms: dict[str, str]


class Walk:
    """Walks the library's graph from every layer's output and notes which entries it reaches."""

    def __init__(self, graph: Any, model: nn.Module) -> None:
        self.graph = graph
        self.model = model
        self.names: dict[Any, str] = {module: name for name, module in model.named_modules()}
        self.names |= graph._param_to_name
        self.couplings = Couplings()
        self.layouts = Layouts()
        self.attention: set[Axis] = set()
        """Outputs of the layers that compute queries, keys and values of attentions with removable heads."""
        self.seen: dict[tuple[Any, Callable[..., Any]], Integers] = {}
        """By node and handler, the root that first reached each channel, or -1."""
        self.taken: dict[tuple[Any, Callable[..., Any]], set[Taken]] = {}
        """By node and handler, the parts of its channels that its readers take."""
        self.inside: set[Any] = set()
        """Operations inside the layers."""
        self.steps = 0
        self._largest = max(
            (prod(output_shape(node.grad_fn, 0)) for node in graph.module2node.values()), default=0
        )
        """Numbers in the largest tensor: no tensor has more channels."""

    def run(self) -> Dependencies:
        """Walk from every layer, and return what was found."""
        layers = [m for m in self.model.modules() if m in self.graph.module2node and is_prunable(m)]
        for node in self.graph.module2node.values():
            for axis, size in self._axes(node):
                if axis not in self.couplings.sizes:
                    self.couplings.add(axis, size)
        self._pin_transposed()
        self.attention = tie_inside_modules(self.model, self.couplings)
        for layer in layers:
            self.inside |= inside(self.graph.module2node[layer].grad_fn)
        for layer in layers:
            self._walk_from(layer)
        norms = {self.names[layer]: norm for layer in layers if (norm := self._norm_after(layer)) is not None}
        self._note_parts()
        return Dependencies(self.couplings, self.couplings.sizes, norms)

    def _note_parts(self) -> None:
        """Note which tensors are read in parts, and which entries are in each part."""
        for reached, taken in self.taken.items():
            if reached in self.seen:
                self.couplings.parted.append(parted(self.seen[reached], taken))

    def _pin_transposed(self) -> None:
        """Keep the units of transposed convolutions: their weights have the inputs first."""
        for axis, size in self.couplings.sizes.items():
            module = None if axis.side == "parameter" else self.model.get_submodule(axis.name)
            if isinstance(module, nn.modules.conv._ConvNd) and module.transposed and axis.side != "in":
                reason = f"{axis.name} is a transposed convolution, whose units are not removed"
                self.couplings.pin(self.couplings.of(axis, np.arange(size)), reason)

    def _axes(self, node: Any) -> Iterator[tuple[Axis, int]]:
        """The axes of a node's module that can lose entries."""
        module = node.module
        if isinstance(module, nn.Parameter):
            dim = self._parameter_dim(node)
            yield Axis(self.names[module], "parameter", dim), module.shape[dim]
        elif module in self.names:
            yield from axes_of(self.names[module], module)

    def _parameter_dim(self, node: Any) -> int:
        """The channel dimension of a parameter: that of its readers, or the library's guess."""
        shape = node.module.shape
        for reader in node.outputs:
            dim = self.layouts.channel_dim(reader.grad_fn)
            made = output_shape(reader.grad_fn, 0)
            if dim is not None and (place := dim - len(made) + len(shape)) >= 0 and shape[place] == made[dim]:
                return place
        return int(node.pruning_dim) % len(shape)

    def _walk_from(self, layer: nn.Module) -> None:
        node = self.graph.module2node[layer]
        handler = self.graph.get_pruner_of_module(layer).prune_out_channels
        root = self._targets(node, handler)[0]
        in_attention = root in self.attention
        every = np.arange(_units(layer))
        stack = [(node, handler, every, self.couplings.of(root, every))]
        while stack:
            node, handler, numbers, roots = stack.pop()
            self._count_step()
            if not in_attention and (reason := self._obstacle(node)) is not None:
                self.couplings.pin(roots, reason)
                continue
            size = self._largest if in_attention else self._channels(node)
            self.couplings.pin(roots[numbers >= size], _SHIFTED)
            numbers, roots = numbers[numbers < size], roots[numbers < size]
            if not len(numbers):
                continue
            numbers, roots = self._first_time(node, handler, numbers, roots)
            if not len(numbers):
                continue
            self._note(node, handler, numbers, roots)
            for place, dependency in enumerate(node.dependencies):
                if dependency.is_triggered_by(handler):
                    if not in_attention:
                        self._note_taken(node, place, handler)
                    followed, reached = self._along(node, place, numbers, roots)
                    if len(followed):
                        stack.append((dependency.target, dependency.handler, followed, reached))

    def _count_step(self) -> None:
        self.steps += 1
        if self.steps > MOST_STEPS:
            raise Unsupported(
                f"following the channels of this network took more than {MOST_STEPS} steps; a smaller "
                "variant of the model takes less"
            )

    def _channels(self, node: Any) -> int:
        """How many channels a node's numbers can name; with `_largest` every walk comes to an end.

        Of an operation with one output this is the size of its channel dimension, where that is known. What
        a mean over the channels leaves, a single one, stands for all of them.
        """
        operation = node.grad_fn
        if self._is_of_a_module(node):
            return self._largest
        dim, shape = self.layouts.channel_dim(operation), output_shape(operation, 0)
        if dim is None or len(operation._input_metadata) > 1 or shape[dim] == 1:
            return self._largest
        return shape[dim]

    def _first_time(
        self, node: Any, handler: Callable[..., Any], numbers: Integers, roots: Integers
    ) -> tuple[Integers, Integers]:
        """A node's channels that no walk has reached yet, each once; roots that reach the same are tied."""
        seen = self.seen.get((node, handler), np.empty(0, np.int64))
        if len(seen) <= numbers.max():
            seen = np.concatenate((seen, np.full(int(numbers.max()) + 1 - len(seen), -1, np.int64)))
            self.seen[node, handler] = seen
        before = seen[numbers]
        self.couplings.tie(roots[before >= 0], before[before >= 0])
        numbers, roots = numbers[before < 0], roots[before < 0]
        seen[numbers] = roots
        self.couplings.tie(roots, seen[numbers])
        numbers = np.unique(numbers)
        return numbers, seen[numbers]

    def _along(self, node: Any, place: int, numbers: Integers, roots: Integers) -> tuple[Integers, Integers]:
        """The channel numbers at the other end of a node's `place`-th edge, with the roots they come from."""
        reader, slot = self._edge(node, place)
        if reader is node:
            if (entry := self._input_map(reader, slot)) is not None:
                which, found = entry.backward(numbers)
                if entry.makes_constants:
                    self.couplings.pin(
                        np.delete(roots, which), "it meets channels that are padded with zeros"
                    )
                numbers, roots = found, roots[which]
            if (part := self._part_read(reader, slot)) is not None:
                which, numbers = part.backward(numbers)
                roots = roots[which]
            return numbers, roots
        for index_map in (self._part_read(reader, slot), self._input_map(reader, slot)):
            if index_map is not None:
                which, numbers = index_map.forward(numbers)
                roots = roots[which]
        return numbers, roots

    def _edge(self, node: Any, place: int) -> tuple[Any, int]:
        """The reader of a node's `place`-th edge, which may be the node itself, and which of its inputs."""
        if place < len(node.inputs):
            return node, place
        reader = node.outputs[place - len(node.inputs)]
        earlier = sum(other is reader for other in node.outputs[: place - len(node.inputs)])
        return reader, [n for n, source in enumerate(reader.inputs) if source is node][earlier]

    def _note_taken(self, node: Any, place: int, handler: Callable[..., Any]) -> None:
        """Note it if the reader of an edge takes a part of its source's channels."""
        reader, slot = self._edge(node, place)
        source = reader.inputs[slot]
        if reader is node:
            handler = node.dependencies[place].handler
        for index_map in (self._part_read(reader, slot), self._input_map(reader, slot)):
            if isinstance(index_map, Taken):
                self.taken.setdefault((source, handler), set()).add(index_map)

    def _obstacle(self, node: Any) -> str | None:
        return None if self._is_of_a_module(node) else obstacle(self.layouts, node.grad_fn)

    def _is_of_a_module(self, node: Any) -> bool:
        parts = node.module in self.names or isinstance(node.module, nn.Parameter)
        return parts or node.grad_fn in self.inside

    def _input_map(self, reader: Any, slot: int) -> IndexMap | None:
        if reader.module in self.names or isinstance(reader.module, nn.Parameter):
            return None
        return input_map(self.layouts, reader.grad_fn, slot)

    def _part_read(self, reader: Any, slot: int) -> IndexMap | None:
        """Which part of its source a node reads, where the source has several outputs."""
        source = reader.inputs[slot]
        if isinstance(source.module, nn.Parameter):
            return None
        edges = [(fn, number) for fn, number in reader.grad_fn.next_functions if fn is source.grad_fn]
        earlier = sum(other is source for other in reader.inputs[:slot])
        return output_map(self.layouts, source.grad_fn, edges[earlier][1]) if earlier < len(edges) else None

    def _note(self, node: Any, handler: Callable[..., Any], numbers: Integers, roots: Integers) -> None:
        """Tie the entries reached to the root's entries that they were reached from, or pin the latter."""
        targets = self._targets(node, handler)
        reads = bool(targets) and targets[0].side == "in"
        if not node.outputs and not reads:
            self.couplings.pin(roots, OUTPUT)
        if node.module in self.names and (reason := self._uncuttable(node.module, targets)) is not None:
            self.couplings.pin(roots, reason)
        for axis in targets:
            entries = self._entries(axis, node.module, handler, numbers)
            if entries.min() < 0 or entries.max() >= self.couplings.sizes[axis]:
                self.couplings.pin(roots, f"its channels cannot be followed through {axis.name}")
            else:
                self.couplings.tie(self.couplings.of(axis, entries), roots)

    def _uncuttable(self, module: nn.Module, targets: list[Axis]) -> str | None:
        """Why a module that meets the units cannot lose them, or None."""
        what = f"{self.names[module]} ({type(module).__name__})"
        if isinstance(module, nn.modules.conv._ConvNd | nn.Linear) and own_weight(module) is None:
            return f"{what} cannot be cut: its weight is no parameter of its own"
        return None if targets or isinstance(module, nn.PReLU) else f"{what} cannot be cut"

    def _targets(self, node: Any, handler: Callable[..., Any]) -> list[Axis]:
        axes = [axis for axis, _ in self._axes(node)]
        if len(axes) == 2:
            out, inputs = axes
            return [
                out if handler == self.graph.get_pruner_of_module(node.module).prune_out_channels else inputs
            ]
        return axes

    def _entries(self, axis: Axis, module: Any, handler: Callable[..., Any], indices: Integers) -> Integers:
        """The entries that the axis loses; for a grouped convolution, the outputs of the removed inputs."""
        pruner = self.graph.get_pruner_of_module(module)
        both = pruner.prune_in_channels == pruner.prune_out_channels
        if axis.side == "grouped" and (both or handler == pruner.prune_in_channels):
            if both and module.in_channels != module.out_channels:
                return np.array([-1])  # the library wrongly treats it as a depthwise convolution
            group = indices // (module.in_channels // module.groups)
            result: Integers = group * (module.out_channels // module.groups)
            return result
        return indices

    def _norm_after(self, layer: nn.Module) -> str | None:
        outputs = self.graph.module2node[layer].outputs
        first = outputs[0] if len(outputs) == 1 else None
        if first is not None and not _is_norm(first) and "BatchNorm" in type(first.grad_fn).__name__:
            # A norm that ends in an activation of its own is known by that: its first step is without module.
            outputs = first.outputs
        return self.names[outputs[0].module] if len(outputs) == 1 and _is_norm(outputs[0]) else None


def _is_norm(node: Any) -> bool:
    return isinstance(node.module, nn.modules.batchnorm._BatchNorm)


def _units(layer: nn.Module) -> int:
    return int(layer.get_parameter("weight").shape[0])
