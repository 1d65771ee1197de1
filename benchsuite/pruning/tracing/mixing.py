"""Linear layers that mix positions, such as tokens, and leave the channels beside them alone.

In MLP-Mixer (Tolstikhin et al. 2021) a linear layer reads the last dimension of a transposed tensor, so that
its units are no channels: these lie in a dimension before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from benchsuite.pruning.tracing.layouts import output_shape

if TYPE_CHECKING:
    from collections.abc import Container

    from benchsuite.pruning.tracing.layouts import Layouts
    from benchsuite.pruning.tracing.recorded_graph import Node

_MOVING = ("TransposeBackward", "PermuteBackward", "FlipBackward", "RollBackward")
"""Operations behind which the last dimension is another one, or has another order."""


def mixes_positions(node: Node, layouts: Layouts) -> bool:
    """Whether it is a linear layer, called once, behind which the channels are not in the last dimension."""
    if not isinstance(node.owner, nn.Linear) or len(node.uses) > 1:
        return False
    dim, shape = layouts.channel_dim(node.operation), output_shape(node.operation, 0)
    return dim is not None and 0 < dim < len(shape) - 1


def reader_of_positions(node: Node, units: int, inside: Container[Any]) -> nn.Linear | None:
    """The layer of the same kind that alone reads the units of one that mixes positions, if there is one.

    Args:
        node: the layer.
        units: how many units it has.
        inside: operations inside of layers.
    """
    for reader in node.only_readers():
        if reader.mixes and isinstance(reader.owner, nn.Linear) and reader.owner.in_features == units:
            return reader.owner
        moved = reader.operation.name().startswith(_MOVING)
        other = moved or output_shape(reader.operation, 0)[-1:] != (units,)
        if reader.owner is not None or (reader.operation not in inside and (other or len(reader.inputs) > 1)):
            return None
    return None
