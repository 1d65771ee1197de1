"""How similarly criteria rank the units of a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    Scores = npt.NDArray[np.floating]
    Matrix = npt.NDArray[np.float64]

_PAIRS_AT_ONCE = 4_000_000


@dataclass(frozen=True, eq=False)
class LayerAgreement:
    """Every pair of criteria on one layer, the criteria in the order given.

    Attributes:
        layer: the layer's name.
        units: how many scores it has.
        k: how many of the top units are compared; k / units is the overlap expected by chance.
        criteria: those that have scores for the layer.
        tau: (criteria, criteria), Kendall's tau-b from -1 (opposite orders) to 1; NaN where a criterion gives
            every unit the same score.
        overlap: (criteria, criteria), the share of the top k that both have in common.
    """

    layer: str
    units: int
    k: int
    criteria: tuple[str, ...]
    tau: Matrix
    overlap: Matrix


@dataclass(frozen=True, eq=False)
class Agreement:
    """Every pair of criteria on a network: means over the layers that both have scored, NaN if none.

    Attributes:
        criteria: their names, the order of rows and columns.
        tau: (criteria, criteria), the mean over the layers where tau is defined.
        overlap: (criteria, criteria).
        chance: (criteria, criteria), the overlap expected by chance.
        layers: the comparison of each layer.
    """

    criteria: tuple[str, ...]
    tau: Matrix
    overlap: Matrix
    chance: Matrix
    layers: tuple[LayerAgreement, ...]


def tau_matrix(scores: Scores) -> Matrix:
    """Return Kendall's tau-b between all rankings of the same units; NaN where one of them is constant.

    With s the signs of the differences of all pairs of units, tau-b of rankings a and b is
    sum(s_a s_b) / sqrt(sum(s_a^2) sum(s_b^2)): a matrix product, quadratic in the number of units.

    Args:
        scores: (rankings, units).

    Returns:
        (rankings, rankings), symmetric.
    """
    rankings, units = scores.shape
    common = np.zeros((rankings, rankings))
    step = max(1, _PAIRS_AT_ONCE // max(1, rankings * units))
    for start in range(0, units, step):
        one, other = scores[:, start : start + step, None], scores[:, None, :]
        # Counts below 2^24 are exact in single precision.
        signs = ((one > other).astype(np.float32) - (one < other)).reshape(rankings, -1)
        common += signs @ signs.T
    untied = np.sqrt(np.diag(common))
    with np.errstate(invalid="ignore"):
        tau: Matrix = common / (untied[:, None] * untied)
    return tau


def overlap_matrix(scores: Scores, k: int) -> Matrix:
    """Return the share of the top k that rankings have in common, for all pairs of rankings.

    Units that tie for the last places share them: the result is the expected overlap when ties are broken
    at random, independently in both rankings. This also holds for the diagonal.

    Args:
        scores: (rankings, units), higher is better.
        k: from 1 to the number of units.

    Returns:
        (rankings, rankings), symmetric.
    """
    if not 1 <= k <= scores.shape[1]:
        raise ValueError(f"k must be from 1 to {scores.shape[1]}, got {k}")
    last = np.sort(scores, axis=1)[:, -k, None]
    above, tied = scores > last, scores == last
    # The probability of each unit to be among the top k.
    member = above + tied * ((k - above.sum(1, keepdims=True)) / tied.sum(1, keepdims=True))
    shared: Matrix = member @ member.T / k
    return shared


def top_size(units: int, k: int = 5, k_wide: int = 10, wide: int = 100) -> int:
    """How many of a layer's units are its top.

    Args:
        units: how many there are, two at least.
        k: size of the top; at most half of the units.
        k_wide: the same for layers of at least `wide` units (Adamczewski and Park 2019, table 1).
        wide: from how many units on a layer is wide.
    """
    return min(k_wide if units >= wide else k, units // 2)


def compare_criteria(scores: Mapping[str, Mapping[str, Scores]]) -> Agreement:
    """Compare every pair of criteria on every layer with at least two units that both have scored.

    Args:
        scores: by criterion and layer, one score per unit (weights are flattened).
    """
    criteria = tuple(scores)
    found = []
    for layer in dict.fromkeys(name for of_one in scores.values() for name in of_one):
        serving = tuple(name for name in criteria if layer in scores[name])
        rows = np.stack([np.ravel(scores[name][layer]) for name in serving])
        units = rows.shape[1]
        if units >= 2:
            top = top_size(units)
            found.append(
                LayerAgreement(layer, units, top, serving, tau_matrix(rows), overlap_matrix(rows, top))
            )
    places = [[criteria.index(name) for name in each.criteria] for each in found]
    return Agreement(
        criteria,
        tau=_mean([each.tau for each in found], places, len(criteria)),
        overlap=_mean([each.overlap for each in found], places, len(criteria)),
        chance=_mean([np.full(e.tau.shape, e.k / e.units) for e in found], places, len(criteria)),
        layers=tuple(found),
    )


def _mean(matrices: list[Matrix], places: list[list[int]], size: int) -> Matrix:
    """The mean of the finite entries, after moving each matrix's rows and columns to their places."""
    total, count = np.zeros((size, size)), np.zeros((size, size))
    for matrix, place in zip(matrices, places, strict=True):
        finite = np.isfinite(matrix)
        total[np.ix_(place, place)] += np.where(finite, matrix, 0)
        count[np.ix_(place, place)] += finite
    with np.errstate(invalid="ignore"):
        mean: Matrix = total / count
    return mean


def sorted_shares(scores: Scores) -> Matrix:
    """Return the scores from high to low, divided by the sum of their absolute values.

    It shows how a criterion spreads importance over a layer (Du Toit 2024, figure 3); scores that are all
    zero stay zero.
    """
    flat = np.sort(np.ravel(scores).astype(np.float64))[::-1]
    total = np.abs(flat).sum()
    return flat / total if total else flat
