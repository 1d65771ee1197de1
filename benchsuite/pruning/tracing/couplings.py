"""Ties between the entries of all axes of a network, and the connected components of these ties."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

    from benchsuite.pruning.axes import Axis
    from benchsuite.pruning.tracing.parts import PartedTensor

    Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Component:
    """Entries of axes that must be removed together."""

    entries: dict[Axis, tuple[int, ...]]
    pinned: str | None
    """Why they cannot be removed, or None."""
    parts: frozenset[tuple[int, int]] = frozenset()
    """The parts that they are in: the number of a parted tensor, and which of its parts."""


@dataclass
class Couplings:
    """Numbers for the entries of all axes, the ties between them, and those that cannot be removed."""

    offsets: dict[Axis, int] = field(default_factory=dict)
    sizes: dict[Axis, int] = field(default_factory=dict)
    count: int = 0
    left: list[Integers] = field(default_factory=list)
    right: list[Integers] = field(default_factory=list)
    pins: dict[int, str] = field(default_factory=dict)
    parted: list[PartedTensor] = field(default_factory=list)

    def add(self, axis: Axis, size: int) -> None:
        """Number the entries of an axis."""
        self.offsets[axis] = self.count
        self.sizes[axis] = size
        self.count += size

    def of(self, axis: Axis, indices: Integers) -> Integers:
        """The numbers of some entries of an axis."""
        return self.offsets[axis] + indices

    def tie(self, left: Integers, right: Integers) -> None:
        """Tie each entry on the left to the one on the right: they are removed together."""
        self.left.append(left)
        self.right.append(right)

    def pin(self, entries: Integers, reason: str) -> None:
        """Mark some entries as not removable; the first reason given for an entry counts."""
        for entry in entries.tolist():
            self.pins.setdefault(entry, reason)

    def components(self, apart: Collection[int] = ()) -> list[Component]:
        """The sets of entries that are connected by ties.

        Args:
            apart: the numbers of parted tensors whose parts may lose different numbers of channels.
        """
        equal = [pair for n, tensor in enumerate(self.parted) if n not in apart for pair in tensor.ties()]
        left = np.concatenate([*self.left, *(one for one, _ in equal), np.empty(0, np.int64)])
        right = np.concatenate([*self.right, *(other for _, other in equal), np.empty(0, np.int64)])
        matrix = coo_array((np.ones(len(left), np.int8), (left, right)), shape=(self.count, self.count))
        number, labels = connected_components(matrix, directed=False)
        entries: list[dict[Axis, list[int]]] = [{} for _ in range(number)]
        for axis, offset in self.offsets.items():
            for index, label in enumerate(labels[offset : offset + self.sizes[axis]].tolist()):
                entries[label].setdefault(axis, []).append(index)
        reasons: dict[int, str] = {}
        for entry, reason in self.pins.items():
            reasons.setdefault(int(labels[entry]), reason)
        parts: list[set[tuple[int, int]]] = [set() for _ in range(number)]
        for tensor, found in enumerate(self.parted):
            for part, roots in enumerate(found.parts):
                for label in np.unique(labels[roots[roots >= 0]]).tolist():
                    parts[label].add((tensor, part))
        return [
            Component(
                {axis: tuple(indices) for axis, indices in entry.items()},
                reasons.get(label),
                frozenset(parts[label]),
            )
            for label, entry in enumerate(entries)
        ]
