from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from benchsuite_leaderboard.statistics.critical_difference import critical_difference


def test_agrees_with_scipy() -> None:
    values = np.random.default_rng(0).normal(size=(5, 9)) + 0.6 * np.arange(5)[:, None]
    found = critical_difference(values)
    assert found is not None
    assert found.p == pytest.approx(stats.friedmanchisquare(*values).pvalue)
    expected = np.mean([stats.rankdata(-values[:, b]) for b in range(9)], axis=0)
    assert found.mean_ranks == pytest.approx(expected)


def test_ties_agree_with_scipy() -> None:
    values = np.random.default_rng(1).integers(0, 3, size=(4, 10)).astype(float)
    found = critical_difference(values)
    assert found is not None
    assert found.p == pytest.approx(stats.friedmanchisquare(*values).pvalue)


@pytest.mark.parametrize(("criteria", "quantile"), [(2, 1.960), (5, 2.728), (10, 3.164)])
def test_nemenyi_s_quantiles_are_those_of_demsar_s_table(criteria: int, quantile: float) -> None:
    found = critical_difference(np.random.default_rng(0).normal(size=(criteria, 7)))
    assert found is not None
    assert found.difference == pytest.approx(quantile * np.sqrt(criteria * (criteria + 1) / 42), rel=5e-4)


def test_groups_are_the_largest_sets_within_the_difference() -> None:
    values = np.random.default_rng(5).normal(size=(6, 12)) + 0.5 * np.arange(6)[:, None]
    found = critical_difference(values)
    assert found is not None
    ranks = np.array(found.mean_ranks)
    order = np.argsort(ranks)
    runs = {
        tuple(order[a:b].tolist())
        for a in range(6)
        for b in range(a + 2, 7)
        if ranks[order[b - 1]] - ranks[order[a]] < found.difference
    }
    largest = {run for run in runs if not any(set(run) < set(other) for other in runs)}
    assert set(found.groups) == largest


def test_too_little_to_compare() -> None:
    assert critical_difference(np.zeros((1, 5))) is None
    assert critical_difference(np.zeros((3, 1))) is None


def test_all_equal_is_no_difference() -> None:
    found = critical_difference(np.zeros((3, 4)))
    assert found is not None
    assert found.p == 1.0
    assert found.groups == ((0, 1, 2),)
