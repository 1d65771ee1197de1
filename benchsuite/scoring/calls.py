"""Calls of layers, whose input may be given by position or by keyword, and calls with other parameters."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn


def call_input(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    """Return what a layer is called with, from what a forward pre-hook with keyword arguments gets."""
    given: Tensor = args[0] if args else kwargs["input"]
    return given


def with_call_input(
    args: tuple[Any, ...], kwargs: dict[str, Any], own: Tensor
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of a layer's call with another input."""
    return ((own, *args[1:]), kwargs) if args else (args, {**kwargs, "input": own})


def functional_call(model: nn.Module, values: Mapping[str, Tensor], args: tuple[Any, ...]) -> Any:
    """Call a network with other parameters and buffers, and leave it as it is.

    As `torch.func.functional_call`, which leaves the values behind in modules that have several names.

    Args:
        model: the network.
        values: by name as in `named_parameters` and `named_buffers`, where shared ones have their first name.
        args: what it is called with.
    """
    import torch

    first = {id(tensor): name for name, tensor in chain(model.named_parameters(), model.named_buffers())}
    given = {}
    for prefix, module in model.named_modules():  # each once
        for name, tensor in chain(module._parameters.items(), module._buffers.items()):
            if tensor is not None and (known := first[id(tensor)]) in values:
                given[f"{prefix}.{name}" if prefix else name] = values[known]
    return torch.func.functional_call(model, given, args, tie_weights=False)
