"""Means with confidence intervals over seeds within workloads."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from scipy.special import betaincinv, stdtr, stdtrit

if TYPE_CHECKING:
    from collections.abc import Sequence

CONFIDENCE = 0.95
JEFFREYS = (0.5, 0.5)
"""What a share may be when nothing is known of it (Jeffreys 1946)."""
_FEWEST = 4
_LEAST_ALIKE, _MOST_ALIKE = 0.05, 0.6
"""Limits of how alike networks of one criterion are found to be, since a few criteria say that roughly."""


@dataclass(frozen=True)
class Estimate:
    """A mean with its interval.

    Attributes:
        mean: the estimate.
        count: number of observations.
        low: lower end of the interval; None if the spread is unknown.
        high: upper end.
        p: two-sided probability of a mean at least this far from zero if the true one were zero; None if the
            spread is unknown.
        freedom: degrees of freedom of the spread.
        at_chance: how many of the observations are at chance.
    """

    mean: float
    count: int
    low: float | None = None
    high: float | None = None
    p: float | None = None
    freedom: float | None = None
    at_chance: int = 0

    @property
    def has_interval(self) -> bool:
        """Whether the spread is known."""
        return self.low is not None

    @property
    def half_width(self) -> float | None:
        """Half the width of a symmetric interval; None if it is not symmetric or unknown."""
        if self.low is None or self.high is None:
            return None
        below, above = self.mean - self.low, self.high - self.mean
        return above if math.isclose(below, above, rel_tol=1e-6, abs_tol=1e-9) else None


@dataclass(frozen=True)
class Limits:
    """What is known of one workload's accuracies beforehand.

    Attributes:
        chance: accuracy of a network that knows nothing.
        near: accuracies up to this one count as chance.
        top: accuracy of the dense network, which a pruned one hardly exceeds.
        recovered: parameters of the beta distribution of the criteria's shares of networks that are not at
            chance; None where no criterion has one at chance.
    """

    chance: float
    near: float
    top: float
    recovered: tuple[float, float] | None = None


def mean_interval(strata: Sequence[Sequence[float]], confidence: float = CONFIDENCE) -> Estimate | None:
    """Mean of the strata's means with equal weights, with Student's t interval.

    A stratum is a workload, its observations are seeds: the interval covers other seeds on the same
    workloads, not other workloads. With one stratum this is the usual t interval and one-sample t test.
    Degrees of freedom after Satterthwaite (1946).

    Args:
        strata: observations by stratum; empty strata are left out.
        confidence: coverage of the interval.

    Returns:
        None without observations. No interval if a stratum has a single observation, or if in all strata
        all observations are equal: a spread of zero from a few seeds proves nothing.
    """
    filled = [stratum for stratum in strata if stratum]
    if not filled:
        return None
    mean = math.fsum(map(_mean, filled)) / len(filled)
    known = _spread(filled)
    if known is None:
        return Estimate(mean, sum(map(len, filled)))
    error, freedom = known[0] / len(filled), known[1]
    width = float(stdtrit(freedom, 0.5 + confidence / 2)) * error
    p = float(2 * stdtr(freedom, -abs(mean) / error))
    return Estimate(mean, sum(map(len, filled)), mean - width, mean + width, p, freedom)


def accuracy_interval(
    strata: Sequence[Sequence[float]], limits: Sequence[Limits | None], confidence: float = CONFIDENCE
) -> Estimate | None:
    """Mean accuracy of the strata's means with an interval inside [0, 1] that holds near chance too.

    Where some networks of a workload have recovered and others are at chance, three seeds say little about
    the share of each, and Student's interval is too narrow, of width zero if all are at chance. The share of
    recovered networks then has the interval of its beta distribution, which starts from how these shares vary
    over the criteria (`usual_shares`), and their mean accuracy Student's interval, or without two of them
    anything up to the dense network's accuracy. The workloads' intervals are put together by their squares
    (MOVER: Zou and Donner 2008), and reach at least as far as Student's.

    Args:
        strata: accuracies by workload; empty strata are left out.
        limits: what is known of each workload; None where the number of classes is not known.
        confidence: coverage of the interval.
    """
    pairs = [(stratum, limit) for stratum, limit in zip(strata, limits, strict=True) if stratum]
    whole = mean_interval([stratum for stratum, _ in pairs], confidence)
    if whole is None:
        return None
    mixed = [(s, limit) for s, limit in pairs if limit is not None and limit.recovered is not None]
    whole = replace(whole, at_chance=sum(value <= limit.near for s, limit in mixed for value in s))
    if min(len(stratum) for stratum, _ in pairs) < 2:
        return whole
    if not mixed:
        return _within(whole)
    low = high = 0.0
    usual = [stratum for stratum, limit in pairs if limit is None or limit.recovered is None]
    if usual and (known := _spread(usual)):
        low = high = (known[0] * float(stdtrit(known[1], 0.5 + confidence / 2))) ** 2
    for stratum, limit in mixed:
        ends = _mixed_interval(stratum, limit, confidence)
        low += (_mean(stratum) - ends[0]) ** 2
        high += (ends[1] - _mean(stratum)) ** 2
    return _within(
        replace(
            whole,
            low=min(whole.mean - math.sqrt(low) / len(pairs), whole.mean if whole.low is None else whole.low),
            high=max(
                whole.mean + math.sqrt(high) / len(pairs), whole.mean if whole.high is None else whole.high
            ),
            p=None,
            freedom=None,
        )
    )


def usual_shares(counts: Sequence[tuple[int, int]]) -> tuple[float, float] | None:
    """The beta distribution of the shares of recovered networks over criteria, from its moments.

    Args:
        counts: for each criterion, how many networks have recovered, of how many.

    Returns:
        None if none is at chance; Jeffreys' distribution if too few criteria say how the shares vary.
    """
    recovered, all_ = sum(k for k, _ in counts), sum(n for _, n in counts)
    if recovered == all_:
        return None
    share = recovered / all_
    if len(counts) < _FEWEST or recovered == 0:
        return JEFFREYS
    size = all_ / len(counts)
    variance = math.fsum((k / n - share) ** 2 for k, n in counts) / (len(counts) - 1)
    # The correlation of two networks of a criterion; the rest of the variance is that of counting.
    alike = (variance * size / (share * (1 - share)) - 1) / (size - 1) if size > 1 else 1.0
    total = 1 / min(max(alike, _LEAST_ALIKE), _MOST_ALIKE) - 1
    return share * total, (1 - share) * total


def _mixed_interval(values: Sequence[float], limits: Limits, confidence: float) -> tuple[float, float]:
    """The interval of one workload's mean where some networks are at chance."""
    recovered = [value for value in values if value > limits.near]
    k, n, tail = len(recovered), len(values), (1 - confidence) / 2
    a, b = limits.recovered or JEFFREYS
    share_low, share_high = (float(betaincinv(k + a, n - k + b, q)) for q in (tail, 1 - tail))
    at_chance = [value for value in values if value <= limits.near]
    floor = _mean(at_chance) if at_chance else limits.chance
    lower, upper = min(recovered, default=floor), max(limits.top, *values)
    known = mean_interval([recovered]) if recovered else None
    if known is not None and known.low is not None and known.high is not None:
        lower, upper = max(floor, known.low), min(upper, known.high)
    mean = _mean(values)
    return (
        min(mean, floor + share_low * (lower - floor)),
        max(mean, floor + share_high * (upper - floor)),
    )


def _within(estimate: Estimate) -> Estimate:
    """The estimate with its interval cut to the values that an accuracy can have."""
    if estimate.low is None or estimate.high is None:
        return estimate
    return replace(estimate, low=max(0.0, estimate.low), high=min(1.0, estimate.high))


def _spread(strata: Sequence[Sequence[float]]) -> tuple[float, float] | None:
    """Standard error of the sum of the strata's means, with its degrees of freedom; None if unknown."""
    if min(map(len, strata)) < 2:
        return None
    parts = []
    for stratum in strata:
        centre = _mean(stratum)
        parts.append(math.fsum((x - centre) ** 2 for x in stratum) / (len(stratum) - 1) / len(stratum))
    error = math.sqrt(math.fsum(parts))
    largest = max(1.0, *(abs(x) for stratum in strata for x in stratum))
    # Below this the spread is only the rounding error of equal numbers.
    if error <= 1e-12 * largest:
        return None
    freedom = math.fsum(parts) ** 2 / math.fsum(
        part**2 / (len(stratum) - 1) for part, stratum in zip(parts, strata, strict=True)
    )
    return error, freedom


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
