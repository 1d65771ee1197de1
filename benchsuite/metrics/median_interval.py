"""A confidence interval of a median that assumes nothing of the distribution."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

FEWEST = 6
"""With fewer values not even the smallest and the largest enclose the median with 95% confidence."""


class MedianInterval(NamedTuple):
    """A median with the ends of its interval."""

    median: float
    low: float
    high: float

    @property
    def width(self) -> float:
        """Width of the interval, as a fraction of the median."""
        return (self.high - self.low) / self.median


def median_interval(values: Sequence[float], confidence: float = 0.95) -> MedianInterval:
    """The median of a sample and the interval that holds the distribution's with at least this confidence.

    Of the values in order, the ends are the k-th from below and from above: each of n independent values is
    below the median with a probability of one half, so the interval misses it if fewer than k are on one
    side (the sign test turned round; Hahn and Meeker 1991, section 5.2).

    Raises:
        ValueError: there are too few values for this confidence.
    """
    values = sorted(values)
    place = _rank(len(values), confidence)
    if place == 0:
        raise ValueError(f"{len(values)} values give no interval with a confidence of {confidence:g}")
    return MedianInterval(statistics.median(values), values[place - 1], values[-place])


def _rank(count: int, confidence: float) -> int:
    """The largest k for which fewer than k heads in `count` tosses have at most half of the rest's chance."""
    total, k = 0.0, 0
    log_all = math.lgamma(count + 1) - count * math.log(2)
    while k < count:
        total += math.exp(log_all - math.lgamma(k + 1) - math.lgamma(count - k + 1))
        if total > (1 - confidence) / 2:
            break
        k += 1
    return k
