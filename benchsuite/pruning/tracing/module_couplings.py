"""Entries that are coupled because of how one module computes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from benchsuite.contracts.recurrent import RecurrentLayer
from benchsuite.pruning.axes import Axis

if TYPE_CHECKING:
    from benchsuite.pruning.tracing.couplings import Couplings


def tie_inside_modules(model: nn.Module, couplings: Couplings) -> None:
    """Add the couplings inside modules, such as the channel groups of a normalisation.

    Args:
        model: the network.
        couplings: the entries of its axes; ties are added.
    """
    _tie_shared(model, couplings)
    for name, module in model.named_modules():
        norm = Axis(name, "channels")
        if isinstance(module, nn.GroupNorm) and module.num_groups > 1 and norm in couplings.sizes:
            # Only whole groups can be removed without changing how the others are normalised.
            _tie_blocks(couplings, norm, module.num_channels // module.num_groups)
        conv = Axis(name, "grouped")
        if conv in couplings.sizes:
            _tie_blocks(couplings, conv, module.out_channels // module.groups)
        if isinstance(module, RecurrentLayer) and Axis(name, "out") in couplings.sizes:
            # It reads its own units, behind its inputs.
            own = np.arange(len(module.weight))
            read = couplings.of(Axis(name, "sequence"), module.inputs + own)
            couplings.tie(read, couplings.of(Axis(name, "out"), own))


def _tie_shared(model: nn.Module, couplings: Couplings) -> None:
    """Tie the axes of modules that share a parameter: what one of them loses the others lose.

    Where one of them cannot lose it, such as an embedding that shares its weight with the last layer, the
    entries stay.
    """
    owners: dict[nn.Parameter, list[tuple[str, nn.Module]]] = {}
    for module_name, module in model.named_modules():
        for parameter in module._parameters.values():
            if parameter is not None:
                owners.setdefault(parameter, []).append((module_name, module))
    for parameter, sharing in owners.items():
        for dim in range(parameter.ndim) if len(sharing) > 1 else ():
            axes = [_axis_of(name, module, parameter, dim) for name, module in sharing]
            cuttable = [axis for axis in axes if axis in couplings.sizes]
            for axis in cuttable:
                every = np.arange(couplings.sizes[axis])
                couplings.tie(couplings.of(axis, every), couplings.of(cuttable[0], every))
                if len(cuttable) < len(axes):
                    names = ", ".join(name or "the network" for name, _ in sharing)
                    couplings.pin(couplings.of(axis, every), f"{names} share a parameter")


def _axis_of(name: str, module: nn.Module, parameter: nn.Parameter, dim: int) -> Axis | None:
    """The axis of a module with which a dimension of its parameter goes."""
    if not isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
        return Axis(name, "channels") if dim == parameter.ndim - 1 else None
    if isinstance(module, nn.modules.conv._ConvNd) and module.groups > 1:
        return Axis(name, "grouped") if dim == 0 else None
    transposed = isinstance(module, nn.modules.conv._ConvNd) and module.transposed
    outputs = 1 if transposed and parameter.ndim > 1 else 0
    if dim == outputs:
        return Axis(name, "out")
    return Axis(name, "in") if dim == 1 - outputs else None


def _tie_blocks(couplings: Couplings, axis: Axis, block: int) -> None:
    every = np.arange(couplings.sizes[axis])
    couplings.tie(couplings.of(axis, every), couplings.of(axis, every // block * block))
