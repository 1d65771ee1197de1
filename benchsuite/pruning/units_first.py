"""Transposed convolutions of torch, whose weight has its inputs first, made ones with their units first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchsuite.pruning.transposed import OF_TORCH, TransposedConvolution, become, first_two_swapped
from benchsuite.pruning.trial_change import change_where_possible

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import Tensor, nn

    from benchsuite.contracts.inputs import Inputs


def put_units_first(model: nn.Module, example: Inputs) -> dict[str, int]:
    """Make every transposed convolution of torch a `TransposedConvolution`, in place.

    Those stay as they are with which the network would compute something else or not run, as where other code
    reads the weight, or calls the layer with the size of its output; and subclasses, and those that share
    their weight.

    Args:
        model: the network; one without transposed convolutions is not run.
        example: an input of any number of samples; the first is used.

    Returns:
        By name of each that was changed, the number of its groups.
    """
    every: dict[str, Any] = dict(model.named_modules(remove_duplicate=False))
    found = [name for name, module in every.items() if _changeable(module, model)]
    return {name: every[name].groups for name in change_where_possible(model, example, found, units_first)}


def units_first(model: nn.Module, names: Iterable[str]) -> None:
    """Put units first in the transposed convolutions of these names, in place."""
    for name in names:
        module = model.get_submodule(name)
        if not isinstance(module, TransposedConvolution):  # else it has another name as well
            become(module, TransposedConvolution)


def units_first_state(state: Mapping[str, Tensor], groups: Mapping[str, int]) -> dict[str, Tensor]:
    """A state of the network as it was built, with the weights as they are once units come first.

    Args:
        state: by name, tensors of the shape of the parameters.
        groups: what `put_units_first` returned.
    """
    found = dict(state)
    for name, number in groups.items():
        key = f"{name}.weight" if name else "weight"
        if key in found:
            found[key] = first_two_swapped(found[key], number).contiguous()
    return found


def _changeable(module: nn.Module, model: nn.Module) -> bool:
    weight = module._parameters.get("weight")
    if type(module) not in OF_TORCH.values() or weight is None:
        return False
    holders = [each for each in model.modules() for held in each._parameters.values() if held is weight]
    return len(holders) == 1
