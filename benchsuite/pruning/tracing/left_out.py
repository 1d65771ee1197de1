"""Modules with weights that are not pruned, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from benchsuite.contracts.recurrent import RecurrentLayer
from benchsuite.pruning.axes import own_weight
from benchsuite.pruning.transposed import LEFT_AS_IT_IS

if TYPE_CHECKING:
    from collections.abc import Container


def left_out(model: nn.Module, pruned: Container[str]) -> dict[str, str]:
    """By name of each module with a weight of its own that is not pruned, the reason.

    Args:
        model: the network.
        pruned: names of the layers whose weights can be pruned.
    """
    modules = dict(model.named_modules())
    return {
        name or "the network itself": _reason(name, modules)
        for name, module in modules.items()
        if name not in pruned and _has_weights(module)
    }


def _has_weights(module: nn.Module) -> bool:
    layer = isinstance(module, nn.modules.conv._ConvNd | nn.Linear | RecurrentLayer)
    return layer or any(parameter.ndim > 1 for parameter in module.parameters(recurse=False))


def _reason(name: str, modules: dict[str, nn.Module]) -> str:
    module, owner = modules[name], modules.get(name.rpartition(".")[0])
    if isinstance(module, nn.RNNBase):
        return _why_whole(module)
    if not isinstance(module, nn.modules.conv._ConvNd | nn.Linear | RecurrentLayer):
        kinds = "convolutions, linear and recurrent layers"
        return f"of type {type(module).__name__}; only {kinds} are pruned"
    if isinstance(module, nn.modules.conv._ConvNd) and module.transposed:
        return LEFT_AS_IT_IS
    if own_weight(module) is None:
        return "its weight is no parameter of its own"
    if isinstance(owner, nn.MultiheadAttention):
        return f"a part of a {type(owner).__name__}, which multiplies by its weight without calling it"
    return "it is not called in evaluation"


def _why_whole(module: nn.RNNBase) -> str:
    """Why a recurrent layer of torch stayed one module, in which units cannot be told apart."""
    kind = type(module).__name__
    if module.proj_size:
        return f"of type {kind} with projections (proj_size), whose units stay"
    if len({parameter.requires_grad for parameter in module.parameters()}) > 1:
        return f"of type {kind}, of which a part learns and a part does not: its units stay"
    return (
        f"of type {kind}, whose units can go where it is called with one batch of sequences alone, nothing "
        "is read of it but its hidden units, and it has no hooks and shares no weights"
    )
