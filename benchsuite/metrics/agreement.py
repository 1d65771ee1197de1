"""How far criteria rank the units of a network alike."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    Scores = npt.NDArray[np.floating]


@dataclass(frozen=True)
class LayerAgreement:
    """Two criteria on one layer.

    Attributes:
        layer: the layer's name.
        first: the one criterion.
        second: the other.
        units: how many scores the layer has.
        tau: Kendall's tau-b, from -1 (opposite orders) to 1; None where a criterion gives all the same score.
        k: how many of the top are compared.
        overlap: the share of the top k that both have in common; k / units is what chance gives.
    """

    layer: str
    first: str
    second: str
    units: int
    tau: float | None
    k: int
    overlap: float


@dataclass(frozen=True)
class PairAgreement:
    """Two criteria over all layers that both serve and that have two scores or more.

    Attributes:
        first: the one criterion.
        second: the other.
        layers: how many layers were compared.
        tau: mean of the layers' tau; None if no layer has one.
        overlap: mean of the layers' overlap.
        chance: mean overlap that chance gives.
    """

    first: str
    second: str
    layers: int
    tau: float | None
    overlap: float
    chance: float


def kendall_tau(first: Scores, second: Scores) -> float | None:
    """Return Kendall's tau-b of two rankings of the same units, or None where one of them is constant."""
    from scipy.stats import kendalltau

    if len(np.unique(first)) < 2 or len(np.unique(second)) < 2:
        return None
    tau = float(kendalltau(first, second).statistic)
    return None if math.isnan(tau) else tau


def top_overlap(first: Scores, second: Scores, k: int) -> float:
    """Return the share of the top k that two rankings have in common.

    Units that tie for the last places share them: the result is the expected overlap when ties are broken
    at random, independently in both rankings.

    Args:
        first: scores, higher is better.
        second: scores of the same units.
        k: from 1 to the number of units.
    """
    return float((_membership(first, k) * _membership(second, k)).sum() / k)


def _membership(scores: Scores, k: int) -> npt.NDArray[np.float64]:
    """The probability of each unit to be among the top k when ties are broken at random."""
    if not 1 <= k <= len(scores):
        raise ValueError(f"k must be from 1 to {len(scores)}, got {k}")
    last = np.sort(scores)[-k]
    above, tied = scores > last, scores == last
    share: npt.NDArray[np.float64] = above + tied * ((k - above.sum()) / tied.sum())
    return share


def compare_layers(
    scores: Mapping[str, Mapping[str, Scores]], k: int = 5, k_wide: int = 10, wide: int = 100
) -> list[LayerAgreement]:
    """Compare every pair of criteria on every layer that both serve.

    Args:
        scores: by criterion and layer, one score per unit (weights are flattened).
        k: size of the top that is compared; at most half of a layer's units.
        k_wide: the same for layers of at least `wide` units (Adamczewski and Park 2019, table 1).
        wide: from how many units on a layer is wide.
    """
    found = []
    for first, second in combinations(scores, 2):
        for layer, one in scores[first].items():
            if layer not in scores[second]:
                continue
            left, right = np.ravel(one), np.ravel(scores[second][layer])
            units = len(left)
            if units < 2:
                continue
            top = min(k_wide if units >= wide else k, units // 2)
            tau, overlap = kendall_tau(left, right), top_overlap(left, right, top)
            found.append(LayerAgreement(layer, first, second, units, tau, top, overlap))
    return found


def compare_criteria(layers: Sequence[LayerAgreement]) -> list[PairAgreement]:
    """Average the layers' agreement for each pair of criteria, in the order of first appearance."""
    pairs: dict[tuple[str, str], list[LayerAgreement]] = {}
    for row in layers:
        pairs.setdefault((row.first, row.second), []).append(row)
    result = []
    for (first, second), rows in pairs.items():
        taus = [row.tau for row in rows if row.tau is not None]
        result.append(
            PairAgreement(
                first,
                second,
                len(rows),
                sum(taus) / len(taus) if taus else None,
                sum(row.overlap for row in rows) / len(rows),
                sum(row.k / row.units for row in rows) / len(rows),
            )
        )
    return result


def sorted_shares(scores: Scores) -> npt.NDArray[np.float64]:
    """Return the scores from high to low, divided by the sum of their absolute values.

    It shows how a criterion spreads importance over a layer (Du Toit 2024, figure 3); all zero stays zero.
    """
    flat = np.sort(np.ravel(scores).astype(np.float64))[::-1]
    total = np.abs(flat).sum()
    return flat / total if total else flat
