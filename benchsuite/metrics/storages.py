"""The memory behind a tensor, which sparse tensors have in several pieces."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor, UntypedStorage

_BY_ROWS = (torch.sparse_csr, torch.sparse_bsr)
_BY_COLUMNS = (torch.sparse_csc, torch.sparse_bsc)


def parts_of(tensor: Tensor) -> tuple[Tensor, ...]:
    """The dense tensors that hold a tensor, its numbers first; none if its layout hides them."""
    if tensor.layout is torch.strided:
        return (tensor,)
    if tensor.layout is torch.sparse_coo:
        return tensor._values(), tensor._indices()
    if tensor.layout in _BY_ROWS:
        return tensor.values(), tensor.crow_indices(), tensor.col_indices()
    if tensor.layout in _BY_COLUMNS:
        return tensor.values(), tensor.ccol_indices(), tensor.row_indices()
    return ()


def storages_of(tensor: Tensor) -> list[UntypedStorage]:
    """Every piece of memory behind a tensor."""
    return [part.untyped_storage() for part in parts_of(tensor)]


def stored_numbers(tensor: Tensor) -> int:
    """How many numbers a tensor holds: all of its entries, or those that a sparse one stores."""
    parts = parts_of(tensor)
    return parts[0].numel() if parts else tensor.numel()
