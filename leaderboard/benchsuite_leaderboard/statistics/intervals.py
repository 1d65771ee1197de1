"""Means with confidence intervals, and paired tests, over seeds within workloads."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scipy.special import stdtr, stdtrit

if TYPE_CHECKING:
    from collections.abc import Sequence

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean with its interval.

    Attributes:
        mean: the estimate.
        half_width: half the width of the symmetric interval; None if the spread is unknown.
        count: number of observations.
        p: two-sided probability of a mean at least this far from zero if the true one were zero; None if the
            spread is unknown.
        error: standard error of the mean; None if the spread is unknown.
        freedom: degrees of freedom of the error.
    """

    mean: float
    half_width: float | None
    count: int
    p: float | None = None
    error: float | None = None
    freedom: float | None = None

    @property
    def low(self) -> float:
        """Lower end of the interval, or the mean itself if there is none."""
        return self.mean - (self.half_width or 0.0)

    @property
    def high(self) -> float:
        """Upper end of the interval, or the mean itself if there is none."""
        return self.mean + (self.half_width or 0.0)


def mean_interval(strata: Sequence[Sequence[float]], confidence: float = CONFIDENCE) -> Estimate | None:
    """Mean of the strata's means with equal weights, with Student's t interval.

    A stratum is a workload, its observations are seeds: the interval covers other seeds on the same
    workloads, not other workloads. With one stratum this is the usual t interval and one-sample t test.
    Degrees of freedom after Satterthwaite (1946).

    Args:
        strata: observations by stratum; empty strata are left out.
        confidence: coverage of the interval.

    Returns:
        None without observations. No interval if a stratum has a single observation, and no p if all
        observations of every stratum are equal (a spread of zero from a few seeds proves nothing).
    """
    filled = [stratum for stratum in strata if stratum]
    if not filled:
        return None
    count = sum(map(len, filled))
    means = [math.fsum(stratum) / len(stratum) for stratum in filled]
    mean = math.fsum(means) / len(means)
    if min(map(len, filled)) < 2:
        return Estimate(mean, None, count)
    parts = [
        math.fsum((x - centre) ** 2 for x in stratum) / (len(stratum) - 1) / len(stratum)
        for stratum, centre in zip(filled, means, strict=True)
    ]
    error = math.sqrt(math.fsum(parts)) / len(filled)
    # Below this the spread is only the rounding error of equal numbers.
    if error <= 1e-12 * max(1.0, abs(mean)):
        freedom = float(sum(len(stratum) - 1 for stratum in filled))
        return Estimate(mean, 0.0, count, 1.0 if abs(mean) <= 1e-12 else None, 0.0, freedom)
    freedom = math.fsum(parts) ** 2 / math.fsum(
        part**2 / (len(stratum) - 1) for part, stratum in zip(parts, filled, strict=True)
    )
    quantile = float(stdtrit(freedom, 0.5 + confidence / 2))
    p = float(2 * stdtr(freedom, -abs(mean) / error))
    return Estimate(mean, quantile * error, count, p, error, freedom)
