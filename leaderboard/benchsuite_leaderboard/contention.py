"""Which criteria can be compared with each other, and on which cells."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Mapping

    from benchsuite_leaderboard.board import Block, Criterion

SHARE = 2 / 3
"""A criterion that lacks more of the cells is not compared with all others."""


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
    values: Mapping[Criterion, Collection[Block]],
    asked: Collection[Block],
    stratum: Callable[[Block], Hashable],
    least: int,
) -> Contention:
    """Who can be compared with everybody.

    A mean over other cells is another quantity: a criterion that serves only the easier of two workloads
    would lead without being better. So criteria are compared on the cells that all of them have, and one
    that lacks a stratum, or a third of all cells, is not among them. Where the few cells that each lacks
    would leave too little of a stratum together, the one with the fewest cells is left out, until enough is
    left.

    Args:
        values: the cells that each criterion has.
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
    while inside and not covers(common):
        inside.remove(min(reversed(inside), key=lambda c: len(having[c])))
        common = _common(having, inside)
    partial = tuple(c for c, blocks in having.items() if c not in inside and blocks)
    return Contention(tuple(inside), partial, common if inside else frozenset(), len(wanted))


def _common(having: Mapping[Criterion, frozenset[Block]], inside: list[Criterion]) -> frozenset[Block]:
    sets = [having[c] for c in inside]
    return sets[0].intersection(*sets[1:]) if sets else frozenset()
