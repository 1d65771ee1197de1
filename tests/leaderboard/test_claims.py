"""What a board claims is true as often as it says, in simulations whose truth is known."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from simulated_claims import (
    KINDS,
    LEAD,
    SHAPES,
    beats_random,
    calls_a_noisy_one_better,
    covers,
    friedman_rejects,
    holds_the_best,
    holds_the_best_with_gaps,
    table,
    tells_apart,
)

METHOD = Path(__file__).parents[2] / "docs" / "method.md"
EVERYWHERE = [(1, 3), (3, 3)]
"""Workloads and seeds of the fast tier."""
SLOW = [pytest.param(*shape, marks=pytest.mark.slow) for shape in SHAPES if shape not in EVERYWHERE]


@pytest.mark.parametrize(("workloads", "seeds"), [*EVERYWHERE, *SLOW])
@pytest.mark.parametrize("kind", KINDS)
def test_the_set_of_those_that_may_be_best_holds_the_best(kind: str, workloads: int, seeds: int) -> None:
    found = holds_the_best(kind, workloads, seeds)
    assert found.share >= 0.95 - found.error


@pytest.mark.parametrize(("workloads", "seeds"), [*EVERYWHERE, *SLOW])
@pytest.mark.parametrize("lost", ["at random", "with bad luck"])
def test_gaps_cost_no_claim(lost: str, workloads: int, seeds: int) -> None:
    found = holds_the_best_with_gaps(lost, workloads, seeds)
    assert found.share >= 0.95 - found.error


@pytest.mark.parametrize(("workloads", "seeds"), [*EVERYWHERE, *SLOW])
@pytest.mark.parametrize("kind", KINDS)
def test_equal_criteria_are_rarely_said_to_beat_random(kind: str, workloads: int, seeds: int) -> None:
    found = beats_random(kind, workloads, seeds, 0.0)
    assert found.share <= 0.05 + found.error


@pytest.mark.parametrize(("workloads", "seeds"), [(2, 3), *EVERYWHERE, *SLOW])
def test_a_noisy_criterion_is_rarely_said_to_beat_random_for_another_s_sake(
    workloads: int, seeds: int
) -> None:
    found = calls_a_noisy_one_better(workloads, seeds)
    assert found.share <= 0.05 + found.error


@pytest.mark.parametrize(("workloads", "seeds"), [*EVERYWHERE, *SLOW])
@pytest.mark.parametrize("at_chance", [0.0, 0.3, 0.7, 0.95])
def test_intervals_hold_the_mean_near_chance_too(at_chance: float, workloads: int, seeds: int) -> None:
    found = covers(at_chance, workloads, seeds)
    assert found.share >= 0.95 - 0.01


def test_a_lead_is_found_more_often_with_more_workloads() -> None:
    """With a spread of 3 points, five points over 24 others: all pairs (Bonferroni) find it in 4% and 29%."""
    one, three = tells_apart("one spread", 1, 3), tells_apart("one spread", 3, 3)
    assert one.share >= 0.1
    assert three.share >= 0.6
    assert beats_random("one spread", 3, 3, LEAD).share >= 0.95


def test_friedman_s_test_with_workloads_as_blocks_keeps_its_error() -> None:
    found = friedman_rejects(7, 3)
    assert found.share <= 0.05 + found.error


@pytest.mark.slow
def test_the_table_of_the_docs_is_what_the_simulations_give() -> None:
    stated = [
        tuple(cell.strip() for cell in line.strip("|").split("|"))
        for line in METHOD.read_text().splitlines()
        if re.match(r"\| (the |5 points|“better)", line)
    ]
    found = table()
    assert [row[:3] for row in stated] == [row[:3] for row in found]
    for said, seen in zip(stated, found, strict=True):
        for a, b in zip(said[3:], seen[3:], strict=True):
            assert abs(float(a) - float(b)) <= 0.02, (said, seen)
