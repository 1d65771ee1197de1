"""The next layer, which reads a layer's units, and each unit's contribution to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

if TYPE_CHECKING:
    from benchsuite import Layer
    from benchsuite_scorers._partial_forward import PartialForward


@dataclass(frozen=True, eq=False)
class NextLayer:
    """The next layer, for fixed inputs of the network.

    Attributes:
        module: the first convolution (not a depthwise one) or linear layer that the units reach.
        on: its input.
        off: its input when the units' weights and biases are zero.
        units: number of units; each has a block of the input's channels or features.
    """

    module: nn.Module
    on: Tensor
    off: Tensor
    units: int

    def masked(self, values: Tensor, units: Tensor) -> Tensor:
        """Return `values`, shaped like the input, with only the blocks of some units (a bool mask) left."""
        return values * _spread(units.to(values.dtype), self.module, values)

    def contribution(self, values: Tensor) -> Tensor:
        """Return what `values`, shaped like the input, adds to the next layer's output."""
        if getattr(self.module, "bias", None) is None:
            result: Tensor = self.module(values)
            return result
        zero = torch.zeros_like(self.module.get_parameter("bias"))
        without: Tensor = functional_call(self.module, {"bias": zero}, (values,))
        return without


def unit_mask(layer: Layer, mask: Tensor, output: Tensor) -> Tensor:
    """Return a factor for each unit, (..., units), shaped to be multiplied with the layer's output.

    Leading dimensions of the mask stay first: (masks, 1, units, 1, 1) for images.
    """
    trailing = 0 if layer.kind == "linear" else output.ndim - 2
    between = output.ndim - 1 - trailing
    return mask.reshape(*mask.shape[:-1], *[1] * between, mask.shape[-1], *[1] * trailing)


def find_next(model: nn.Module, layer: Layer, inputs: Tensor) -> nn.Module | None:
    """Return the first convolution or linear layer whose input changes when the layer's units are zeroed.

    Depthwise convolutions are skipped, since they keep the units separate. None if there is no such layer.
    """
    candidates = [module for module in model.modules() if module is not layer.module and _mixes(module)]
    first, second = (_inputs_of(model, candidates, layer.module, inputs, factor) for factor in (1, 0))
    for module, entered in first.items():
        if module in second and not torch.equal(entered, second[module]):
            return module
    return None


def connect_next(module: nn.Module, layer: Layer, rest: PartialForward) -> NextLayer | None:
    """Return the next layer with its inputs, or None if its input channels do not belong to single units.

    This is tested: when a random half of the units is zeroed, exactly their blocks of the input must change.
    """
    on, off = (_entered(module, rest, rest.output * factor) for factor in (1, 0))
    following = NextLayer(module, on, off, layer.units)
    axis = _axis(module, on)
    if on.shape[axis] % layer.units:
        return None
    half = torch.arange(layer.units, device=on.device) % 2 == 0
    expected = following.masked(on, half) + following.masked(off, ~half)
    found = _entered(module, rest, rest.output * unit_mask(layer, half, rest.output))
    return following if torch.allclose(found, expected, rtol=1e-4, atol=1e-5) else None


def _mixes(module: nn.Module) -> bool:
    if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        return module.groups == 1 or module.groups < module.in_channels
    return isinstance(module, nn.Linear)


def _axis(module: nn.Module, entered: Tensor) -> int:
    return entered.ndim - 1 if isinstance(module, nn.Linear) else 1


def _spread(factors: Tensor, module: nn.Module, entered: Tensor) -> Tensor:
    """Repeat one factor per unit over its block and shape it for the next layer's input."""
    axis = _axis(module, entered)
    wide = factors.repeat_interleave(entered.shape[axis] // len(factors))
    return wide.reshape(-1, *[1] * (entered.ndim - 1 - axis))


def _inputs_of(
    model: nn.Module, modules: list[nn.Module], changed: nn.Module, inputs: Tensor, factor: int
) -> dict[nn.Module, Tensor]:
    """Return the first input of each module, in the order of calls, with one module's output multiplied."""
    entered: dict[nn.Module, Tensor] = {}

    def keep(module: nn.Module, arguments: tuple[Any, ...]) -> None:
        if module not in entered:
            entered[module] = arguments[0].clone()

    def multiply(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        return output * factor

    handles = [module.register_forward_pre_hook(keep) for module in modules]
    handles.append(changed.register_forward_hook(multiply))
    try:
        with torch.no_grad():
            model(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return entered


class _Entered(Exception):  # noqa: N818 - it ends a pass early and is no error
    """Carries the input of a module."""

    def __init__(self, entered: Tensor) -> None:
        super().__init__()
        self.entered = entered


def _entered(module: nn.Module, rest: PartialForward, outputs: Tensor) -> Tensor:
    """Return the input of a module when the rest of the network runs; the run ends there."""

    def stop(_module: nn.Module, arguments: tuple[Any, ...]) -> None:
        raise _Entered(arguments[0])

    handle = module.register_forward_pre_hook(stop)
    try:
        with torch.no_grad():
            rest.run(outputs)
    except _Entered as reached:
        return reached.entered
    finally:
        handle.remove()
    raise ValueError("the forward pass does not reach the module")
