from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchsuite_leaderboard.board import AFTER
from benchsuite_leaderboard.grouping import boards
from benchsuite_leaderboard.pages.certainty import MOST_APART, Certainty, certainty, p_value
from benchsuite_leaderboard.standings import Standings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from benchsuite.store.record import TrialRecord

    Make = Callable[..., TrialRecord]


def said(record: Make, values: Mapping[str, Sequence[float | None]], **more: object) -> Certainty:
    """The certainty for made-up accuracies of each scorer by seed."""
    records = [
        record(scorer, 0.5, value, seed=seed, **more)
        for scorer, by_seed in values.items()
        for seed, value in enumerate(by_seed)
    ]
    (board,) = boards(records)
    (verdict,) = Standings(board, AFTER).table().verdicts
    assert verdict is not None
    return certainty(verdict)


CLEAR, OTHER, LOW = (0.9, 0.901, 0.902), (0.8, 0.799, 0.801), (0.5, 0.501, 0.5)
WIDE = (0.7, 0.95, 0.9)


def test_a_clear_winner(record: Make) -> None:
    assert said(record, {"a": CLEAR, "b": OTHER, "random": LOW}) == Certainty(
        "better than random (p < 0.01), ahead of the other", beats_random=True
    )


def test_those_that_may_be_best_too_are_counted_without_controls(record: Make) -> None:
    close = tuple(value - 1e-4 * i for i, value in enumerate(CLEAR))
    found = said(record, {"a": CLEAR, "b": close, "c": LOW, "random": CLEAR[::-1]})
    assert found.text.endswith("1 other of 2 may be best too")


def test_random_that_is_not_beaten(record: Make) -> None:
    found = said(record, {"a": CLEAR, "random": WIDE})
    assert found.text.startswith("not shown to be better than random (p = 0.")
    assert not found.beats_random


def test_random_without_all_networks_is_not_tested_and_that_is_said(record: Make) -> None:
    found = said(record, {"a": CLEAR, "b": OTHER, "random": (*LOW[:2], None)})
    text = "random lacks 1 of 3 networks: not tested, ahead of the other"
    assert found == Certainty(text, beats_random=False)
    assert "random lacks 3 of 3 networks" in said(record, {"a": CLEAR, "random": (None,) * 3}).text
    # What the compared criteria lack too is no lack of random.
    lacking = {"a": CLEAR, "b": (*OTHER[:2], None), "random": (*LOW[:2], None)}
    assert "random lacks" not in said(record, lacking).text


def test_what_is_compared_on_fewer_networks_says_so(record: Make) -> None:
    found = said(record, {"a": (*CLEAR[:2], None), "b": OTHER, "random": LOW})
    assert found.text.endswith("compared on 2 of 3 networks")


def test_one_seed_says_nothing(record: Make) -> None:
    assert "one seed" in said(record, {"a": (0.9,), "random": (0.1,)}).text


def test_a_lone_criterion_is_compared_with_nothing(record: Make) -> None:
    assert said(record, {"a": CLEAR}).text == ""


def test_a_best_one_at_chance_says_so(record: Make) -> None:
    found = said(record, {"a": (0.1, 0.1, 0.8), "b": (0.1, 0.1, 0.1), "random": (0.1, 0.1, 0.1)}, classes=10)
    assert "at chance in 2 of 3" in found.text


def test_a_control_that_is_higher_is_counted(record: Make) -> None:
    assert "1 control higher" in said(record, {"a": OTHER, "random": CLEAR}).text


@pytest.mark.parametrize(("p", "words"), [(0.001, "p < 0.01"), (0.012, "p = 0.01"), (0.5, "p = 0.50")])
def test_p_in_words(p: float, words: str) -> None:
    assert p_value(p) == words


def test_equal_means_are_not_counted_among_the_others(record: Make) -> None:
    found = said(record, {"a": CLEAR, "b": CLEAR[::-1], "c": tuple(v - 1e-4 for v in CLEAR), "d": LOW})
    assert found.text == "1 other of 2 may be best too"


def test_the_same_numbers_for_all_seeds_say_nothing(record: Make) -> None:
    found = said(record, {"a": (0.8,) * 3, "b": (0.7,) * 3, "random": (0.5,) * 3})
    text = "how sure is unknown: all numbers are the same for every seed"
    assert found == Certainty(text, beats_random=True)


def test_of_which_workload_there_is_one_network_alone_is_said(record: Make) -> None:
    records = [
        record(name, 0.5, value + seed / 100, seed=seed, model=model)
        for name, value in (("a", 0.9), ("b", 0.8))
        for model, seeds in (("cnn", 1), ("mlp", 3))
        for seed in range(seeds)
    ]
    (board,) = boards(records)
    (verdict,) = Standings(board, AFTER).table().verdicts
    assert verdict is not None
    assert certainty(verdict).text == "how sure is unknown: there is one network alone of cnn on digits"


@pytest.mark.parametrize(
    ("p", "words"),
    [
        (0.0049, "p < 0.01"),
        (0.049, "p = 0.049"),
        (0.0549, "p = 0.055"),
        (0.056, "p = 0.06"),
        (0.501, "p > 0.5"),
        (1.0, "p > 0.5"),
    ],
)
def test_no_two_verdicts_have_one_probability(p: float, words: str) -> None:
    assert p_value(p) == words


@pytest.mark.parametrize(("best", "worst"), [("zeta", "alpha"), ("alpha", "zeta")])
def test_the_leader_is_compared_and_who_is_not_is_named(record: Make, best: str, worst: str) -> None:
    """Each of two lacks another of three networks: whatever their names, the better one is compared."""
    seeds = (0.951, 0.949, 0.953)
    values = {
        best: (seeds[0], None, seeds[2]),
        "mid": tuple(v - 0.15 for v in seeds),
        worst: (None, *(v - 0.35 for v in seeds[1:])),
    }
    found = said(record, values)
    assert found.apart == f"not compared: {worst} (2 of 3 networks)"
    assert found.text == "ahead of the other, compared on 2 of 3 networks"


def test_of_many_that_are_not_compared_the_rest_is_counted(record: Make) -> None:
    values = {f"c{i}": (0.5, None, None) for i in range(MOST_APART + 2)}
    found = said(record, {"a": CLEAR, "b": OTHER, **values})
    assert found.apart.count("(1 of 3 networks)") == MOST_APART
    assert found.apart.endswith(" and 2 more")
    assert said(record, {"a": CLEAR, "b": OTHER}).apart == ""


def test_of_equal_means_the_one_that_the_numbers_are_of_is_named(record: Make) -> None:
    wide = (0.96, 0.841, 0.902)
    found = said(record, {"a": CLEAR, "b": wide, "random": LOW})
    assert ", numbers of b, the less certain of the two" in found.text
    assert "numbers of b, the least certain of 3" in said(record, {"a": CLEAR, "b": wide, "c": CLEAR}).text
    assert "certain" not in said(record, {"a": CLEAR, "b": CLEAR[::-1], "random": LOW}).text
