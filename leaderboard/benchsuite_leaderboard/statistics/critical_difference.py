"""Friedman's test and Nemenyi's critical difference over independent blocks (Demšar 2006)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import chdtrc

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class CriticalDifference:
    """Mean ranks, and how far apart two must be to differ significantly.

    Attributes:
        mean_ranks: one per criterion; 1 is best.
        difference: two criteria whose mean ranks differ by less do not differ significantly (Nemenyi 1963).
        p: p-value for the hypothesis that all criteria are equal (Friedman's test, chi-squared).
        blocks: number of independent blocks.
        groups: largest sets of criteria within one critical difference, as indices from best to worst.
    """

    mean_ranks: tuple[float, ...]
    difference: float
    p: float
    blocks: int
    groups: tuple[tuple[int, ...], ...]


def critical_difference(values: NDArray[np.float64], alpha: float = 0.05) -> CriticalDifference | None:
    """Compare criteria over independent blocks.

    Args:
        values: shape (criteria, blocks), higher is better, nothing absent.
        alpha: the error rate over all pairs.

    Returns:
        None for fewer than two criteria or two blocks.
    """
    criteria, blocks = values.shape
    if criteria < 2 or blocks < 2:
        return None
    ranks = np.stack([_ranks(-values[:, b]) for b in range(blocks)], axis=1)
    mean_ranks = ranks.mean(axis=1)
    between = blocks * float(((mean_ranks - (criteria + 1) / 2) ** 2).sum())
    total = float(((ranks - (criteria + 1) / 2) ** 2).sum())
    # Kendall's concordance W = between / total takes ties into account; Friedman's statistic is its multiple.
    p = float(chdtrc(criteria - 1, blocks * (criteria - 1) * between / total)) if total else 1.0
    # scipy.stats takes half a second to import, and only this distribution needs it.
    from scipy.stats import studentized_range

    quantile = float(studentized_range.ppf(1 - alpha, criteria, np.inf)) / math.sqrt(2)
    difference = quantile * math.sqrt(criteria * (criteria + 1) / (6 * blocks))
    return CriticalDifference(
        tuple(map(float, mean_ranks)), difference, p, blocks, _groups(mean_ranks, difference)
    )


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 1 for the smallest, ties sharing their mean rank."""
    less = (values[None, :] < values[:, None]).sum(axis=1)
    equal = (values[None, :] == values[:, None]).sum(axis=1)
    return np.asarray(less + (equal + 1) / 2, dtype=np.float64)


def _groups(mean_ranks: NDArray[np.float64], difference: float) -> tuple[tuple[int, ...], ...]:
    order = np.argsort(mean_ranks, kind="stable")
    found: list[tuple[int, ...]] = []
    last = -1
    for start in range(len(order)):
        end = start
        while end + 1 < len(order) and mean_ranks[order[end + 1]] - mean_ranks[order[start]] < difference:
            end += 1
        if end > start and end > last:
            found.append(tuple(int(i) for i in order[start : end + 1]))
            last = end
    return tuple(found)
