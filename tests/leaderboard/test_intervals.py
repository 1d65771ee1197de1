from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from benchsuite_leaderboard.statistics.intervals import mean_interval


def test_one_stratum_is_the_t_interval_and_test() -> None:
    values = [0.91, 0.93, 0.90, 0.955, 0.92]
    estimate = mean_interval([values])
    assert estimate is not None
    low, high = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
    assert estimate.low == pytest.approx(low)
    assert estimate.high == pytest.approx(high)
    assert estimate.p == pytest.approx(stats.ttest_1samp(values, 0).pvalue)


def test_two_strata_are_welch_s_test() -> None:
    # The mean of strata a and -b is half the difference of the means of a and b.
    a, b = [1.0, 1.4, 1.1, 1.7], [0.2, 0.9, 0.5]
    estimate = mean_interval([a, [-x for x in b]])
    assert estimate is not None
    welch = stats.ttest_ind(a, b, equal_var=False)
    assert estimate.mean == pytest.approx((np.mean(a) - np.mean(b)) / 2)
    assert estimate.p == pytest.approx(welch.pvalue)
    interval = welch.confidence_interval(0.95)
    assert estimate.low == pytest.approx(interval.low / 2)
    assert estimate.high == pytest.approx(interval.high / 2)


def test_strata_count_equally_whatever_their_size() -> None:
    estimate = mean_interval([[0.0, 0.0, 0.0, 0.0], [1.0, 1.0]])
    assert estimate is not None
    assert estimate.mean == 0.5


def test_the_interval_covers_at_its_rate() -> None:
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(2000):
        strata = [generator.normal(0.9, 0.01, 3).tolist(), generator.normal(0.7, 0.02, 3).tolist()]
        estimate = mean_interval(strata)
        assert estimate is not None
        covered += estimate.low <= 0.8 <= estimate.high
    assert 0.94 <= covered / 2000 <= 0.98


def test_what_cannot_be_known_is_absent() -> None:
    assert mean_interval([]) is None
    assert mean_interval([[], []]) is None
    single = mean_interval([[0.5], [0.7, 0.8]])
    assert single is not None
    assert (single.half_width, single.p) == (None, None)


def test_equal_observations_prove_nothing() -> None:
    same = mean_interval([[0.3, 0.3, 0.3]])
    assert same is not None
    assert (same.low, same.high, same.p) == (None, None, None)
