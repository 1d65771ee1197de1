from __future__ import annotations

import numpy as np
import pytest
from scipy.special import polygamma

from benchsuite_leaderboard.statistics.moderation import _inverse_trigamma, _prior, moderated


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


def test_few_variances_stay_as_they_are() -> None:
    variances, freedoms = np.array([1.0, 4.0, 2.0]), np.full(3, 2.0)
    found, free = moderated(variances, freedoms)
    assert found.tolist() == variances.tolist()
    assert free.tolist() == freedoms.tolist()


def test_moderation_by_hand() -> None:
    freedoms = np.full(9, 3.0)
    variances = np.linspace(0.2, 3, 9) ** 2 * np.random.default_rng(2).chisquare(3, 9) / 3
    certainty, usual = _prior(variances, freedoms)
    assert np.isfinite(certainty)
    found, free = moderated(variances, freedoms)
    expected = [max(v, (3 * v + certainty * usual) / (3 + certainty)) for v in variances]
    assert found == pytest.approx(expected)
    assert free == pytest.approx(np.full(9, 3 + certainty))
    careful, _ = moderated(variances, freedoms, cautious=True)
    usual = max(usual, variances.mean())
    expected = [max(v, (3 * v + certainty * usual) / (3 + certainty)) for v in variances]
    assert careful == pytest.approx(expected)


def test_equal_variances_are_taken_together() -> None:
    variances = np.array([1.0, 1.01, 0.99, 1.0, 1.02])
    found, free = moderated(variances, np.full(5, 4.0))
    assert np.isinf(free).all()
    assert found.min() > 0.99


def test_no_spread_anywhere_stays_none() -> None:
    found, _ = moderated(np.zeros(5), np.full(5, 2.0))
    assert found.tolist() == [0.0] * 5
