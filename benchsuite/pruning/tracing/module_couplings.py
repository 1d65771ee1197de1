"""Entries that are coupled because of how one module computes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from benchsuite.pruning.axes import Axis

if TYPE_CHECKING:
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
    for name, module in model.named_modules():
        norm = Axis(name, "channels")
        if isinstance(module, nn.GroupNorm) and module.num_groups > 1 and norm in couplings.sizes:
            # Only whole groups can be removed without changing how the others are normalised.
            _tie_blocks(couplings, norm, module.num_channels // module.num_groups)
        conv = Axis(name, "grouped")
        if conv in couplings.sizes:
            _tie_blocks(couplings, conv, module.out_channels // module.groups)
        if is_fused_attention(module):
            attention |= _tie_heads(couplings, name, module)
    return attention


def _tie_blocks(couplings: Couplings, axis: Axis, block: int) -> None:
    every = np.arange(couplings.sizes[axis])
    couplings.tie(couplings.of(axis, every), couplings.of(axis, every // block * block))


def _tie_heads(couplings: Couplings, name: str, module: Any) -> set[Axis]:
    qkv, proj = Axis(_inner(name, "qkv"), "out"), Axis(_inner(name, "proj"), "in")
    if qkv not in couplings.sizes or proj not in couplings.sizes:
        return set()
    heads = Axis(name, "heads")
    couplings.add(heads, module.num_heads)
    every = np.arange(module.num_heads * module.head_dim)
    head = couplings.of(heads, every // module.head_dim)
    for part in range(3):
        couplings.tie(couplings.of(qkv, every + part * len(every)), head)
    couplings.tie(couplings.of(proj, every), head)
    return {qkv}


def _inner(name: str, child: str) -> str:
    return f"{name}.{child}" if name else child


def is_fused_attention(module: nn.Module) -> bool:
    """Whether heads are removable: one linear layer makes queries, keys and values, another reads all."""
    qkv, proj = getattr(module, "qkv", None), getattr(module, "proj", None)
    heads, size = getattr(module, "num_heads", None), getattr(module, "head_dim", None)
    if not (isinstance(qkv, nn.Linear) and isinstance(proj, nn.Linear)):
        return False
    if not (isinstance(heads, int) and isinstance(size, int)):
        return False
    return qkv.out_features == 3 * heads * size and proj.in_features == heads * size
