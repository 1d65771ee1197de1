"""A transposed convolution with the weight of other layers: its units, not its inputs, come first."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

OF_TORCH = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
"""Torch's own, by the number of dimensions that a kernel has."""
LEFT_AS_IT_IS = (
    "a transposed convolution that is left as it is: its class is another, its weight is shared or read by "
    "other code, or it is called with a size"
)
"""Why the units and weights of torch's own stay where `put_units_first` does not change them."""
_FUNCTIONS: dict[int, Any] = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}


class TransposedConvolution(nn.modules.conv._ConvTransposeNd):
    """What `nn.ConvTranspose1d`, `2d` and `3d` compute, from a weight (units, inputs / groups, *kernel).

    Theirs is (inputs, units / groups, *kernel). Here a unit is a row of the weight, as in every other layer:
    it is scored, cut and masked like that of a convolution. It is made of one of theirs, and has all its
    attributes; `transposed`, which says where the units are, is false.
    """

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:  # noqa: A002 - torch's
        """See `nn.ConvTranspose2d`.

        Raises:
            ValueError: the output of this size is another one than without it. What a criterion computes of
                the layer and its input alone would be of the other one.
        """
        dims = len(self.kernel_size)
        geometry: Any = (self.stride, self.padding, self.kernel_size, dims, self.dilation)
        padding = self._output_padding(input, output_size, *geometry)
        if tuple(padding) != tuple(self.output_padding):
            raise ValueError("a transposed convolution with its units first takes no other output size")
        weight = first_two_swapped(self.weight, self.groups)
        output: Tensor = _FUNCTIONS[dims](
            input, weight, self.bias, self.stride, self.padding, padding, self.groups, self.dilation
        )
        return output


def with_layers_of_torch(model: nn.Module) -> nn.Module:
    """The network with torch's own transposed convolutions: a copy, or itself where it has no other.

    In this form its cost and latency are measured and it is given away: it runs without benchsuite, its state
    fits the code that built it, and no weight is copied in a forward pass.
    """
    if not any(isinstance(module, TransposedConvolution) for module in model.modules()):
        return model
    given = copy.deepcopy(model)
    for module in given.modules():
        if isinstance(module, TransposedConvolution):
            become(module, OF_TORCH[len(module.kernel_size)])
    return given


def become(module: Any, kind: type[nn.Module]) -> None:
    """Make a transposed convolution one of another class, in place: torch's or with its units first.

    It stays the same object, so that hooks, and whoever else holds it, have the changed one.
    """
    weight = module.weight
    swapped = first_two_swapped(weight.detach(), module.groups).contiguous()
    module.__class__ = kind
    module.transposed = kind is not TransposedConvolution
    module.weight = nn.Parameter(swapped, weight.requires_grad)


def first_two_swapped(weight: Tensor, groups: int) -> Tensor:
    """Of a weight (inputs, units / groups, *kernel) (units, inputs / groups, *kernel), and the other way.

    Each group's inputs and units lie in a row.
    """
    if groups == 1:
        return weight.transpose(0, 1)
    by_group: Tensor = weight.reshape(groups, -1, *weight.shape[1:])
    return by_group.transpose(1, 2).flatten(0, 1)
