"""Spreads of many criteria with few seeds each, which together tell what spread is usual."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import digamma, polygamma

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_FEWEST = 4
"""With fewer criteria than this, the usual spread cannot be estimated."""


def moderated(variances: Floats, freedoms: Floats, *, cautious: bool = False) -> tuple[Floats, Floats]:
    """Variances of similar things and their degrees of freedom, with the small ones increased (Smyth 2004).

    Three seeds give a poor estimate of one criterion's spread. The criteria of one column are similar, so
    their variances are assumed to vary around a usual one (a scaled inverse chi-squared distribution, fitted
    to them), and each small variance is increased towards it. Unlike in the original, a large one is not
    changed: with few seeds and different criteria, this keeps the error rate.

    Args:
        variances: not negative, shape (criteria,).
        freedoms: their degrees of freedom.
        cautious: whether the usual variance is to be no less than the mean of them all, which one that varies
            much increases for all. A variance from one workload needs this to keep the error rate.

    Returns:
        Both anew. The degrees of freedom are infinite where the variances differ no more than by chance.
    """
    known = variances[variances > 0]
    if len(known) == 0:
        return variances, freedoms
    # A spread of zero from a few seeds is due to rounding; it is replaced by a very small one, so that its
    # logarithm exists.
    variances = np.maximum(variances, 1e-4 * float(np.median(known)))
    if len(variances) < _FEWEST:
        return variances, freedoms
    prior_freedom, prior = _prior(variances, freedoms)
    if cautious:
        prior = max(prior, float(variances.mean()))
    if math.isinf(prior_freedom):
        return np.maximum(variances, prior), np.full(len(variances), math.inf)
    mixed = (freedoms * variances + prior_freedom * prior) / (freedoms + prior_freedom)
    return np.maximum(variances, mixed), freedoms + prior_freedom


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
