"""Tensors whose channels a network reads in parts, as by `chunk`, `split` and slices.

Such code usually computes where a part ends from the number of channels, so a smaller tensor is divided at
another place. It still is divided where it was if all parts lose equally many channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from math import gcd
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from benchsuite.pruning.tracing.index_maps import Taken

    Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class PartedTensor:
    """The channels of one tensor, sorted into parts; what no part has is the last one.

    Attributes:
        parts: by part, the entry that each of its channels comes from, -1 where it is not known.
        disjoint: whether no channel is in two parts.
    """

    parts: tuple[Integers, ...]
    disjoint: bool

    def ties(self) -> Iterator[tuple[Integers, Integers]]:
        """Pairs of entries to be removed together, so that the parts keep their proportions.

        The i-th channels of equal parts go together, also if the last part is shorter, as that of a `chunk`
        that does not come out even. Of parts in the proportion 1:3 one channel goes with three. There are
        none if parts overlap, or if some channels come from elsewhere, as from the network's input.
        """
        sizes = [len(part) for part in self.parts]
        if not self.disjoint or len(sizes) < 2 or any((part < 0).any() for part in self.parts):
            return
        bundles = _by_place(sizes) if _is_chunked(sizes) else _in_proportion(sizes)
        by_bundle: dict[int, int] = {}
        for part, numbers in zip(self.parts, bundles, strict=True):
            for entry, bundle in zip(part.tolist(), numbers.tolist(), strict=True):
                yield np.array([entry]), np.array([by_bundle.setdefault(bundle, entry)])


def parted(entries: Integers, taken: Iterable[Taken]) -> PartedTensor:
    """Sort a tensor's channels into the parts that are taken of it.

    Args:
        entries: (channels,) the entry that each channel comes from, -1 where it is not known.
        taken: the parts that are read.
    """
    numbers = np.arange(len(entries))
    parts = [numbers[part.start : part.stop : part.step] for part in sorted(taken, key=_beginning)]
    parts = [part for part in parts if len(part)]
    rest = np.setdiff1d(numbers, np.concatenate([*parts, np.empty(0, np.int64)]))
    disjoint = all(not np.intersect1d(one, other).size for one, other in combinations(parts, 2))
    parts += [rest] if len(rest) else []
    return PartedTensor(tuple(entries[part] for part in parts), disjoint)


def _beginning(part: Taken) -> tuple[int, int, int]:
    return part.start, part.stop, part.step


def _is_chunked(sizes: list[int]) -> bool:
    """Whether all parts are equal, but for a last one that is shorter."""
    return len(set(sizes[:-1])) == 1 and 0 <= sizes[0] - sizes[-1] < len(sizes)


def _by_place(sizes: list[int]) -> list[Integers]:
    return [np.arange(size) for size in sizes]


def _in_proportion(sizes: list[int]) -> list[Integers]:
    bundles = gcd(*sizes)
    return [np.arange(size) // (size // bundles) for size in sizes]
