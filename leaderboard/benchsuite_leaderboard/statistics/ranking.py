"""Ranks of criteria over blocks, from how often each beats each other, with intervals from the bootstrap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri, stdtrit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

RESAMPLES = 2000
CONFIDENCE = 0.95
_EPSILON = 1e-9
"""Win rates closer than this differ only by rounding errors."""


@dataclass(frozen=True)
class Ranking:
    """Criteria ranked against each other.

    Attributes:
        wins: share of the blocks in which row beats column, where ties count half, shape
            (criteria, criteria); NaN on the diagonal.
        win_rates: mean of a row of `wins`.
        mean_ranks: `1 + (criteria - 1) (1 - win_rate)`, the mean rank over blocks.
        places: 1 + the number of criteria with a smaller mean rank.
        place_intervals: lowest and highest place that the seeds do not exclude, shape (criteria, 2); None if
            some workload has a single seed.
    """

    wins: Floats
    win_rates: Floats
    mean_ranks: Floats
    places: NDArray[np.int64]
    place_intervals: NDArray[np.int64] | None


def rank(
    values: Floats,
    dense_models: Sequence[int],
    workloads: Sequence[int],
    *,
    intervals: bool = True,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Ranking:
    """Rank criteria by their win rates.

    Blocks of one dense model (its sparsities) are not independent, so the bootstrap draws dense models,
    within each workload, and keeps their blocks together. Of n seeds it draws n - 1, which makes the
    variance unbiased (Rao and Wu 1988). A criterion's interval excludes the places of those criteria whose
    win rate differs significantly from its own, by the largest studentised difference over all opponents
    (Mogstad, Romano, Shaikh and Wilhelm 2024); percentiles of resampled places would be too narrow when
    criteria are nearly equal. The critical value is widened by the ratio of Student's to the normal quantile,
    since a few seeds say little about their own spread. A difference that is the same in every sample
    excludes a place only where so many networks would not agree by chance.

    Args:
        values: shape (criteria, blocks) with two criteria or more and a value everywhere; higher is better.
        dense_models: the dense model of each block, counted from 0.
        workloads: the workload of each dense model, counted from 0; workloads count equally.
        intervals: whether place intervals are wanted, which take most of the time.
        resamples: number of bootstrap samples.
        confidence: of the place intervals.
        seed: of the bootstrap.
    """
    won = _duels(values, np.asarray(dense_models), len(workloads))
    blocks = np.bincount(dense_models, minlength=len(workloads))
    strata = [np.flatnonzero(np.asarray(workloads) == w) for w in sorted(set(workloads))]
    weights = np.zeros((1, len(workloads)))
    for members in strata:
        weights[0, members] = 1 / len(members)
    wins = _wins(won, blocks, weights)[0]
    win_rates = _win_rates(wins[None])[0]
    mean_ranks = 1 + (len(values) - 1) * (1 - win_rates)
    found = None
    if intervals and min(map(len, strata)) > 1:
        drawn = _bootstrap_weights(strata, len(workloads), resamples, seed)
        freedom = sum(len(members) - 1 for members in strata)
        found = _place_intervals(
            win_rates, _win_rates(_wins(won, blocks, drawn)), len(workloads), freedom, confidence
        )
    return Ranking(wins, win_rates, mean_ranks, _places(mean_ranks), found)


def _place_intervals(
    win_rates: Floats, resampled: Floats, networks: int, freedom: int, confidence: float
) -> NDArray[np.int64]:
    """The places left after excluding all significantly better and worse criteria, (criteria, 2)."""
    criteria = len(win_rates)
    estimates = win_rates[:, None] - win_rates[None, :]
    differences = resampled[:, :, None] - resampled[:, None, :]
    errors = differences.std(axis=0)
    tail = (1 - confidence) / 2 / (criteria - 1)
    unanimous = 2.0 ** (1 - networks) <= 2 * tail
    widening = float(stdtrit(freedom, tail) / ndtri(tail))
    intervals = np.empty((criteria, 2), dtype=np.int64)
    for i in range(criteria):
        varying = errors[i] > _EPSILON
        if varying.any():
            deviations = np.abs(differences[:, i, varying] - estimates[i, varying]) / errors[i, varying]
            critical = widening * float(np.quantile(deviations.max(axis=1), confidence))
        else:
            critical = 0.0
        # A difference that is the same in every sample proves something only if it stands on many networks.
        sure = (np.abs(estimates[i]) > critical * errors[i] + _EPSILON) & (varying | unanimous)
        intervals[i] = 1 + (sure & (estimates[i] < 0)).sum(), criteria - (sure & (estimates[i] > 0)).sum()
    return intervals


def _duels(values: Floats, dense_models: NDArray[np.int64], count: int) -> Floats:
    """Comparisons won, shape (dense models, criteria, criteria)."""
    won = np.zeros((count, len(values), len(values)))
    for block, dense_model in enumerate(dense_models):
        mine, theirs = values[:, block, None], values[None, :, block]
        won[dense_model] += (mine > theirs) + 0.5 * (mine == theirs)
    return won


def _wins(won: Floats, blocks: NDArray[np.int64], weights: Floats) -> Floats:
    """Win shares for each row of weights over dense models, shape (rows, criteria, criteria)."""
    shares: Floats = np.tensordot(weights, won, axes=1) / (weights @ blocks)[:, None, None]
    diagonal = np.arange(shares.shape[1])
    shares[:, diagonal, diagonal] = np.nan
    return shares


def _win_rates(wins: Floats) -> Floats:
    """Mean over the opponents, shape (rows, criteria)."""
    return np.asarray(np.nansum(wins, axis=2) / (wins.shape[2] - 1))


def _places(mean_ranks: Floats) -> NDArray[np.int64]:
    return np.asarray(1 + (mean_ranks[None, :] < mean_ranks[:, None] - _EPSILON).sum(axis=1), dtype=np.int64)


def _bootstrap_weights(strata: list[NDArray[np.int64]], count: int, resamples: int, seed: int) -> Floats:
    generator = np.random.default_rng(seed)
    weights = np.zeros((resamples, count))
    for members in strata:
        drawn = len(members) - 1
        weights[:, members] = (
            generator.multinomial(drawn, np.full(len(members), 1 / len(members)), size=resamples) / drawn
        )
    return weights
