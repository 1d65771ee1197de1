"""Entries that hang together because of how one module computes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from benchsuite.pruning._axes import Axis

if TYPE_CHECKING:
    from benchsuite.pruning._atoms import Atoms


def tie_inside_modules(model: nn.Module, atoms: Atoms) -> set[Axis]:
    """Couple what one module couples: channel groups of a normalisation, heads of an attention.

    Args:
        model: the network.
        atoms: the entries of its axes; ties are added.

    Returns:
        Outputs of the layers that make queries, keys and values of attentions whose heads can go.
    """
    attention: set[Axis] = set()
    for name, module in model.named_modules():
        norm = Axis(name, "channels")
        if isinstance(module, nn.GroupNorm) and module.num_groups > 1 and norm in atoms.sizes:
            # Only whole groups can go without changing how the others are normalised.
            _tie_blocks(atoms, norm, module.num_channels // module.num_groups)
        conv = Axis(name, "grouped")
        if conv in atoms.sizes:
            _tie_blocks(atoms, conv, module.out_channels // module.groups)
        if is_fused_attention(module):
            attention |= _tie_heads(atoms, name, module)
    return attention


def _tie_blocks(atoms: Atoms, axis: Axis, block: int) -> None:
    every = np.arange(atoms.sizes[axis])
    atoms.tie(atoms.of(axis, every), atoms.of(axis, every // block * block))


def _tie_heads(atoms: Atoms, name: str, module: Any) -> set[Axis]:
    qkv, proj = Axis(_inner(name, "qkv"), "out"), Axis(_inner(name, "proj"), "in")
    if qkv not in atoms.sizes or proj not in atoms.sizes:
        return set()
    heads = Axis(name, "heads")
    atoms.add(heads, module.num_heads)
    every = np.arange(module.num_heads * module.head_dim)
    head = atoms.of(heads, every // module.head_dim)
    for part in range(3):
        atoms.tie(atoms.of(qkv, every + part * len(every)), head)
    atoms.tie(atoms.of(proj, every), head)
    return {qkv}


def _inner(name: str, child: str) -> str:
    return f"{name}.{child}" if name else child


def is_fused_attention(module: nn.Module) -> bool:
    """Whether heads can go: one linear layer makes queries, keys and values, another reads all heads."""
    qkv, proj = getattr(module, "qkv", None), getattr(module, "proj", None)
    heads, size = getattr(module, "num_heads", None), getattr(module, "head_dim", None)
    if not (isinstance(qkv, nn.Linear) and isinstance(proj, nn.Linear)):
        return False
    if not (isinstance(heads, int) and isinstance(size, int)):
        return False
    return qkv.out_features == 3 * heads * size and proj.in_features == heads * size
