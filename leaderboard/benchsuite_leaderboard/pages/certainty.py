"""How certain it is that a column's best criterion is the best, in a few words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchsuite_leaderboard.pages.formats import count

if TYPE_CHECKING:
    from benchsuite_leaderboard.board import Criterion
    from benchsuite_leaderboard.standings import Table


@dataclass(frozen=True)
class Certainty:
    """What the seeds show about a column's best criterion.

    Attributes:
        beats_random: whether it is significantly better than the random control; true if there is none.
    """

    text: str
    beats_random: bool


def certainty(table: Table, column: int, random: Criterion | None) -> Certainty:
    """The words for a column that has a best criterion; they say nothing about entries without all seeds."""
    best = table.best(column)
    assert best is not None
    estimate = table.rows[best][column].estimate
    if estimate is None or estimate.half_width is None:
        return Certainty("one seed: how sure is unknown", beats_random=True)
    parts = []
    chance = None if random is None else table.rows[random][column]
    beats_random = True
    if chance is not None:
        if not chance.is_complete or chance.estimate is None or chance.estimate.half_width is None:
            parts.append("random lacks seeds")
        elif chance.mark == "tied":
            beats_random = False
            parts.append("not surely better than random")
        else:
            parts.append("better than random")
    rivals = {c: cells[column] for c, cells in table.rows.items() if c != best and not c.is_control}
    tied = sum(cell.mark == "tied" for cell in rivals.values())
    partial = sum(cell.estimate is not None and not cell.is_complete for cell in rivals.values())
    if tied:
        parts.append(f"tied with {count(tied, 'other')}")
    elif len(rivals) > partial:
        parts.append("ahead of every other" + (" with all seeds" if partial else ""))
    return Certainty(", ".join(parts), beats_random)
