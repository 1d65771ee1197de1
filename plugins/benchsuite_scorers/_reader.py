"""What coupled units contribute to the output of a layer that reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from benchsuite import Unsupported, call_input

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchsuite_scorers._gates import Gate

_PLAIN = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


@dataclass(frozen=True, eq=False)
class Reader:
    """A convolution or linear layer that reads a coupled group, linear in its input but for its bias.

    Attributes:
        gate: the gate at its input.
        size: number of positions of the group.
    """

    gate: Gate
    size: int

    @property
    def module(self) -> nn.Module:
        """The layer."""
        return self.gate.module

    def contributions(self, given: Tensor) -> Iterator[Tensor]:
        """Yield for each position what its part of an input adds to the layer's output."""
        weight = self.module.get_parameter("weight")
        # Subclasses may compute their weight from all inputs, so that they are given all of them.
        plain = type(self.module) in _PLAIN and not self.module._forward_pre_hooks
        axis = -1 if self.gate.last else 1
        for position in range(self.size):
            chosen = (self.gate.places == position).nonzero().flatten()
            part = given.index_select(axis, chosen)
            if plain:
                yield self._without_bias(part, weight.index_select(1, chosen))
            else:
                yield self._without_bias(torch.zeros_like(given).index_copy(axis, chosen, part), weight)

    def _without_bias(self, values: Tensor, weight: Tensor) -> Tensor:
        parameters = {"weight": weight}
        if getattr(self.module, "bias", None) is not None:
            parameters["bias"] = torch.zeros_like(self.module.get_parameter("bias"))
        result: Tensor = functional_call(self.module, parameters, (values,))
        return result

    def only(self, given: Tensor, factors: Tensor) -> Tensor:
        """Return an input whose parts are multiplied by each position's factor; the rest stays."""
        return self.gate.multiplied(given, self.gate.wide(factors[None]))


def inputs_of(
    model: nn.Module, modules: list[nn.Module], inputs: Tensor
) -> tuple[dict[nn.Module, list[Tensor]], Tensor]:
    """Return the input of each module at each of its calls in a forward pass, copied, and the outputs.

    Raises:
        Unsupported: a module is called with more than its input, as a transposed convolution with the size of
            its output: what it computes of the input alone is something else.
    """
    kept: dict[nn.Module, list[Tensor]] = {module: [] for module in modules}

    def keep(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if len(args) + len(kwargs) > 1:
            raise Unsupported("a layer that reads its units is called with more than its input")
        kept[module].append(call_input(args, kwargs).clone())

    handles = [module.register_forward_pre_hook(keep, with_kwargs=True) for module in modules]
    try:
        with torch.no_grad():
            outputs: Tensor = model(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return kept, outputs
