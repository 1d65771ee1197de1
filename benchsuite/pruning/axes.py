"""Which axes of a network's modules and parameters can lose entries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from torch import nn

from benchsuite.contracts.recurrent import RecurrentLayer

if TYPE_CHECKING:
    from collections.abc import Iterator

Side = Literal["out", "in", "grouped", "channels", "heads", "sequence", "rows", "size", "parameter"]
"""An axis of a module that can lose entries.

"out" and "in" of a convolution or linear layer; "grouped": the output channels of a convolution with groups,
whose input channels are removed with them; "channels" of a normalisation or PReLU, and the columns of an
embedding; "sequence": what a recurrent layer reads at each step, where its own units, which are "out", stand
behind its inputs; "rows": the channels beside which a linear layer mixes positions, for each of which it is
computed anew; "heads" of an attention module; "size": what a number in an attribute of a module counts;
"parameter": one axis of a parameter that belongs to no such module.
"""

_NORMS = (
    nn.modules.batchnorm._BatchNorm,
    nn.modules.instancenorm._InstanceNorm,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
)


@dataclass(frozen=True)
class Axis:
    """An axis that can lose entries: the dotted name of a module or parameter, and which of its axes."""

    name: str
    side: Side
    dim: int = 0
    """For "parameter" the dimension; for "size" which of an attribute's several numbers."""
    attribute: str = ""
    """For "size" only: the attribute's name."""


def axes_of(name: str, module: nn.Module) -> Iterator[tuple[Axis, int]]:
    """The axes of a module that can lose entries, and how many entries each has.

    Args:
        name: the module's dotted name.
        module: the module; nothing is returned for a module without such axes, nor for a layer whose weight
            is not a parameter of its own: there is nothing to cut.
    """
    if isinstance(module, nn.modules.conv._ConvNd | nn.Linear):
        if (weight := own_weight(module)) is None:
            return
        if isinstance(module, nn.modules.conv._ConvNd) and module.groups > 1:
            yield Axis(name, "grouped"), module.out_channels
            return
        transposed = isinstance(module, nn.modules.conv._ConvNd) and module.transposed
        yield Axis(name, "out"), weight.shape[1 if transposed else 0]
        yield Axis(name, "in"), weight.shape[0 if transposed else 1]
    elif isinstance(module, RecurrentLayer):
        yield Axis(name, "out"), module.weight.shape[0]
        yield Axis(name, "sequence"), module.weight.shape[1]
    elif isinstance(module, nn.RNNBase):
        if all(weight.shape[dim] == module.input_size for weight, dim in read_weights(module)):
            yield Axis(name, "sequence"), module.input_size
    elif isinstance(module, nn.Embedding | nn.EmbeddingBag):
        # A largest norm is one of all columns together.
        if module.max_norm is None and own_weight(module) is not None:
            yield Axis(name, "channels"), module.embedding_dim
    elif isinstance(module, nn.PReLU):
        if module.num_parameters > 1:
            yield Axis(name, "channels"), module.num_parameters
    elif isinstance(module, _NORMS):
        yield Axis(name, "channels"), _norm_size(module)


def is_prunable(module: nn.Module) -> bool:
    """Whether it is a convolution, linear or recurrent layer whose units or weights pruning may remove.

    The units of a transposed convolution as torch has it stay, since its weight has its inputs first; what it
    reads may go. See `TransposedConvolution` for the others.
    """
    if isinstance(module, nn.modules.conv._ConvNd) and module.transposed:
        return False
    kinds = nn.modules.conv._ConvNd | nn.Linear | RecurrentLayer
    return isinstance(module, kinds) and own_weight(module) is not None


def read_weights(module: nn.Module) -> list[tuple[nn.Parameter, int]]:
    """The weights with which a layer reads its input, each with the dimension of the inputs.

    Args:
        module: a convolution, a linear layer, or a recurrent one; of torch's recurrent layers the first layer
            reads in each direction.
    """
    if isinstance(module, nn.RNNBase):
        own = module.named_parameters(recurse=False)
        return [(weight, 1) for name, weight in own if name.startswith("weight_ih_l0")]
    return [(module.get_parameter("weight"), input_dim(module))]


def input_dim(layer: nn.Module) -> int:
    """The dimension of the inputs of a convolution's or linear layer's weight."""
    return 0 if getattr(layer, "transposed", False) else 1


def own_weight(layer: nn.Module) -> nn.Parameter | None:
    """The weight of a convolution, linear or recurrent layer; None if it is no parameter of its own."""
    return layer._parameters.get("weight")


def _norm_size(module: nn.Module) -> int:
    if isinstance(module, nn.LayerNorm | nn.RMSNorm):
        return int(module.normalized_shape[-1])
    if isinstance(module, nn.GroupNorm):
        return module.num_channels
    assert isinstance(module, nn.modules.batchnorm._NormBase)
    return module.num_features
