from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau

from benchsuite.metrics.agreement import (
    compare_criteria,
    compare_layers,
    kendall_tau,
    sorted_shares,
    top_overlap,
)


def tau_by_pairs(first: list[float], second: list[float]) -> float | None:
    """(concordant - discordant) / sqrt((pairs - ties in first) (pairs - ties in second))."""
    pairs = list(itertools.combinations(range(len(first)), 2))
    signs = [(np.sign(first[i] - first[j]), np.sign(second[i] - second[j])) for i, j in pairs]
    one, other = sum(a != 0 for a, _ in signs), sum(b != 0 for _, b in signs)
    return sum(a * b for a, b in signs) / math.sqrt(one * other) if one and other else None


def overlap_by_breaking_ties(first: list[float], second: list[float], k: int) -> float:
    """The mean over all orders of the units, taken as tie-breaks, of the common part of the tops."""

    def tops(scores: list[float]) -> list[set[int]]:
        orders = itertools.permutations(range(len(scores)))
        return [set(sorted(range(len(scores)), key=lambda u: (-scores[u], order[u]))[:k]) for order in orders]

    commons = [len(a & b) for a in tops(first) for b in tops(second)]
    return sum(commons) / len(commons) / k


values = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=12)


@given(values)
def test_tau_equals_the_count_of_pairs_and_scipy(pairs: list[tuple[int, int]]) -> None:
    first, second = (np.array(column, dtype=np.float64) for column in zip(*pairs, strict=True))
    found, expected = kendall_tau(first, second), tau_by_pairs(first.tolist(), second.tolist())
    assert found == (None if expected is None else pytest.approx(expected))
    if found is not None:
        assert found == pytest.approx(kendalltau(first, second).statistic)


@pytest.mark.parametrize(
    ("first", "second"),
    [([3, 1, 2, 0], [3, 1, 2, 0]), ([1, 1, 1, 0], [0, 1, 1, 2]), ([0, 0, 0, 0], [1, 2, 2, 0])],
)
@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_overlap_is_expected_over_broken_ties(first: list[float], second: list[float], k: int) -> None:
    found = top_overlap(np.array(first, dtype=float), np.array(second, dtype=float), k)
    assert found == pytest.approx(overlap_by_breaking_ties(first, second, k))


def test_overlap_of_equal_opposite_and_constant_rankings() -> None:
    up = np.arange(10.0)
    assert top_overlap(up, up * 3, 4) == 1
    assert top_overlap(up, -up, 4) == 0
    assert top_overlap(up, np.zeros(10), 4) == pytest.approx(0.4)
    with pytest.raises(ValueError, match="from 1 to 10, got 11"):
        top_overlap(up, up, 11)


def test_every_pair_is_compared_on_common_layers() -> None:
    up = np.arange(8.0)
    scores = {
        "a": {"conv": up, "wide": np.arange(120.0), "single": np.ones(1)},
        "b": {"conv": -up, "wide": np.arange(120.0)},
        "c": {"conv": np.zeros(8)},
    }
    rows = compare_layers(scores)
    assert [(row.first, row.second, row.layer, row.k, row.tau, row.overlap) for row in rows] == [
        ("a", "b", "conv", 4, pytest.approx(-1), 0),
        ("a", "b", "wide", 10, pytest.approx(1), 1),
        ("a", "c", "conv", 4, None, pytest.approx(0.5)),
        ("b", "c", "conv", 4, None, pytest.approx(0.5)),
    ]
    pairs = compare_criteria(rows)
    assert [(p.first, p.second, p.layers, p.tau) for p in pairs] == [
        ("a", "b", 2, pytest.approx(0)),
        ("a", "c", 1, None),
        ("b", "c", 1, None),
    ]
    assert pairs[0].overlap == pytest.approx(0.5)
    assert pairs[0].chance == pytest.approx((4 / 8 + 10 / 120) / 2)


def test_weights_are_flattened() -> None:
    grid = np.arange(6.0).reshape(2, 3)
    (row,) = compare_layers({"a": {"x": grid}, "b": {"x": grid**2}})
    assert (row.units, row.tau) == (6, pytest.approx(1))


def test_sorted_shares_fall_and_add_up() -> None:
    assert sorted_shares(np.array([1.0, 5.0, 2.0])).tolist() == [5 / 8, 2 / 8, 1 / 8]
    assert sorted_shares(np.array([-1.0, 3.0])).tolist() == [0.75, -0.25]
    assert sorted_shares(np.zeros(3)).tolist() == [0, 0, 0]
