"""Tests of many comparisons with few seeds each, which together estimate the usual spread."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import digamma, ndtr, polygamma, stdtr

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from benchsuite_leaderboard.statistics.intervals import Estimate

    Floats = NDArray[np.float64]

_FEWEST = 4
"""With fewer comparisons than this, the usual spread cannot be estimated."""


def moderated_p_values(tests: Sequence[Estimate]) -> list[float]:
    """Two-sided p-values of differences from zero by the moderated t test (Smyth 2004).

    Three seeds give a poor estimate of the spread of one comparison, and the plain t test then finds almost
    no difference. The comparisons of one column are similar, so their spreads are assumed to vary around a
    usual one (a scaled inverse chi-squared distribution, fitted to them), and each small spread is increased
    towards it. Unlike in the original, a large spread is not changed: with few seeds and different criteria,
    this keeps the error rate.

    Args:
        tests: differences with `error` and `freedom`.
    """
    means = np.array([test.mean for test in tests])
    variances = np.array([test.error or 0.0 for test in tests]) ** 2
    freedoms = np.array([test.freedom or 0.0 for test in tests])
    known = variances[variances > 0]
    if len(known) == 0:
        return [1.0] * len(tests)
    # A spread of zero from a few seeds is due to rounding; it is replaced by a very small one, so that its
    # logarithm exists.
    variances = np.maximum(variances, 1e-4 * float(np.median(known)))
    freedoms = np.maximum(freedoms, 1.0)
    if len(tests) < _FEWEST:
        prior_freedom, prior = 0.0, 0.0
    else:
        prior_freedom, prior = _prior(variances, freedoms)
    if math.isinf(prior_freedom):
        return [float(p) for p in 2 * ndtr(-np.abs(means) / np.sqrt(np.maximum(prior, variances)))]
    moderated = (freedoms * variances + prior_freedom * prior) / (freedoms + prior_freedom)
    moderated = np.maximum(moderated, variances)
    return [float(p) for p in 2 * stdtr(freedoms + prior_freedom, -np.abs(means) / np.sqrt(moderated))]


def _prior(variances: Floats, freedoms: Floats) -> tuple[float, float]:
    """Degrees of freedom and value of the usual variance, from the moments of the logarithms."""
    half = freedoms / 2
    logs = np.log(variances) - digamma(half) + np.log(half)
    excess = float(logs.var(ddof=1) - polygamma(1, half).mean())
    if excess <= 0:
        return math.inf, math.exp(float(logs.mean()))
    freedom = 2 * _inverse_trigamma(excess)
    prior = math.exp(float(logs.mean()) + float(digamma(freedom / 2)) - math.log(freedom / 2))
    return freedom, prior


def _inverse_trigamma(value: float) -> float:
    """The argument at which the trigamma function has this value, by Newton's method on its inverse."""
    x = 0.5 + 1 / value
    for _ in range(50):
        trigamma = float(polygamma(1, x))
        step = trigamma * (1 - trigamma / value) / float(polygamma(2, x))
        x += step
        if abs(step) < 1e-10 * x:
            break
    return x
