from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau

from benchsuite.metrics import agreement
from benchsuite.metrics.agreement import compare_criteria, overlap_matrix, sorted_shares, tau_matrix


def tau_by_pairs(first: list[float], second: list[float]) -> float | None:
    """(concordant - discordant) / sqrt((pairs - ties in first) (pairs - ties in second))."""
    pairs = list(itertools.combinations(range(len(first)), 2))
    signs = [(np.sign(first[i] - first[j]), np.sign(second[i] - second[j])) for i, j in pairs]
    one, other = sum(a != 0 for a, _ in signs), sum(b != 0 for _, b in signs)
    return sum(a * b for a, b in signs) / math.sqrt(one * other) if one and other else None


def overlap_by_breaking_ties(first: list[float], second: list[float], k: int) -> float:
    """The mean overlap of the tops over all orders of the units, used to break ties."""

    def tops(scores: list[float]) -> list[set[int]]:
        orders = itertools.permutations(range(len(scores)))
        return [set(sorted(range(len(scores)), key=lambda u: (-scores[u], order[u]))[:k]) for order in orders]

    commons = [len(a & b) for a in tops(first) for b in tops(second)]
    return sum(commons) / len(commons) / k


values = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=12)


@given(values)
def test_tau_equals_the_count_of_pairs_and_scipy(pairs: list[tuple[int, int]]) -> None:
    scores = np.array(pairs, dtype=np.float32).T
    found, expected = tau_matrix(scores), tau_by_pairs(*scores.tolist())
    assert found[0, 1] == found[1, 0] or np.isnan(found[[0, 1], [1, 0]]).all()
    assert found[0, 1] == pytest.approx(math.nan if expected is None else expected, nan_ok=True)
    if expected is not None:
        assert found[0, 1] == pytest.approx(kendalltau(*scores).statistic)
        assert found[0, 0] == pytest.approx(1)


def test_many_units_are_compared_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = np.random.default_rng(0).integers(0, 30, (3, 50)).astype(np.float32)
    whole = tau_matrix(scores)
    monkeypatch.setattr(agreement, "_PAIRS_AT_ONCE", 3 * 50 * 7)
    np.testing.assert_allclose(tau_matrix(scores), whole, rtol=1e-12)
    for i, j in itertools.combinations(range(3), 2):
        assert whole[i, j] == pytest.approx(kendalltau(scores[i], scores[j]).statistic)


@pytest.mark.parametrize(
    ("first", "second"),
    [([3, 1, 2, 0], [3, 1, 2, 0]), ([1, 1, 1, 0], [0, 1, 1, 2]), ([0, 0, 0, 0], [1, 2, 2, 0])],
)
@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_overlap_is_expected_over_broken_ties(first: list[float], second: list[float], k: int) -> None:
    found = overlap_matrix(np.array([first, second], dtype=float), k)
    assert found[0, 1] == found[1, 0] == pytest.approx(overlap_by_breaking_ties(first, second, k))


def test_overlap_of_equal_opposite_and_constant_rankings() -> None:
    up = np.arange(10.0)
    found = overlap_matrix(np.stack([up, up * 3, -up, np.zeros(10)]), 4)
    assert found[0].tolist() == [1, 1, 0, pytest.approx(0.4)]
    with pytest.raises(ValueError, match="from 1 to 10, got 11"):
        overlap_matrix(up[None], 11)


def test_every_pair_is_compared_on_common_layers() -> None:
    up = np.arange(8.0)
    scores = {
        "a": {"conv": up, "wide": np.arange(120.0), "single": np.ones(1)},
        "b": {"conv": -up, "wide": np.arange(120.0)},
        "c": {"conv": np.zeros(8)},
        "d": {"single": np.ones(1)},
    }
    found = compare_criteria(scores)
    assert found.criteria == ("a", "b", "c", "d")
    assert [(each.layer, each.units, each.k, each.criteria) for each in found.layers] == [
        ("conv", 8, 4, ("a", "b", "c")),
        ("wide", 120, 10, ("a", "b")),
    ]
    conv, wide = found.layers
    assert (conv.tau[0, 1], wide.tau[0, 1]) == (pytest.approx(-1), pytest.approx(1))
    assert found.tau[0, 1] == found.tau[1, 0] == pytest.approx(0)
    assert found.tau[0, 0] == pytest.approx(1)
    assert np.isnan(found.tau[0, 2])
    assert np.isnan(found.tau[2, 2])
    assert found.overlap[0].tolist() == [1, 0.5, 0.5, pytest.approx(math.nan, nan_ok=True)]
    assert found.chance[0, 1] == pytest.approx((4 / 8 + 10 / 120) / 2)
    assert found.chance[0, 2] == pytest.approx(0.5)
    assert np.isnan(found.overlap[3]).all()


def test_weights_are_flattened() -> None:
    grid = np.arange(6.0).reshape(2, 3)
    found = compare_criteria({"a": {"x": grid}, "b": {"x": grid**2}})
    assert (found.layers[0].units, found.tau[0, 1]) == (6, pytest.approx(1))


def test_sorted_shares_fall_and_add_up() -> None:
    assert sorted_shares(np.array([1.0, 5.0, 2.0])).tolist() == [5 / 8, 2 / 8, 1 / 8]
    assert sorted_shares(np.array([-1.0, 3.0])).tolist() == [0.75, -0.25]
    assert sorted_shares(np.zeros(3)).tolist() == [0, 0, 0]
