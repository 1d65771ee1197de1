"""What a criterion says of the units of one layer: the first and the last of its ranking."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Scores = npt.NDArray[np.floating]


@dataclass(frozen=True)
class End:
    """One end of a ranking.

    Attributes:
        units: their places among the scores, the outermost first; equal scores in order of their places.
        tied: how many further units have the score of the last one listed: which of them is listed is
            arbitrary.
    """

    units: tuple[int, ...]
    tied: int


def both_ends(scores: Scores, k: int) -> tuple[End, End]:
    """The k most important units, the best first, and the k least important ones, the worst first.

    Args:
        scores: (units,), higher is more important.
        k: from 1 to the number of units.
    """
    return _end(-scores.astype(np.float64), k), _end(scores.astype(np.float64), k)


def _end(rising: npt.NDArray[np.float64], k: int) -> End:
    if not 1 <= k <= len(rising):
        raise ValueError(f"k must be from 1 to {len(rising)}, got {k}")
    order = np.argsort(rising, kind="stable")[:k]
    last = rising[order[-1]]
    tied = int((rising == last).sum() - (rising[order] == last).sum())
    return End(tuple(int(unit) for unit in order), tied)
