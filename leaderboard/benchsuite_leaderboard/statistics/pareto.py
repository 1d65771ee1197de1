"""The Pareto front of choices by cost and quality."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points that no other dominates, from the cheapest to the most expensive.

    A point is a cost and a quality; one dominates another if it costs no more and is no worse, and is
    better in one of the two. Of equal points, only the first is returned.
    """
    front: list[int] = []
    for i in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1], i)):
        if not front or points[i][1] > points[front[-1]][1]:
            front.append(i)
    return front
