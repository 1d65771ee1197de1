"""A walk over the recorded graph, from every layer's output to all readers of its units."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from benchsuite.contracts.recurrent import RecurrentLayer
from benchsuite.errors import BenchsuiteError, Unsupported
from benchsuite.pruning.axes import Axis, axes_of, is_prunable
from benchsuite.pruning.graph import OUTPUT
from benchsuite.pruning.tracing.channel_flow import counted_dim, input_map, inside, obstacle, output_map
from benchsuite.pruning.tracing.couplings import Couplings
from benchsuite.pruning.tracing.heads import AttentionLayers, tie_heads
from benchsuite.pruning.tracing.index_maps import Taken
from benchsuite.pruning.tracing.layouts import VIEWS, Layouts, output_shape
from benchsuite.pruning.tracing.mixing import mixes_positions, reader_of_positions
from benchsuite.pruning.tracing.module_couplings import tie_inside_modules
from benchsuite.pruning.tracing.node_axes import NodeAxes
from benchsuite.pruning.tracing.parts import parted
from benchsuite.pruning.tracing.recorded_graph import record
from benchsuite.pruning.transposed import LEFT_AS_IT_IS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from benchsuite.contracts.inputs import Inputs
    from benchsuite.pruning.tracing.index_maps import IndexMap
    from benchsuite.pruning.tracing.recorded_graph import End, Node, RecordedGraph
    from benchsuite.pruning.tracing.stated_sizes import StatedSize

    Integers = NDArray[np.int64]


MOST_STEPS = 200_000
"""Nodes that a walk may visit; the largest networks of torchvision and timm take some thousands."""
_CHANNELS_LAST = (RecurrentLayer, nn.Embedding, nn.EmbeddingBag)
"""Modules with their channels in the last dimension, whatever operations they consist of."""
_TOGETHER = ("CloneBackward", "AliasBackward", "ToCopyBackward", "ContiguousBackward")
"""Operations after which channels are as they were."""
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


def find_dependencies(model: nn.Module, example: Inputs) -> Dependencies:
    """Run the network once, with gradients, and return the couplings of its channels.

    Raises:
        Unsupported: the network cannot be followed; the message says why.
    """
    try:
        graph = record(model, example)
    except BenchsuiteError:
        raise
    except Exception as error:
        # A network's own code can fail in any way.
        raise Unsupported(f"the network does not run: {type(error).__name__}: {error}") from error
    found = Walk(graph, model).run()
    graph.forget()
    return found


class Walk:
    """Walks a recorded graph from every layer's output and notes which entries it reaches."""

    def __init__(self, graph: RecordedGraph, model: nn.Module) -> None:
        self.graph = graph
        self.model = model
        self.names = graph.names
        self.couplings = Couplings()
        self.layouts = Layouts(
            {
                operation: len(output_shape(operation, 0)) - 1
                for node in graph.nodes
                if isinstance(node.owner, _CHANNELS_LAST)
                for operation in node.uses
            }
        )
        self.axes = NodeAxes(graph.names, self.layouts)
        self.attention = AttentionLayers()
        """What takes part in attentions with removable heads."""
        self.seen: dict[tuple[Node, End], Integers] = {}
        """By node and end, the root that first reached each channel, or -1."""
        self.taken: dict[tuple[Node, End], set[Taken]] = {}
        """By node and end, the parts of its channels that its readers take."""
        self.inside: set[Any] = set()
        """Operations inside the layers."""
        self.counted: set[Axis] = set()
        """Numbers in attributes that count channels."""
        self.steps = 0
        self._largest = max((prod(output_shape(node.operation, 0)) for node in graph.nodes), default=0)
        """Numbers in the largest tensor: no tensor has more channels."""

    def run(self) -> Dependencies:
        """Walk from every layer, and return what was found."""
        layers = [m for m in self.model.modules() if m in self.graph.of_layer and is_prunable(m)]
        for node in self.graph.nodes:
            own: list[tuple[Axis, int]] = []
            if mixes_positions(node, self.layouts):
                node.mixes = True
                assert isinstance(node.owner, nn.Linear)
                own = [*axes_of(self.names[node.owner], node.owner)]
            for axis, size in (*self.axes.of(node), *own):
                if axis not in self.couplings.sizes:
                    self.couplings.add(axis, size)
        for stated in (each for of_one in self.graph.stated.of.values() for each in of_one):
            if stated.axis not in self.couplings.sizes:
                self.couplings.add(stated.axis, stated.size * stated.times)
        self._pin_transposed()
        tie_inside_modules(self.model, self.couplings)
        self.attention = tie_heads(self.model, self.graph, self.couplings)
        for layer in layers:
            self.inside |= {each for use in self.graph.of_layer[layer].uses for each in inside(use)}
        for layer in layers:
            if self.graph.of_layer[layer].mixes:
                self._follow_positions(layer)
            else:
                self._walk_from(layer)
        self._tie_widths_of_heads()
        norms = {self.names[layer]: norm for layer in layers if (norm := self._norm_after(layer)) is not None}
        self._note_parts()
        return Dependencies(self.couplings, self.couplings.sizes, norms)

    def _tie_widths_of_heads(self) -> None:
        """Tie numbers in attributes to heads where no channels were found that they count."""
        for axis, (heads, number) in self.attention.widths.items():
            if axis not in self.counted:
                every = np.arange(self.couplings.sizes[axis])
                head = every // (len(every) // number)
                self.couplings.tie(self.couplings.of(axis, every), self.couplings.of(heads, head))

    def _note_parts(self) -> None:
        """Note which tensors are read in parts, and which entries are in each part."""
        for reached, taken in self.taken.items():
            if reached in self.seen:
                self.couplings.parted.append(parted(self.seen[reached], taken))

    def _pin_transposed(self) -> None:
        """Keep the units of transposed convolutions that are as torch has them, with the inputs first."""
        for axis, size in self.couplings.sizes.items():
            module = None if axis.side == "parameter" else self.model.get_submodule(axis.name)
            if isinstance(module, nn.modules.conv._ConvNd) and module.transposed and axis.side != "in":
                reason = f"{axis.name} is {LEFT_AS_IT_IS}"
                self.couplings.pin(self.couplings.of(axis, np.arange(size)), reason)

    def _follow_positions(self, layer: nn.Module) -> None:
        """From a layer that mixes positions: its units can go if one alike reads them, and nothing else."""
        every = np.arange(_units(layer))
        roots = self.couplings.of(Axis(self.names[layer], "out"), every)
        reader = reader_of_positions(self.graph.of_layer[layer], len(every), self.inside)
        if reader is None:
            self.couplings.pin(roots, "its units are positions, such as tokens, and meet others")
        else:
            self.couplings.tie(self.couplings.of(Axis(self.names[reader], "in"), every), roots)

    def _walk_from(self, layer: nn.Module) -> None:
        node = self.graph.of_layer[layer]
        root = self.axes.at(node, node.making)[0]
        if root in self.attention.of_heads:
            return
        to_the_heads = root in self.attention.stop
        in_attention = to_the_heads or root in self.attention.follow
        every = np.arange(_units(layer))
        stack = [(node, node.making, every, self.couplings.of(root, every))]
        start = self.steps + 1
        while stack:
            node, end, numbers, roots = stack.pop()
            self._count_step()
            if (
                in_attention
                and self.steps > start
                and self._ends_in_attention(node, end, to_the_heads=to_the_heads)
            ):
                continue
            if not in_attention and (reason := self._obstacle(node)) is not None:
                self.couplings.pin(roots, reason)
                continue
            size = self._largest if in_attention else self._channels(node)
            self.couplings.pin(roots[numbers >= size], _SHIFTED)
            numbers, roots = numbers[numbers < size], roots[numbers < size]
            if not len(numbers):
                continue
            numbers, roots = self._first_time(node, end, numbers, roots)
            if not len(numbers):
                continue
            self._note(node, end, numbers, roots)
            if not in_attention:
                self._tie_stated(node, end, numbers, roots)
            for place, target, its_end in node.edges(end):
                if not in_attention:
                    self._note_taken(node, place, end)
                followed, reached = self._along(node, place, numbers, roots)
                if len(followed):
                    stack.append((target, its_end, followed, reached))

    def _count_step(self) -> None:
        self.steps += 1
        if self.steps > MOST_STEPS:
            raise Unsupported(
                f"following the channels of this network took more than {MOST_STEPS} steps; a smaller "
                "variant of the model takes less"
            )

    def _channels(self, node: Node) -> int:
        """How many channels a node's numbers can name; with `_largest` every walk comes to an end.

        Of an operation with one output this is the size of its channel dimension, where that is known. What
        a mean over the channels leaves, a single one, stands for all of them.
        """
        operation = node.operation
        if self._is_of_a_module(node):
            return self._largest
        dim, shape = self.layouts.channel_dim(operation), output_shape(operation, 0)
        if dim is None or len(operation._input_metadata) > 1 or shape[dim] == 1:
            return self._largest
        return shape[dim]

    def _first_time(
        self, node: Node, end: End, numbers: Integers, roots: Integers
    ) -> tuple[Integers, Integers]:
        """A node's channels that no walk has reached yet, each once; roots that reach the same are tied."""
        seen = self.seen.get((node, end), np.empty(0, np.int64))
        if len(seen) <= numbers.max():
            seen = np.concatenate((seen, np.full(int(numbers.max()) + 1 - len(seen), -1, np.int64)))
            self.seen[node, end] = seen
        before = seen[numbers]
        self.couplings.tie(roots[before >= 0], before[before >= 0])
        numbers, roots = numbers[before < 0], roots[before < 0]
        seen[numbers] = roots
        self.couplings.tie(roots, seen[numbers])
        numbers = np.unique(numbers)
        return numbers, seen[numbers]

    def _along(self, node: Node, place: int, numbers: Integers, roots: Integers) -> tuple[Integers, Integers]:
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

    def _edge(self, node: Node, place: int) -> tuple[Any, int]:
        """The reader of a node's `place`-th edge, which may be the node itself, and which of its inputs."""
        if place < len(node.inputs):
            return node, place
        reader = node.outputs[place - len(node.inputs)]
        earlier = sum(other is reader for other in node.outputs[: place - len(node.inputs)])
        return reader, [n for n, source in enumerate(reader.inputs) if source is node][earlier]

    def _note_taken(self, node: Node, place: int, end: End) -> None:
        """Note it if the reader of an edge takes a part of its source's channels."""
        reader, slot = self._edge(node, place)
        source = reader.inputs[slot]
        if reader is node:
            end = source.making
        divided = self.graph.stated.divided
        for operation, index_map in (
            (source.operation, self._part_read(reader, slot)),
            (reader.operation, self._input_map(reader, slot)),
        ):
            if isinstance(index_map, Taken) and operation not in divided:
                self.taken.setdefault((source, end), set()).add(index_map)

    def _tie_stated(self, node: Node, end: End, numbers: Integers, roots: Integers) -> None:
        """Tie channels to the numbers in attributes that count them, here or where they are read."""
        readers = dict.fromkeys(node.outputs) if end == node.making else ()
        here = [] if self._is_of_a_module(node) else self._stated(node, of_input=False)
        for stated in (*here, *(each for reader in readers for each in self._stated(reader, of_input=True))):
            which, entries = stated.entries(numbers)
            if len(which):
                self.counted.add(stated.axis)
            self.couplings.tie(self.couplings.of(stated.axis, entries), roots[which])

    def _stated(self, node: Node, *, of_input: bool) -> list[StatedSize]:
        """The numbers that count the channels which an operation makes or reads."""
        found = [each for each in self.graph.stated.of.get(node.operation, ()) if each.of_input == of_input]
        return [each for each in found if each.dim == counted_dim(self.layouts, node.operation)]

    def _ends_in_attention(self, node: Node, end: End, *, to_the_heads: bool) -> bool:
        """Whether what comes from queries, keys and values is tied to the heads and not followed on."""
        owner = node.owner
        if isinstance(owner, nn.Parameter):
            of_heads = (Axis(self.names[owner], "parameter", dim) for dim in range(owner.ndim))
            return not self.attention.of_heads.isdisjoint(of_heads)
        tied = any(axis in self.attention for axis in self.axes.at(node, end))
        return tied or (to_the_heads and self._regroups(node))

    def _regroups(self, node: Node) -> bool:
        """Whether the channels of a layer's output are told apart from here on."""
        name = node.operation.name()
        if self._is_of_a_module(node) or name.startswith(_TOGETHER):
            return False
        return not name.startswith(VIEWS) or self._obstacle(node) is not None

    def _obstacle(self, node: Node) -> str | None:
        return None if self._is_of_a_module(node) else obstacle(self.layouts, node.operation)

    def _is_of_a_module(self, node: Node) -> bool:
        return node.owner is not None or node.operation in self.inside

    def _input_map(self, reader: Node, slot: int) -> IndexMap | None:
        if reader.owner is not None:
            return None
        return input_map(self.layouts, reader.operation, reader.places[slot])

    def _part_read(self, reader: Node, slot: int) -> IndexMap | None:
        """Which part of its source a node reads, where the source has several outputs."""
        source = reader.inputs[slot]
        if isinstance(source.owner, nn.Parameter):
            return None
        edges = [(fn, number) for fn, number in reader.operation.next_functions if fn is source.operation]
        earlier = sum(other is source for other in reader.inputs[:slot])
        return output_map(self.layouts, source.operation, edges[earlier][1]) if earlier < len(edges) else None

    def _note(self, node: Node, end: End, numbers: Integers, roots: Integers) -> None:
        """Tie the entries reached to the root's entries that they were reached from, or pin the latter."""
        targets = self.axes.at(node, end)
        reads = bool(targets) and targets[0].side in ("in", "sequence")
        if not node.outputs and not reads:
            self.couplings.pin(roots, OUTPUT)
        if (
            isinstance(node.owner, nn.Module)
            and (reason := self.axes.uncuttable(node, node.owner, targets)) is not None
        ):
            self.couplings.pin(roots, reason)
        for axis in targets:
            entries = self.axes.entries(axis, node, end, numbers)
            if entries.min() < 0 or entries.max() >= self.couplings.sizes[axis]:
                self.couplings.pin(roots, f"its channels cannot be followed through {axis.name}")
            else:
                self.couplings.tie(self.couplings.of(axis, entries), roots)

    def _norm_after(self, layer: nn.Module) -> str | None:
        outputs = self.graph.of_layer[layer].outputs
        first = outputs[0] if len(outputs) == 1 else None
        if first is not None and not _is_norm(first) and "BatchNorm" in type(first.operation).__name__:
            # A norm that ends in an activation of its own is known by that: its first step is without module.
            outputs = first.outputs
        norm = outputs[0].owner if len(outputs) == 1 else None
        return self.names[norm] if isinstance(norm, nn.modules.batchnorm._BatchNorm) else None


def _is_norm(node: Node) -> bool:
    return isinstance(node.owner, nn.modules.batchnorm._BatchNorm)


def _units(layer: nn.Module) -> int:
    return int(layer.get_parameter("weight").shape[0])
