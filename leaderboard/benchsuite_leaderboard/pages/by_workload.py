"""Criteria by workloads: where each gains over random, and how often it may be best."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchsuite_leaderboard.board import Criterion, Workload
    from benchsuite_leaderboard.pages.views import Views
    from benchsuite_leaderboard.report import BoardReport
    from benchsuite_leaderboard.standings import Standings

_FULL = 0.1
"""A gain of ten percent points has the full colour."""


@dataclass(frozen=True)
class Square:
    """A criterion on one workload.

    Attributes:
        gain: mean gain over random, over the sparsities.
        strength: of the colour, between 0 and 1.
        place: by gain among the criteria that are compared there; None for one that lacks too many cells,
            whose gain is over others.
    """

    gain: float
    strength: float
    place: int | None


@dataclass(frozen=True)
class Line:
    """A criterion's squares, None where it has no gain.

    Attributes:
        may_be_best: in how many columns (a workload at a sparsity) it may be the best.
        compared: in how many it is compared with the others.
        unknown: whether no column can tell, because there is one seed.
    """

    criterion: Criterion
    squares: tuple[Square | None, ...]
    may_be_best: int
    compared: int
    unknown: bool


def lines(views: Views, board: BoardReport, standings: Standings) -> tuple[Line, ...]:
    """One line for each criterion in the order of the table of all; empty without the control random."""
    random = standings.random
    if random is None:
        return ()
    rows = [r.criterion for r in views.overall(board, standings).rows if not r.criterion.is_control]
    by_pair = [_gains(standings, rows, random, pair) for pair in standings.workloads]
    verdicts = [
        verdict
        for pair in standings.workloads
        for verdict in views.workload(board, standings, pair).table.verdicts
        if verdict is not None
    ]
    return tuple(
        Line(
            criterion,
            tuple(
                _square(gains, standings.compared(pair).criteria, criterion)
                for pair, gains in zip(standings.workloads, by_pair, strict=True)
            ),
            sum(criterion in (v.may_be_best or ()) for v in verdicts),
            sum(criterion in v.places for v in verdicts),
            all(v.may_be_best is None for v in verdicts),
        )
        for criterion in rows
    )


def _gains(
    standings: Standings, criteria: Sequence[Criterion], random: Criterion, pair: Workload
) -> dict[Criterion, float]:
    found = {c: standings.gain(c, random, pair) for c in criteria}
    return {c: gain.mean for c, gain in found.items() if gain is not None}


def _square(
    gains: dict[Criterion, float], compared: Sequence[Criterion], criterion: Criterion
) -> Square | None:
    gain = gains.get(criterion)
    if gain is None:
        return None
    place = None
    if criterion in compared:
        place = 1 + sum(gains.get(other, gain) > gain + 1e-12 for other in compared)
    return Square(gain, min(1.0, abs(gain) / _FULL), place)
