"""What a check of a record yields, and the comparisons that checks share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

ROUNDING = 1e-9
"""How far a number of about 1 may be from what it must be, by rounding."""
_ROUNDING_OF_LARGE = 1e-14
"""The same for a large number, as a fraction of it."""


class Oddity(NamedTuple):
    """Something about a record that cannot be.

    Attributes:
        kind: what is wrong, in the same words for all records concerned.
        detail: the values.
    """

    kind: str
    detail: str


Oddities = Iterator[Oddity]


def is_whole(number: float) -> bool:
    """Whether it is a whole number, up to rounding; infinity and NaN are none."""
    rest = number % 1
    return min(rest, 1 - rest) <= max(ROUNDING, _ROUNDING_OF_LARGE * abs(number))


def is_close(first: float, second: float, tolerance: float = ROUNDING) -> bool:
    """Whether two numbers differ by at most this much."""
    return abs(first - second) <= tolerance
