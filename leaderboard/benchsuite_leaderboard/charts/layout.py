"""The positions of labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def spread_apart(wanted: Sequence[float], gap: float, extent: float) -> list[float]:
    """Positions at least `gap` apart, in the order of the wanted ones and close to them, within 0..extent.

    Overlapping neighbours are pooled into one cluster, centred on the mean of their wanted positions (the
    pool adjacent violators algorithm). If there are too many for the extent, the gap is smaller.
    """
    if len(wanted) > 1:
        gap = min(gap, extent / (len(wanted) - 1))
    clusters: list[tuple[float, list[int]]] = []
    for i in sorted(range(len(wanted)), key=lambda i: (wanted[i], i)):
        members = [i]
        while True:
            half = gap * (len(members) - 1) / 2
            centre = max(half, min(extent - half, sum(wanted[j] for j in members) / len(members)))
            if not clusters:
                break
            before, others = clusters[-1]
            if before + gap * (len(others) - 1) / 2 + gap <= centre - half + 1e-9:
                break
            clusters.pop()
            members = others + members
        clusters.append((centre, members))
    positions = [0.0] * len(wanted)
    for centre, members in clusters:
        for step, i in enumerate(members):
            positions[i] = centre + gap * (step - (len(members) - 1) / 2)
    return positions
