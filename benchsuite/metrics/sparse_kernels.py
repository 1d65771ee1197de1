"""Kernels that skip the zeros of the 2:4 pattern, on devices that have them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from benchsuite.contracts.inputs import Inputs

logger = logging.getLogger(__name__)

_FIRST_CAPABILITY = (8, 0)
"""NVIDIA's Ampere generation was the first with sparse tensor cores (Mishra et al. 2021)."""


def device_has_sparse_kernels(device: torch.device) -> bool:
    """Whether the device multiplies 2:4 matrices without their zeros."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= _FIRST_CAPABILITY


def is_two_four(weight: Tensor) -> bool:
    """Whether at least two of every four consecutive inputs of a matrix (outputs, inputs) are zero."""
    if weight.ndim != 2 or weight.shape[1] % 4:
        return False
    return bool(((weight.reshape(-1, 4) != 0).sum(1) <= 2).all())


def use_sparse_kernels(network: nn.Module, batch: Inputs) -> int:
    """Give linear layers of the 2:4 pattern weights that are multiplied by sparse kernels.

    Convolutions have no such kernels in torch and stay as they are, as do matrices of a shape that the
    kernels do not take. Some refuse only when they are called, with the batch's shape: each is tried on it.

    Args:
        network: in evaluation mode and half precision, and on the device; changed in place.
        batch: what it will be run on.

    Returns:
        How many layers were changed.
    """
    changed = 0
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear) and is_two_four(module.weight):
            changed += _try_sparse(network, name, module, batch)
    return changed


def _try_sparse(network: nn.Module, name: str, layer: nn.Linear, batch: Inputs) -> bool:
    """Make one layer's weight sparse if the network then runs, and say whether it does."""
    dense = layer.weight
    try:
        sparse = torch.sparse.to_sparse_semi_structured(dense.detach())
        layer.weight = nn.Parameter(sparse, requires_grad=False)
        with torch.inference_mode():
            network(batch)
    except RuntimeError as error:
        layer.weight = dense
        logger.warning("%s keeps its dense weight: no sparse kernel takes it (%s)", name, error)
        return False
    return True
