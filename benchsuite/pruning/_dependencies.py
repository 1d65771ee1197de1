"""Which channels of a network hang together, read from Torch-Pruning's dependency graph.

The library traces the network and knows which axes are coupled. It is asked for nothing else: its own walk
over the graph drops ties between channels of one layer, so the graph is walked here with the index
maps of `_index_maps`, and what it treats by rule of thumb is checked numerically afterwards (see `graph`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
import torch_pruning as tp
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor, nn

from benchsuite.errors import Unsupported
from benchsuite.pruning._index_maps import IndexMap, input_map, obstacle, output_map

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    Integers = NDArray[np.int64]

Side = Literal["out", "in", "grouped", "channels", "heads", "parameter"]
"""An axis of a module that can lose entries.

"out" and "in" of a convolution or linear layer; "grouped": the output channels of a convolution with groups,
whose input channels go with them; "channels" of a normalisation or PReLU; "heads" of an attention module;
"parameter": one axis of a parameter that belongs to no such module.
"""

_NORMS = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm, nn.LayerNorm, nn.GroupNorm)


OUTPUT = "it is the network's output"
"""Why the units of the output layer stay."""


@dataclass(frozen=True)
class Axis:
    """An axis that can lose entries: the dotted name of a module or parameter, and which of its axes."""

    name: str
    side: Side
    dim: int = 0
    """For "parameter" only: the dimension."""


@dataclass(frozen=True)
class Component:
    """Entries of axes that must go together."""

    entries: dict[Axis, tuple[int, ...]]
    pinned: str | None
    """Why they cannot go, or None."""


@dataclass
class _Atoms:
    """Numbers for the entries of all axes, the ties between them, and those that cannot go."""

    offsets: dict[Axis, int] = field(default_factory=dict)
    sizes: dict[Axis, int] = field(default_factory=dict)
    count: int = 0
    left: list[Integers] = field(default_factory=list)
    right: list[Integers] = field(default_factory=list)
    pins: dict[int, str] = field(default_factory=dict)

    def add(self, axis: Axis, size: int) -> None:
        self.offsets[axis] = self.count
        self.sizes[axis] = size
        self.count += size

    def of(self, axis: Axis, indices: Integers) -> Integers:
        return self.offsets[axis] + indices

    def tie(self, left: Integers, right: Integers) -> None:
        self.left.append(left)
        self.right.append(right)

    def pin(self, atoms: Integers, reason: str) -> None:
        for atom in atoms.tolist():
            self.pins.setdefault(atom, reason)

    def components(self) -> list[Component]:
        left = np.concatenate([*self.left, np.empty(0, np.int64)])
        right = np.concatenate([*self.right, np.empty(0, np.int64)])
        matrix = coo_array((np.ones(len(left), np.int8), (left, right)), shape=(self.count, self.count))
        number, labels = connected_components(matrix, directed=False)
        entries: list[dict[Axis, list[int]]] = [{} for _ in range(number)]
        for axis, offset in self.offsets.items():
            for index, label in enumerate(labels[offset : offset + self.sizes[axis]].tolist()):
                entries[label].setdefault(axis, []).append(index)
        reasons: dict[int, str] = {}
        for atom, reason in self.pins.items():
            reasons.setdefault(int(labels[atom]), reason)
        return [
            Component({axis: tuple(indices) for axis, indices in entry.items()}, reasons.get(label))
            for label, entry in enumerate(entries)
        ]


@dataclass(frozen=True)
class Dependencies:
    """What the dependency graph says of a network.

    Attributes:
        components: entries that must go together.
        sizes: number of entries of every axis.
        norms: by convolution or linear layer, the batch normalisation that alone reads it.
    """

    components: list[Component]
    sizes: dict[Axis, int]
    norms: dict[str, str]


def find_dependencies(model: nn.Module, example: Tensor) -> Dependencies:
    """Trace the network, in evaluation mode and with gradients, and return what hangs together.

    Raises:
        Unsupported: the network cannot be traced; the message says why.
    """
    graph = tp.DependencyGraph()
    graph.verbose = False
    graph.model = model
    graph.ignored_params = []
    graph._module2name = {module: name for name, module in model.named_modules()}
    try:
        # The steps of the library's build_dependency, without its guesses at shapes.
        graph._param_to_name, graph.unwrapped_parameters = graph._detect_unwrapped_parameters(None)
        with torch.enable_grad():
            graph.module2node = graph._trace(model, example, lambda network, x: network(x), None)
        graph._build_dependency(graph.module2node)
    except Exception as error:
        # Whatever goes wrong inside the library, the network is one that it cannot take.
        raise Unsupported(f"the dependency graph cannot be built: {type(error).__name__}: {error}") from error
    return _Walk(graph, model).run()


class _Walk:
    """Walks the library's graph from every layer's output and notes which entries it reaches."""

    def __init__(self, graph: Any, model: nn.Module) -> None:
        self.graph = graph
        self.model = model
        self.names: dict[Any, str] = {module: name for name, module in model.named_modules()}
        self.names |= graph._param_to_name
        self.atoms = _Atoms()
        self.attention: set[Axis] = set()
        """Outputs of the layers that make queries, keys and values of attentions whose heads can go."""
        self.seen: dict[tuple[Any, Callable[..., Any]], Integers] = {}
        """By node and handler, the root that first reached each channel, or -1."""
        self.inside: set[Any] = set()
        """Operations inside the layers."""

    def run(self) -> Dependencies:
        layers = [m for m in self.model.modules() if m in self.graph.module2node and _is_layer(m)]
        for node in self.graph.module2node.values():
            for axis, size in self._axes(node):
                if axis not in self.atoms.sizes:
                    self.atoms.add(axis, size)
        self._tie_inside_modules()
        for layer in layers:
            # A linear layer on tokens is recorded as a matrix product and a view, which stands for it.
            self.inside |= {fn for fn, _ in self.graph.module2node[layer].grad_fn.next_functions}
        for layer in layers:
            self._walk_from(layer)
        norms = {self.names[layer]: norm for layer in layers if (norm := self._norm_after(layer)) is not None}
        return Dependencies(self.atoms.components(), self.atoms.sizes, norms)

    def _axes(self, node: Any) -> Iterator[tuple[Axis, int]]:
        """The axes of a node's module that can lose entries."""
        module = node.module
        if isinstance(module, nn.Parameter):
            dim = node.pruning_dim % module.ndim
            yield Axis(self.names[module], "parameter", dim), module.shape[dim]
            return
        if module not in self.names:
            return
        name = self.names[module]
        if isinstance(module, nn.modules.conv._ConvNd):
            if module.groups > 1:
                yield Axis(name, "grouped"), module.out_channels
            else:
                yield Axis(name, "out"), module.out_channels
                yield Axis(name, "in"), module.in_channels
        elif isinstance(module, nn.Linear):
            yield Axis(name, "out"), module.out_features
            yield Axis(name, "in"), module.in_features
        elif isinstance(module, nn.PReLU):
            if module.num_parameters > 1:
                yield Axis(name, "channels"), module.num_parameters
        elif isinstance(module, _NORMS):
            yield Axis(name, "channels"), _norm_size(module)

    def _tie_inside_modules(self) -> None:
        """Couple what one module couples: channel groups of a normalisation, heads of an attention."""
        for name, module in self.model.named_modules():
            norm = Axis(name, "channels")
            if isinstance(module, nn.GroupNorm) and module.num_groups > 1 and norm in self.atoms.sizes:
                # Only whole groups can go without changing how the others are normalised.
                self._tie_blocks(norm, module.num_channels // module.num_groups)
            conv = Axis(name, "grouped")
            if conv in self.atoms.sizes:
                self._tie_blocks(conv, module.out_channels // module.groups)
            if is_fused_attention(module):
                self._tie_heads(name, module)

    def _tie_blocks(self, axis: Axis, block: int) -> None:
        every = np.arange(self.atoms.sizes[axis])
        self.atoms.tie(self.atoms.of(axis, every), self.atoms.of(axis, every // block * block))

    def _tie_heads(self, name: str, module: Any) -> None:
        qkv, proj = Axis(self.names[module.qkv], "out"), Axis(self.names[module.proj], "in")
        if qkv not in self.atoms.sizes or proj not in self.atoms.sizes:
            return
        self.attention.add(qkv)
        heads = Axis(name, "heads")
        self.atoms.add(heads, module.num_heads)
        every = np.arange(module.num_heads * module.head_dim)
        head = self.atoms.of(heads, every // module.head_dim)
        for part in range(3):
            self.atoms.tie(self.atoms.of(qkv, every + part * len(every)), head)
        self.atoms.tie(self.atoms.of(proj, every), head)

    def _walk_from(self, layer: nn.Module) -> None:
        node = self.graph.module2node[layer]
        handler = self.graph.get_pruner_of_module(layer).prune_out_channels
        root = self._targets(node, handler)[0]
        in_attention = root in self.attention
        every = np.arange(_units(layer))
        stack = [(node, handler, every, self.atoms.of(root, every))]
        while stack:
            node, handler, numbers, roots = stack.pop()
            if not in_attention and (reason := self._obstacle(node)) is not None:
                self.atoms.pin(roots, reason)
                continue
            numbers, roots = self._first_time(node, handler, numbers, roots)
            if not len(numbers):
                continue
            self._note(node, handler, numbers, roots)
            for place, dependency in enumerate(node.dependencies):
                if dependency.is_triggered_by(handler):
                    followed, reached = self._along(node, place, numbers, roots)
                    if len(followed):
                        stack.append((dependency.target, dependency.handler, followed, reached))

    def _first_time(
        self, node: Any, handler: Callable[..., Any], numbers: Integers, roots: Integers
    ) -> tuple[Integers, Integers]:
        """The channels of a node that no walk has reached yet, each once; roots that meet there are tied."""
        seen = self.seen.get((node, handler), np.empty(0, np.int64))
        if len(seen) <= numbers.max():
            seen = np.concatenate((seen, np.full(int(numbers.max()) + 1 - len(seen), -1, np.int64)))
            self.seen[node, handler] = seen
        before = seen[numbers]
        self.atoms.tie(roots[before >= 0], before[before >= 0])
        numbers, roots = numbers[before < 0], roots[before < 0]
        seen[numbers] = roots
        self.atoms.tie(roots, seen[numbers])
        numbers = np.unique(numbers)
        return numbers, seen[numbers]

    def _along(self, node: Any, place: int, numbers: Integers, roots: Integers) -> tuple[Integers, Integers]:
        """The channel numbers at the other end of a node's `place`-th edge, with the roots they come from."""
        if place < len(node.inputs):
            reader, slot = node, place
            if (entry := self._input_map(reader, slot)) is not None:
                which, found = entry.backward(numbers)
                if entry.makes_constants:
                    self.atoms.pin(np.delete(roots, which), "it meets channels that are padded with zeros")
                numbers, roots = found, roots[which]
            if (part := self._part_read(reader, slot)) is not None:
                which, numbers = part.backward(numbers)
                roots = roots[which]
            return numbers, roots
        reader = node.outputs[place - len(node.inputs)]
        earlier = sum(other is reader for other in node.outputs[: place - len(node.inputs)])
        slot = [n for n, source in enumerate(reader.inputs) if source is node][earlier]
        for index_map in (self._part_read(reader, slot), self._input_map(reader, slot)):
            if index_map is not None:
                which, numbers = index_map.forward(numbers)
                roots = roots[which]
        return numbers, roots

    def _obstacle(self, node: Any) -> str | None:
        operation = node.grad_fn
        if node.module in self.names or isinstance(node.module, nn.Parameter) or operation in self.inside:
            return None
        return obstacle(operation)

    def _input_map(self, reader: Any, slot: int) -> IndexMap | None:
        if reader.module in self.names or isinstance(reader.module, nn.Parameter):
            return None
        return input_map(reader.grad_fn, slot)

    def _part_read(self, reader: Any, slot: int) -> IndexMap | None:
        """Which part of its source a node reads, where the source has several outputs."""
        source = reader.inputs[slot]
        if isinstance(source.module, nn.Parameter):
            return None
        edges = [(fn, number) for fn, number in reader.grad_fn.next_functions if fn is source.grad_fn]
        earlier = sum(other is source for other in reader.inputs[:slot])
        return output_map(source.grad_fn, edges[earlier][1]) if earlier < len(edges) else None

    def _note(self, node: Any, handler: Callable[..., Any], numbers: Integers, roots: Integers) -> None:
        """Tie what was reached to the root's entries it was reached from, or pin these."""
        targets = self._targets(node, handler)
        reads = bool(targets) and targets[0].side == "in"
        if not node.outputs and not reads:
            self.atoms.pin(roots, OUTPUT)
        if not targets and not isinstance(node.module, nn.PReLU) and node.module in self.names:
            self.atoms.pin(roots, f"{self.names[node.module]} ({type(node.module).__name__}) cannot be cut")
        for axis in targets:
            entries = self._entries(axis, node.module, handler, numbers)
            if entries.min() < 0 or entries.max() >= self.atoms.sizes[axis]:
                self.atoms.pin(roots, f"its channels cannot be followed through {axis.name}")
            else:
                self.atoms.tie(self.atoms.of(axis, entries), roots)

    def _targets(self, node: Any, handler: Callable[..., Any]) -> list[Axis]:
        axes = [axis for axis, _ in self._axes(node)]
        if len(axes) == 2:
            out, inputs = axes
            return [
                out if handler == self.graph.get_pruner_of_module(node.module).prune_out_channels else inputs
            ]
        return axes

    def _entries(self, axis: Axis, module: Any, handler: Callable[..., Any], indices: Integers) -> Integers:
        """What the axis loses; of a convolution with groups, the outputs of the input channels that go."""
        pruner = self.graph.get_pruner_of_module(module)
        both = pruner.prune_in_channels == pruner.prune_out_channels
        if axis.side == "grouped" and (both or handler == pruner.prune_in_channels):
            if both and module.in_channels != module.out_channels:
                return np.array([-1])  # the library takes it for a depthwise convolution, which it is not
            group = indices // (module.in_channels // module.groups)
            result: Integers = group * (module.out_channels // module.groups)
            return result
        return indices

    def _norm_after(self, layer: nn.Module) -> str | None:
        outputs = self.graph.module2node[layer].outputs
        if len(outputs) == 1 and isinstance(outputs[0].module, nn.modules.batchnorm._BatchNorm):
            return self.names[outputs[0].module]
        return None


def is_fused_attention(module: nn.Module) -> bool:
    """Whether heads can go: one linear layer makes queries, keys and values, another reads all heads."""
    qkv, proj = getattr(module, "qkv", None), getattr(module, "proj", None)
    heads, size = getattr(module, "num_heads", None), getattr(module, "head_dim", None)
    if not (isinstance(qkv, nn.Linear) and isinstance(proj, nn.Linear)):
        return False
    if not (isinstance(heads, int) and isinstance(size, int)):
        return False
    return qkv.out_features == 3 * heads * size and proj.in_features == heads * size


def _is_layer(module: nn.Module) -> bool:
    conv = isinstance(module, nn.modules.conv._ConvNd) and not module.transposed
    return conv or isinstance(module, nn.Linear)


def _units(layer: nn.Module) -> int:
    return int(layer.get_parameter("weight").shape[0])


def _norm_size(module: nn.Module) -> int:
    if isinstance(module, nn.LayerNorm):
        return int(module.normalized_shape[-1])
    if isinstance(module, nn.GroupNorm):
        return module.num_channels
    assert isinstance(module, nn.modules.batchnorm._NormBase)
    return module.num_features
