"""Which tensors of a forward pass are weights: made of parameters, and not of the input."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._pytree import tree_leaves

from benchsuite.contracts.inputs import tensors_of
from benchsuite.metrics.storages import parts_of, stored_numbers

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import nn

    from benchsuite.contracts.inputs import Inputs


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

    def __init__(self, model: nn.Module, example: Inputs) -> None:
        self._known: dict[int, tuple[StorageWeakRef, _Origin]] = {}
        for parameter in model.parameters():
            self._note(parameter, _Origin.WEIGHT)
        for tensor in tensors_of(example):
            self._note(tensor, _Origin.ACTIVATION)

    def follow(self, given: Any, made: Any) -> None:
        """Note what an operation made of what it was given."""
        origin = max((self._of(tensor) for tensor in _tensors(given)), default=_Origin.CONSTANT)
        for tensor in _tensors(made):
            self._note(tensor, origin)

    def without_zeros(self, macs: int, factors: Iterable[Tensor]) -> int:
        """The MACs of a product without the multiplications by zeros of that factor which is a weight.

        Where both are weights, such as a learned token and a matrix, the one with more zeros counts.
        """
        weights = [t for t in factors if self._of(t) is _Origin.WEIGHT and stored_numbers(t)]
        return min((macs * _nonzero(t) // stored_numbers(t) for t in weights), default=macs)

    def _of(self, tensor: Tensor) -> _Origin:
        found = self._known.get(storage_of(tensor))
        return _Origin.CONSTANT if found is None or found[0].expired() else found[1]

    def _note(self, tensor: Tensor, origin: _Origin) -> None:
        for numbers in parts_of(tensor)[:1]:
            self._known[storage_of(tensor)] = (StorageWeakRef(numbers.untyped_storage()), origin)


def storage_of(tensor: Tensor) -> int:
    """A number that tensors share which share memory, as long as they live."""
    parts = parts_of(tensor)
    return parts[0].untyped_storage()._cdata if parts else id(tensor)


def _nonzero(tensor: Tensor) -> int:
    return int(parts_of(tensor)[0].count_nonzero())


def _tensors(values: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]
