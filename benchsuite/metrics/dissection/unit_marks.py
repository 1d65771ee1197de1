"""Numbers for all units of a network's layers, and which of them go together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from benchsuite.metrics.dissection.markers import NOTHING, compact, varying_dims

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

Unit = tuple[str, int]
"""A layer's name and the unit's index in it."""


class UnitMarks:
    """Gives every unit of every layer a number. Units whose values are added up get tied."""

    def __init__(self) -> None:
        self._first: dict[str, int] = {}
        self._units: list[Unit | None] = []
        self._parent: list[int] = []

    def of_layer(self, layer: str, shape: Sequence[int], dim: int) -> Tensor:
        """The marks of a layer's output, int32, whose dimension `dim` are its units."""
        units = shape[dim]
        if layer not in self._first:
            self._first[layer] = self._begin([(layer, unit) for unit in range(units)])
        return _along(self._first[layer], shape, dim)

    def of_no_layer(self, shape: Sequence[int], dim: int) -> Tensor:
        """The marks of an output of weights that are no layer's, and so are never removed."""
        return _along(self._begin([None] * shape[dim]), shape, dim)

    def joined(self, first: Tensor, second: Tensor) -> Tensor:
        """The marks of a sum; the units of its terms are tied from now on.

        Units that lie along another dimension, such as those of a layer that mixes tokens, are not the sum's.
        """
        varying = sorted({*varying_dims(first), *varying_dims(second)})
        if not {*varying_dims(first)} & {*varying_dims(second)} and len(varying) > 1:
            return first
        once = tuple(slice(None) if dim in (0, *varying) else slice(0, 1) for dim in range(first.ndim))
        a, b = first[once].flatten(), second[once].flatten()
        both = (a != NOTHING) & (b != NOTHING)
        for one, other in torch.stack([a[both], b[both]], 1).unique(dim=0).tolist():
            self._parent[self._root(one)] = self._root(other)
        if not bool((first[once] == NOTHING).any()):
            return first
        return compact(torch.where(first == NOTHING, second, first))

    def sources(self, mark: Tensor, dim: int) -> list[frozenset[Unit]] | None:
        """By place along a dimension, the units that are tied in it; None if they differ by position.

        A place without any is empty: padding, or weights that are no layer's.
        """
        if any(varying != dim for varying in varying_dims(mark)):
            return None
        tied: dict[int, set[Unit]] = {}
        for number, unit in enumerate(self._units):
            if unit is not None:
                tied.setdefault(self._root(number), set()).add(unit)
        numbers = mark.movedim(dim, 0).flatten(1)[:, 0].tolist()
        return [frozenset() if n == NOTHING else frozenset(tied.get(self._root(n), ())) for n in numbers]

    def _begin(self, units: Sequence[Unit | None]) -> int:
        start = len(self._units)
        self._units.extend(units)
        self._parent.extend(range(start, start + len(units)))
        return start

    def _root(self, number: int) -> int:
        while self._parent[number] != number:
            self._parent[number] = self._parent[self._parent[number]]
            number = self._parent[number]
        return number


def joined_tokens(first: Tensor, second: Tensor) -> Tensor | None:
    """The token marks of a sum; None if a token were two."""
    varying = {0, *varying_dims(first), *varying_dims(second)}
    once = tuple(slice(None) if dim in varying else slice(0, 1) for dim in range(first.ndim))
    a, b = first[once], second[once]
    found = torch.where(a == NOTHING, b, a)
    return found.expand(first.shape) if bool(((b == NOTHING) | (b == found)).all()) else None


def _along(start: int, shape: Sequence[int], dim: int) -> Tensor:
    dim %= len(shape)
    numbers = torch.arange(start, start + shape[dim], dtype=torch.int32)
    return numbers.view([-1 if d == dim else 1 for d in range(len(shape))]).expand(tuple(shape))
