"""Entries that are coupled because of how one module computes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from benchsuite.pruning.attention import attention_of
from benchsuite.pruning.axes import Axis

if TYPE_CHECKING:
    from benchsuite.pruning.attention import Attention
    from benchsuite.pruning.tracing.couplings import Couplings


def tie_inside_modules(model: nn.Module, couplings: Couplings) -> set[Axis]:
    """Add the couplings inside modules: channel groups of a normalisation, heads of an attention.

    Args:
        model: the network.
        couplings: the entries of its axes; ties are added.

    Returns:
        Outputs of the layers that compute queries, keys and values of attentions with removable heads.
    """
    attention: set[Axis] = set()
    _tie_shared(model, couplings)
    for name, module in model.named_modules():
        norm = Axis(name, "channels")
        if isinstance(module, nn.GroupNorm) and module.num_groups > 1 and norm in couplings.sizes:
            # Only whole groups can be removed without changing how the others are normalised.
            _tie_blocks(couplings, norm, module.num_channels // module.num_groups)
        conv = Axis(name, "grouped")
        if conv in couplings.sizes:
            _tie_blocks(couplings, conv, module.out_channels // module.groups)
        if (parts := attention_of(module)) is not None:
            attention |= _tie_heads(couplings, name, parts)
    return attention


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


def _tie_heads(couplings: Couplings, name: str, parts: Attention) -> set[Axis]:
    before = f"{name}." if name else ""
    makers = [Axis(before + maker, "out") for maker in parts.makers]
    reader = Axis(before + parts.reader, "in")
    if not couplings.sizes.keys() >= {*makers, reader}:
        return set()
    heads = Axis(name, "heads")
    couplings.add(heads, parts.heads)
    every = np.arange(parts.heads * parts.size)
    head = couplings.of(heads, every // parts.size)
    for maker in makers:
        for start in range(0, couplings.sizes[maker], len(every)):
            couplings.tie(couplings.of(maker, start + every), head)
    couplings.tie(couplings.of(reader, every), head)
    return set(makers)
