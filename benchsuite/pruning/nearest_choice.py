"""Choosing some of several things so that a distance is smallest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable

Floats = NDArray[np.float64]

_EVERY_CHOICE = 12
"""Of so many, every choice is tried: 4096."""
_EVERY_PAIR = 60
"""Of so many, every change of two is tried: 1830."""


def nearest_choice(
    first: NDArray[np.bool_], distance: Callable[[NDArray[np.bool_]], Floats]
) -> NDArray[np.bool_]:
    """Choose some of n things so that a distance is smallest.

    Up to 12 things every choice is tried. Of more, the choice is improved as long as one that differs from
    it in one or two things is nearer; of more than 60, in one.

    Args:
        first: a choice to begin with, bool (n,).
        distance: gives for choices (m, n) their distances (m,).
    """
    things = len(first)
    if things <= _EVERY_CHOICE:
        every = (np.arange(2**things)[:, None] >> np.arange(things)) & 1 == 1
        nearest_of_all: NDArray[np.bool_] = every[int(distance(every).argmin())]
        return nearest_of_all
    best, nearest = first, float(distance(first[None])[0])
    changes = flips = np.eye(things, dtype=bool)
    if things <= _EVERY_PAIR:
        changes = np.concatenate([flips, *(flips[i] ^ flips[i + 1 :] for i in range(things - 1))])
    while True:
        near = best ^ changes
        distances = distance(near)
        where = int(distances.argmin())
        if not distances[where] < nearest:
            return best
        best, nearest = near[where], float(distances[where])
