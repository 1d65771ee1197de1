"""Which criteria can be compared with each other, and on which cells."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Mapping, Sequence

    from benchsuite_leaderboard.board import Block, Criterion

SHARE = 2 / 3
"""A criterion that lacks more of the cells is not compared with all others."""
_DIGITS = 9
"""Leads that differ in later digits differ by rounding errors."""


@dataclass(frozen=True)
class Contention:
    """Criteria that are compared, and the cells that all of them have.

    Attributes:
        criteria: those compared with each other, in the order given.
        partial: those that lack too much, in the order given.
        blocks: the cells that all of `criteria` have.
        asked: number of cells that were to be measured.
    """

    criteria: tuple[Criterion, ...]
    partial: tuple[Criterion, ...]
    blocks: frozenset[Block]
    asked: int


def contention(
    values: Mapping[Criterion, Mapping[Block, float]],
    asked: Collection[Block],
    stratum: Callable[[Block], Hashable],
    least: int,
) -> Contention:
    """Who can be compared with everybody.

    A mean over other cells is another quantity: a criterion that serves only the easier of two workloads
    would lead without being better. So criteria are compared on the cells that all of them have, and one
    that lacks a stratum, or a third of all cells, is not among them. Where the few cells that each lacks
    would leave too little of a stratum together, those with the highest leads are compared: the criteria are
    taken by their leads, and one with which too few common cells would be left is left out. Names decide
    nothing.

    Args:
        values: each criterion's values in the cells that it has.
        asked: the cells that were to be measured.
        stratum: the part of the cells to which a cell belongs; every part has to be covered.
        least: so many cells of each stratum, or all if there are fewer, must be left.
    """
    parts: dict[Hashable, set[Block]] = defaultdict(set)
    for block in asked:
        parts[stratum(block)].add(block)
    wanted = frozenset(asked)
    having = {c: wanted.intersection(blocks) for c, blocks in values.items()}

    def covers(blocks: frozenset[Block]) -> bool:
        return all(len(part & blocks) >= min(least, len(part)) for part in parts.values())

    inside = [
        c for c, blocks in having.items() if covers(blocks) and len(blocks) >= SHARE * len(wanted) and blocks
    ]
    common = _common(having, inside)
    if inside and not covers(common):
        chosen: set[Criterion] = set()
        common = wanted
        for criterion in _by_lead(values, having, inside):
            if covers(common & having[criterion]):
                common &= having[criterion]
                chosen.add(criterion)
        inside = [c for c in inside if c in chosen]
    partial = tuple(c for c, blocks in having.items() if c not in inside and blocks)
    return Contention(tuple(inside), partial, common if inside else frozenset(), len(wanted))


def _common(having: Mapping[Criterion, frozenset[Block]], inside: list[Criterion]) -> frozenset[Block]:
    sets = [having[c] for c in inside]
    return sets[0].intersection(*sets[1:]) if sets else frozenset()


def _by_lead(
    values: Mapping[Criterion, Mapping[Block, float]],
    having: Mapping[Criterion, frozenset[Block]],
    criteria: Sequence[Criterion],
) -> list[Criterion]:
    """Criteria from the highest lead; of equal ones that with more cells first, then with earlier ones."""
    leads = dict(zip(criteria, _leads(values, having, criteria), strict=True))
    return sorted(criteria, key=lambda c: (-leads[c], -len(having[c]), sorted(map(_place, having[c]))))


def _leads(
    values: Mapping[Criterion, Mapping[Block, float]],
    having: Mapping[Criterion, frozenset[Block]],
    criteria: Sequence[Criterion],
) -> list[float]:
    """By how much each criterion is better, where the cells are not the same for all.

    Least squares of the model that a value is the sum of its criterion's lead and its cell's level: a
    criterion that lacks a cell in which all are worse does not gain by that.
    """
    blocks = {
        block: i
        for i, block in enumerate(sorted(frozenset().union(*(having[c] for c in criteria)), key=_place))
    }
    pairs = [
        (row, blocks[b], values[c][b])
        for row, c in enumerate(criteria)
        for b in sorted(having[c], key=_place)
    ]
    rows = np.array([row for row, _, _ in pairs])
    columns = np.array([column for _, column, _ in pairs])
    seen = np.array([value for _, _, value in pairs])
    counts = np.zeros((len(criteria), len(blocks)))
    counts[rows, columns] = 1
    sums = np.zeros_like(counts)
    sums[rows, columns] = seen
    # The cells' levels are eliminated, so that the equations are as many as the criteria.
    of_block = counts.sum(axis=0)
    left = np.diag(counts.sum(axis=1)) - (counts / of_block) @ counts.T
    right = sums.sum(axis=1) - (counts / of_block) @ sums.sum(axis=0)
    found = np.linalg.lstsq(left, right, rcond=None)[0]
    return [round(float(lead), _DIGITS) for lead in found]


def _place(block: Block) -> tuple[object, str]:
    """Sorts cells, those of sparsities in words too."""
    return (block.dense_model, str(block.sparsity))
