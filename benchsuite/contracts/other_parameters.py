"""Calls of a network with other parameters."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn


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
