"""The graph of layers and operations that one forward pass of a network leaves behind.

Autograd records every operation. Where a layer's output is one, the operation stands for the layer, and what
the layer computed inside is not looked at. Fang et al. (2023), "DepGraph", walk such a graph to find which
channels belong together.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from benchsuite.contracts.recurrent import RecurrentLayer
from benchsuite.errors import Unsupported
from benchsuite.pruning.tracing.stated_sizes import stated_sizes
from benchsuite.pruning.transposed import TransposedConvolution

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchsuite.contracts.inputs import Inputs
    from benchsuite.pruning.tracing.stated_sizes import StatedSizes

End = Literal["in", "out", "through"]
"""Which channels of a node are meant: those it reads, those it makes, or both where they are the same."""

_LAYERS = (
    nn.modules.conv._ConvNd,
    nn.Linear,
    nn.RNNBase,
    RecurrentLayer,
    nn.Embedding,
    nn.EmbeddingBag,
    nn.MultiheadAttention,
    nn.modules.batchnorm._BatchNorm,
    nn.modules.instancenorm._InstanceNorm,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
    nn.PReLU,
)
"""Modules that the graph has as one node. Others are the operations that they consist of."""


@dataclass(eq=False)
class Node:
    """A layer, a parameter outside of layers, or an operation.

    Attributes:
        owner: the layer or parameter; None for an operation of neither.
        operation: the recorded operation: its gradient function, a layer's last one.
        uses: likewise for each use of a layer that is used several times.
        inputs: the nodes it reads, as often as it reads them.
        places: by input, which of the operation's next functions it is.
        outputs: the nodes that read it, likewise.
        mixes: whether it is a linear layer that mixes positions, and leaves the channels beside them alone.
    """

    owner: nn.Module | nn.Parameter | None
    operation: Any
    uses: list[Any] = field(default_factory=list)
    inputs: list[Node] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    outputs: list[Node] = field(default_factory=list)
    mixes: bool = False

    @property
    def reading(self) -> End:
        """The end at which it reads."""
        return "in" if self._has_two_ends() else "through"

    @property
    def making(self) -> End:
        """The end at which it makes channels."""
        return "out" if self._has_two_ends() else "through"

    def _has_two_ends(self) -> bool:
        if isinstance(self.owner, nn.modules.conv._ConvNd):
            return not is_depthwise(self.owner)
        return isinstance(self.owner, nn.Linear | nn.RNNBase | RecurrentLayer) and not self.mixes

    def only_readers(self) -> Iterator[Node]:
        """The node that alone reads this one, the one that alone reads that, and so on, each once."""
        seen, node = {self}, self
        while len(node.outputs) == 1 and (node := node.outputs[0]) not in seen:
            seen.add(node)
            yield node

    def edges(self, end: End) -> Iterator[tuple[int, Node, End]]:
        """The edges at one end: the number of the edge, inputs first; the node there; and its end."""
        if end == self.reading:
            for place, node in enumerate(self.inputs):
                yield place, node, node.making
        if end == self.making:
            for place, node in enumerate(self.outputs, start=len(self.inputs)):
                yield place, node, node.reading


@dataclass(frozen=True, eq=False)
class RecordedGraph:
    """The nodes of a forward pass.

    Attributes:
        nodes: all of them, those nearer to the output first.
        of_layer: the node of each layer that was used.
        names: of the layers and of the parameters outside of layers.
        stated: numbers in modules' attributes that count channels.
    """

    nodes: tuple[Node, ...]
    of_layer: dict[nn.Module, Node]
    names: dict[nn.Module | nn.Parameter, str]
    stated: StatedSizes

    def forget(self) -> None:
        """Let go of the activations and weights; nodes know each other, so Python would keep them a while."""
        for node in self.nodes:
            node.inputs.clear()
            node.outputs.clear()


def is_depthwise(conv: nn.modules.conv._ConvNd) -> bool:
    """Whether every channel has a convolution of its own, so that what goes in goes out."""
    return 1 < conv.groups == conv.in_channels == conv.out_channels


def record(model: nn.Module, example: Inputs) -> RecordedGraph:
    """Run the network once and return its graph.

    Args:
        model: the network, in the mode in which it shall run.
        example: its input.

    Raises:
        Unsupported: what it returns is no tensor that gradients reach.
    """
    recorder = _Recorder(model)
    layers = [module for module in model.modules() if isinstance(module, _LAYERS)]
    hooks = [module.register_forward_hook(recorder.note) for module in layers]
    try:
        with torch.enable_grad(), stated_sizes(model) as stated:
            output = model(example)
    finally:
        for hook in hooks:
            hook.remove()
    if not isinstance(output, Tensor) or output.grad_fn is None:
        raise Unsupported("no gradient leads from the network's output to its layers")
    recorder.follow(output.grad_fn)
    return RecordedGraph(tuple(recorder.nodes), recorder.of_layer, recorder.names, stated)


class _Recorder:
    """Makes nodes of the operations that lead to the output."""

    def __init__(self, model: nn.Module) -> None:
        self.nodes: list[Node] = []
        self.of_layer: dict[nn.Module, Node] = {}
        self.names: dict[nn.Module | nn.Parameter, str] = {m: name for name, m in model.named_modules()}
        self._layers: dict[Any, nn.Module] = {}
        """The layer that ended with an operation."""
        self._given: dict[Any, list[tuple[Any, int]]] = {}
        """What some layers and copied views were made of, by the operation that stands for them."""
        self._of_operation: dict[Any, Node] = {}
        own = {p for module in model.modules() if isinstance(module, _LAYERS) for p in module.parameters()}
        self._alone = {p for p in model.parameters() if p not in own and p.numel() > 1}
        self.names |= {p: name for name, p in model.named_parameters() if p not in own}

    def note(self, module: nn.Module, inputs: Any, outputs: Any) -> Tensor | None:
        """A forward hook: the module ends with the operation that made its first output.

        What changes a view in place changes how autograd has recorded it, so that the module would not be
        found: a copy is returned instead.
        """
        copied = isinstance(outputs, Tensor) and outputs._is_view()
        if copied:
            view, outputs = outputs.grad_fn, outputs.clone()
            if view is not None:  # the module may have kept it, and others may read it
                self._layers[view] = module
                self._given[outputs.grad_fn] = list(view.next_functions)
        first = outputs[0] if isinstance(outputs, tuple) else outputs
        first = first.data if isinstance(first, nn.utils.rnn.PackedSequence) else first
        if isinstance(first, Tensor) and first.grad_fn is not None:
            self._layers[first.grad_fn] = module
            if isinstance(module, TransposedConvolution):  # how its weight is turned is inside it
                self._given.setdefault(first.grad_fn, [first.grad_fn.next_functions[0]])
        if isinstance(module, nn.RNNBase | RecurrentLayer):
            self._note_sequence(module, inputs, outputs)
        return outputs if copied else None

    def _note_sequence(self, module: nn.Module, inputs: tuple[Any, ...], outputs: Any) -> None:
        """Of a recurrent layer nothing inside counts: all that it returns comes from what it was given."""
        given, made = (
            [each for each in tree_leaves(some) if isinstance(each, Tensor) and each.grad_fn is not None]
            for some in (inputs, outputs)
        )
        for each in made:
            self._layers[each.grad_fn] = module
            self._given[each.grad_fn] = [(source.grad_fn, source.output_nr) for source in given]

    def follow(self, root: Any) -> None:
        """Go from an operation to all that it was computed from."""
        waiting, seen = [root], set()
        while waiting:
            operation = waiting.pop()
            if operation in seen:
                continue
            seen.add(operation)
            node = self._node(operation)
            for place, (source, _) in enumerate(self._given.get(operation, operation.next_functions)):
                if source is None or (hasattr(source, "variable") and source.variable not in self._alone):
                    continue  # an input, or a parameter of a layer
                before = self._node(source)
                node.inputs.append(before)
                node.places.append(place)
                before.outputs.append(node)
                waiting.append(source)

    def _node(self, operation: Any) -> Node:
        """The node of an operation; all uses of a layer have the same one."""
        layer = self._layers.get(operation)
        found = self._of_operation.get(operation) if layer is None else self.of_layer.get(layer)
        if found is None:
            found = Node(getattr(operation, "variable", None) if layer is None else layer, operation)
            self.nodes.append(found)
            if layer is None:
                self._of_operation[operation] = found
            else:
                self.of_layer[layer] = found
        if operation not in found.uses:
            found.uses.append(operation)
        return found
