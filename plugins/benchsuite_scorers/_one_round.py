"""The tree of one round of gradient boosting, by exact search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

REGULARISATION = 1.0
"""lambda of the gain, as XGBoost's default; its gamma is zero."""
_LEAST_GAIN = 1e-6
"""A smaller gain is rounding; XGBoost's limit too."""
_ENTRIES = 2**21
"""Numbers of the table that are searched at once, which bounds the memory."""


@dataclass(frozen=True, eq=False)
class GrownTree:
    """A tree and what its splits gained.

    Attributes:
        gains: by column, the sum of the gains of the splits on it.
        depth: splits on the longest way to a leaf.
        leaves: how many there are.
        right: share of the samples whose class their leaf predicts.
    """

    gains: npt.NDArray[np.float64]
    depth: int
    leaves: int
    right: float


def one_round(table: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], depth: int) -> GrownTree:
    """Grow the one tree of the first round of boosting, with a value per class in each leaf.

    Before the first round all K classes have the probability 1/K, so that of the softmax loss over n samples,
    n_k of class k, G_k = n/K - n_k and, as XGBoost doubles the second derivative, H_k = 2 n/K (1 - 1/K). A
    split gains 1/2 [S(left) + S(right) - S(both)] with S = sum over k of G_k^2 / (H_k + lambda) (Chen and
    Guestrin 2016, eq. 7, summed over the outputs). Every cut between two values of every column is tried;
    XGBoost itself would keep a histogram for each node, column and class, which is gigabytes for wide layers
    and many classes. Of equal gains the first column and the lowest cut are taken.

    Args:
        table: (samples, columns), finite.
        labels: 0 to K - 1.
        depth: splits on the longest way to a leaf, at most.
    """
    import numpy as np

    gains = np.zeros(table.shape[1])
    classes = int(labels.max()) + 1
    nodes, leaves, right, deepest = [(np.arange(len(labels)), 0)], 0, 0, 0
    while nodes:
        members, level = nodes.pop()
        counts = np.bincount(labels[members], minlength=classes)
        found = _best_split(table, labels, members, counts) if level < depth else None
        if found is None:
            leaves, right, deepest = leaves + 1, right + int(counts.max()), max(deepest, level)
            continue
        gain, column, cut = found
        gains[column] += gain
        low = table[members, column] <= cut
        nodes += [(members[low], level + 1), (members[~low], level + 1)]
    return GrownTree(gains, deepest, leaves, right / len(labels))


def _best_split(
    table: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    members: npt.NDArray[np.intp],
    counts: npt.NDArray[np.int64],
) -> tuple[float, int, float] | None:
    """The largest gain of a split of these samples, its column, and the largest value that goes left."""
    import numpy as np

    samples, classes = len(members), len(counts)
    if samples < 2 or counts.max() == samples:
        return None
    # By sample sorted by class: how many of its class come before it.
    earlier = np.arange(samples) - np.repeat(np.cumsum(counts) - counts, counts)
    left = np.arange(1, samples)
    whole = int((counts**2).sum())
    best: tuple[float, int, float] | None = None
    block = max(1, _ENTRIES // samples)
    for start in range(0, table.shape[1], block):
        values = table[members, start : start + block].T
        order = values.argsort(1, kind="stable")
        values = np.take_along_axis(values, order, 1)
        own = labels[members][order]
        rank = np.empty_like(own)
        np.put_along_axis(rank, own.argsort(1, kind="stable"), earlier[None], 1)
        # A sample that comes to r others of its class adds (r + 1)^2 - r^2 to the sum of squared counts.
        squares = (2 * rank + 1).cumsum(1)[:, :-1]
        rest = whole - 2 * counts[own].cumsum(1)[:, :-1] + squares
        gain = _structure(squares, left, classes) + _structure(rest, samples - left, classes)
        gain = (gain - _structure(np.array(whole), np.array(samples), classes)) / 2
        gain[values[:, 1:] == values[:, :-1]] = -np.inf
        column, place = divmod(int(gain.argmax()), samples - 1)
        if gain[column, place] > (best[0] if best else _LEAST_GAIN):
            best = (float(gain[column, place]), start + column, float(values[column, place]))
    return best


def _structure(
    squares: npt.NDArray[np.int64], samples: npt.NDArray[np.int64], classes: int
) -> npt.NDArray[np.float64]:
    """Sum over classes of G^2 / (H + lambda), from the sum of the squared counts."""
    gradients: npt.NDArray[np.float64] = squares - samples**2 / classes
    return gradients / (2 * samples / classes * (1 - 1 / classes) + REGULARISATION)
