"""The interval of a median: exact chances of coins, and how often it holds the true median."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from benchsuite.metrics.median_interval import FEWEST, median_interval


@pytest.mark.parametrize("count", [6, 7, 9, 10, 15, 20, 61, 200, 1001, 20_000])
@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95])
def test_ends_are_those_of_the_sign_test(count: int, confidence: float) -> None:
    found = median_interval(list(range(count)), confidence)
    low, high = int(found.low), int(found.high)
    assert low + high == count - 1
    misses = 2 * binom.cdf(low, count, 0.5)  # `low` values lie below the end: so many heads, or fewer
    assert misses <= 1 - confidence
    assert 2 * binom.cdf(low + 1, count, 0.5) > 1 - confidence


def test_too_few_values_are_an_error() -> None:
    assert median_interval([1.0] * FEWEST).width == 0
    with pytest.raises(ValueError, match="5 values give no interval"):
        median_interval([1.0] * (FEWEST - 1))


@given(st.lists(st.floats(0.1, 10), min_size=FEWEST, max_size=60), st.floats(0.5, 2))
def test_it_lies_around_the_median_and_scales_with_the_values(values: list[float], factor: float) -> None:
    found = median_interval(values)
    assert found.low <= found.median <= found.high
    assert found.median == pytest.approx(np.median(values))
    scaled = median_interval([factor * value for value in reversed(values)])
    assert scaled == pytest.approx([factor * part for part in found])
    assert scaled.width == pytest.approx(found.width)


def test_it_holds_the_true_median_as_often_as_it_says() -> None:
    """Of a skewed distribution with outliers; the chance of fewer than 900 of 1000 is below 1e-9."""
    random = np.random.default_rng(0)
    samples = np.exp(random.standard_cauchy((1000, 25)).clip(-50, 50))
    found = [median_interval(list(sample)) for sample in samples]
    assert sum(each.low <= 1 <= each.high for each in found) >= 900
    assert sum(each.low <= 1.5 <= each.high for each in found) < 900
