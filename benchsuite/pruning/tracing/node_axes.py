"""Which entries of a layer or parameter go with the channels that it reads or makes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from benchsuite.pruning.axes import Axis, axes_of, own_weight
from benchsuite.pruning.tracing.layouts import output_shape

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from benchsuite.pruning.tracing.layouts import Layouts
    from benchsuite.pruning.tracing.recorded_graph import End, Node

    Integers = NDArray[np.int64]


class NodeAxes:
    """The axes of the nodes of a recorded graph.

    Args:
        names: of the layers and of the parameters outside of layers.
        layouts: the channel dimensions of the network's tensors.
    """

    def __init__(self, names: Mapping[nn.Module | nn.Parameter, str], layouts: Layouts) -> None:
        self._names, self._layouts = names, layouts

    def of(self, node: Node) -> Iterator[tuple[Axis, int]]:
        """The axes of a node's module that can lose entries."""
        owner = node.owner
        if isinstance(owner, nn.Parameter):
            dim = self._parameter_dim(node, owner.shape)
            yield Axis(self._names[owner], "parameter", dim), owner.shape[dim]
        elif node.mixes:
            assert owner is not None
            rows = self._layouts.channel_dim(node.operation)
            assert rows is not None
            yield Axis(self._names[owner], "rows"), output_shape(node.operation, 0)[rows]
        elif owner is not None:
            yield from axes_of(self._names[owner], owner)

    def _parameter_dim(self, node: Node, shape: Sequence[int]) -> int:
        """The channel dimension of a parameter: that of its readers, or the last one of several entries."""
        for reader in node.outputs:
            dim = self._layouts.channel_dim(reader.operation)
            made = output_shape(reader.operation, 0)
            if dim is not None and (place := dim - len(made) + len(shape)) >= 0 and shape[place] == made[dim]:
                return place
        return max(dim for dim, size in enumerate(shape) if size > 1)

    def uncuttable(self, node: Node, module: nn.Module, targets: list[Axis]) -> str | None:
        """Why a module that meets the units cannot lose them, or None."""
        what = f"{self._names[module]} ({type(module).__name__})"
        if isinstance(module, nn.modules.conv._ConvNd | nn.Linear) and own_weight(module) is None:
            return f"{what} cannot be cut: its weight is no parameter of its own"
        if isinstance(module, nn.LayerNorm | nn.RMSNorm) and len(module.normalized_shape) > 1:
            dim = self._layouts.channel_dim_before(node.operation)
            if dim is not None and dim < len(output_shape(node.operation, 0)) - 1:
                return f"{what} normalises channels and positions together"
        return None if targets or isinstance(module, nn.PReLU) else f"{what} cannot be cut"

    def at(self, node: Node, end: End) -> list[Axis]:
        """The axes of the channels that a node reads or makes."""
        axes = [axis for axis, _ in self.of(node)]
        if len(axes) == 2:
            out, inputs = axes
            return [out if end == node.making else inputs]
        reads = [axis.side for axis in axes] == ["sequence"]
        return [] if reads and end == node.making else axes

    def entries(self, axis: Axis, node: Node, end: End, indices: Integers) -> Integers:
        """The entries that the axis loses; for a grouped convolution, the outputs of the removed inputs."""
        module = node.owner
        if axis.side == "grouped" and end == node.reading:
            assert isinstance(module, nn.modules.conv._ConvNd)
            group = indices // (module.in_channels // module.groups)
            result: Integers = group * (module.out_channels // module.groups)
            return result
        return indices
