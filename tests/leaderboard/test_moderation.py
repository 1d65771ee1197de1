from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.special import polygamma

from benchsuite_leaderboard.statistics.intervals import Estimate, mean_interval
from benchsuite_leaderboard.statistics.moderation import _inverse_trigamma, _prior, moderated_p_values


def differences(values: np.ndarray, best: int) -> list[Estimate]:
    """Of shape (criteria, workloads, seeds): each other criterion against the best."""
    found = [mean_interval((values[best] - values[c]).tolist()) for c in range(len(values)) if c != best]
    return [estimate for estimate in found if estimate is not None]


@pytest.mark.parametrize("value", [1e-4, 0.1, 1.0, 7.0, 1e4])
def test_inverse_trigamma(value: float) -> None:
    assert float(polygamma(1, _inverse_trigamma(value))) == pytest.approx(value, rel=1e-6)


def test_the_usual_spread_is_recovered() -> None:
    generator = np.random.default_rng(0)
    usual, certainty, freedom = 0.04, 8.0, 4.0
    true = usual * certainty / generator.chisquare(certainty, 20_000)
    seen = true * generator.chisquare(freedom, 20_000) / freedom
    found_certainty, found = _prior(seen, np.full(20_000, freedom))
    assert found == pytest.approx(usual, rel=0.03)
    assert found_certainty == pytest.approx(certainty, rel=0.1)


def test_three_comparisons_are_plain_t_tests() -> None:
    values = np.random.default_rng(1).normal(size=(4, 1, 5))
    expected = [stats.ttest_rel(values[0, 0], values[c, 0]).pvalue for c in (1, 2, 3)]
    assert moderated_p_values(differences(values, 0)) == pytest.approx(expected)


def test_moderation_by_hand() -> None:
    values = np.random.default_rng(2).normal(size=(9, 1, 4)) * np.linspace(0.2, 3, 9)[:, None, None]
    tests = differences(values, 0)
    errors = np.array([stats.sem(values[0, 0] - values[c, 0]) for c in range(1, 9)])
    certainty, usual = _prior(errors**2, np.full(8, 3.0))
    assert np.isfinite(certainty)
    expected = []
    for c in range(1, 9):
        mixed = (3 * errors[c - 1] ** 2 + certainty * usual) / (3 + certainty)
        t = (values[0, 0] - values[c, 0]).mean() / np.sqrt(max(mixed, errors[c - 1] ** 2))
        expected.append(2 * stats.t.sf(abs(t), 3 + certainty))
    assert moderated_p_values(tests) == pytest.approx(expected)


def test_no_spread_anywhere_tells_nothing() -> None:
    same = mean_interval([[0.1, 0.1, 0.1]])
    assert same is not None
    assert moderated_p_values([same] * 5) == [1.0] * 5


@pytest.mark.parametrize(("criteria", "seeds", "workloads"), [(5, 3, 1), (20, 3, 2), (20, 5, 1)])
def test_equal_criteria_are_rarely_told_apart_and_bad_ones_mostly(
    criteria: int, seeds: int, workloads: int
) -> None:
    """All criteria but the last are equal, though some vary more than others."""
    generator = np.random.default_rng(4)
    rounds, wrong, right = 200, 0, 0
    for _ in range(rounds):
        spread = 0.01 * np.exp(0.4 * generator.normal(size=(criteria, 1, 1)))
        values = spread * generator.normal(size=(criteria, workloads, seeds))
        values[-1] -= 0.1
        best = int(values.mean(axis=(1, 2)).argmax())
        others = [c for c in range(criteria) if c != best]
        pairs = criteria * (criteria - 1) / 2
        p_values = moderated_p_values(differences(values, best))
        told = {c for c, p in zip(others, p_values, strict=True) if p * pairs < 0.05}
        wrong += bool(told - {criteria - 1})
        right += (criteria - 1) in told
    assert wrong / rounds <= 0.1
    assert right / rounds >= 0.85
