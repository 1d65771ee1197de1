"""Which axes of a network's modules and parameters can lose entries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterator

Side = Literal["out", "in", "grouped", "channels", "heads", "parameter"]
"""An axis of a module that can lose entries.

"out" and "in" of a convolution or linear layer; "grouped": the output channels of a convolution with groups,
whose input channels are removed with them; "channels" of a normalisation or PReLU; "heads" of an attention
module; "parameter": one axis of a parameter that belongs to no such module.
"""

_NORMS = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm, nn.LayerNorm, nn.GroupNorm)


@dataclass(frozen=True)
class Axis:
    """An axis that can lose entries: the dotted name of a module or parameter, and which of its axes."""

    name: str
    side: Side
    dim: int = 0
    """For "parameter" only: the dimension."""


def axes_of(name: str, module: nn.Module) -> Iterator[tuple[Axis, int]]:
    """The axes of a module that can lose entries, and how many entries each has.

    Args:
        name: the module's dotted name.
        module: the module; nothing is returned for a module without such axes.
    """
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


def _norm_size(module: nn.Module) -> int:
    if isinstance(module, nn.LayerNorm):
        return int(module.normalized_shape[-1])
    if isinstance(module, nn.GroupNorm):
        return module.num_channels
    assert isinstance(module, nn.modules.batchnorm._NormBase)
    return module.num_features
