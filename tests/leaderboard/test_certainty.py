from __future__ import annotations

from typing import TYPE_CHECKING

from benchsuite_leaderboard.board import AFTER
from benchsuite_leaderboard.grouping import boards
from benchsuite_leaderboard.pages.certainty import Certainty, certainty
from benchsuite_leaderboard.standings import Standings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from benchsuite.store.record import TrialRecord

    Make = Callable[..., TrialRecord]


def said(record: Make, values: Mapping[str, Sequence[float | None]]) -> Certainty:
    """The certainty for made-up accuracies of each scorer by seed."""
    records = [
        record(scorer, 0.5, value, seed=seed)
        for scorer, by_seed in values.items()
        for seed, value in enumerate(by_seed)
    ]
    (board,) = boards(records)
    standings = Standings(board, AFTER)
    return certainty(standings.table(), 0, standings.random)


CLEAR, OTHER, LOW = (0.9, 0.901, 0.902), (0.8, 0.799, 0.801), (0.5, 0.501, 0.5)
WIDE = (0.7, 0.95, 0.9)


def test_a_clear_winner(record: Make) -> None:
    assert said(record, {"a": CLEAR, "b": OTHER, "random": LOW}) == Certainty(
        "better than random, ahead of every other", beats_random=True
    )


def test_ties_are_counted(record: Make) -> None:
    close = tuple(value - 1e-4 * i for i, value in enumerate(CLEAR))
    assert said(record, {"a": CLEAR, "b": close, "c": LOW, "random": LOW}) == Certainty(
        "better than random, tied with 1 other", beats_random=True
    )


def test_chance_that_cannot_be_told_apart(record: Make) -> None:
    found = said(record, {"a": CLEAR, "random": WIDE})
    assert found == Certainty("not surely better than random", beats_random=False)


def test_chance_without_all_seeds_is_not_claimed_to_be_beaten(record: Make) -> None:
    found = said(record, {"a": CLEAR, "b": (*LOW[:2], None), "random": (*LOW[:2], None)})
    assert found.text == "random lacks seeds"
    found = said(record, {"a": CLEAR, "b": (*LOW[:2], None), "c": OTHER})
    assert found.text == "ahead of every other with all seeds"


def test_one_seed_says_nothing(record: Make) -> None:
    assert "one seed" in said(record, {"a": (0.9,), "random": (0.1,)}).text


def test_a_lone_criterion_is_compared_with_nothing(record: Make) -> None:
    assert said(record, {"a": CLEAR}).text == ""
