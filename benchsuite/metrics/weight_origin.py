"""Which tensors of a forward pass are weights: made of parameters, and not of the input."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._pytree import tree_leaves

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import nn


class _Origin(IntEnum):
    """What a tensor depends on; with the input's, it is an activation, whatever else went into it."""

    CONSTANT = 0
    WEIGHT = 1
    ACTIVATION = 2


class WeightOrigin:
    """Follows what the storages of a forward pass are made of.

    Args:
        model: whose parameters are weights.
        example: the input.
    """

    def __init__(self, model: nn.Module, example: Tensor) -> None:
        self._known: dict[int, tuple[StorageWeakRef, _Origin]] = {}
        for parameter in model.parameters():
            self._note(parameter, _Origin.WEIGHT)
        self._note(example, _Origin.ACTIVATION)

    def follow(self, given: Any, made: Any) -> None:
        """Note what an operation made of what it was given."""
        origin = max((self._of(tensor) for tensor in _tensors(given)), default=_Origin.CONSTANT)
        for tensor in _tensors(made):
            self._note(tensor, origin)

    def without_zeros(self, macs: int, factors: Iterable[Tensor]) -> int:
        """The MACs of a product without the multiplications by zeros of that factor which is a weight.

        Where both are weights, such as a learned token and a matrix, the one with more zeros counts.
        """
        weights = (t for t in factors if t.numel() and self._of(t) is _Origin.WEIGHT)
        return min((macs * int(torch.count_nonzero(t)) // t.numel() for t in weights), default=macs)

    def _of(self, tensor: Tensor) -> _Origin:
        found = self._known.get(storage_of(tensor))
        return _Origin.CONSTANT if found is None or found[0].expired() else found[1]

    def _note(self, tensor: Tensor, origin: _Origin) -> None:
        if tensor.layout is torch.strided:
            self._known[storage_of(tensor)] = (StorageWeakRef(tensor.untyped_storage()), origin)


def storage_of(tensor: Tensor) -> int:
    """A number that tensors share which share memory, as long as they live."""
    return tensor.untyped_storage()._cdata if tensor.layout is torch.strided else id(tensor)


def _tensors(values: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]
