"""Which criteria may be the best of a column, and whether the best one beats a control."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from benchsuite_leaderboard.statistics.moderation import moderated

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

ALPHA = 0.05
DRAWS = 20_000
"""So many that another seed of the draws moves a probability near 0.05 by no more than 0.003."""
_FIRST = (1000, 5000)
"""Draws with which a question begins, and ends where they leave no doubt."""
_SURE = 5.0
"""Standard errors of a share of the draws from ALPHA that leave no doubt on which side it is."""
_CLEARLY_BETTER, _CLEARLY_NOT = 0.003, 0.55
_CROWDED = 1 / 3
"""With a larger share of cells at chance, spreads say nothing and the values are permuted instead."""
_EPSILON = 1e-12


@dataclass(frozen=True)
class Contest:
    """What the seeds say about the best criterion of a column.

    Attributes:
        may_be_best: for each criterion, whether it may be the best; the set of these holds the truly best one
            with 95% probability. None if the seeds tell nothing: some workload has one, or nothing varies.
        p_control: for each criterion, the probability that any of criteria that are no better than the
            control would lead it by as much as this one does; None without a control, or where the seeds tell
            nothing.
    """

    may_be_best: NDArray[np.bool_] | None
    p_control: Floats | None


@dataclass(frozen=True)
class _Null:
    """Means of criteria that are all equal, drawn many times.

    Attributes:
        means: shape (criteria, draws).
        variances: of the means as they are estimated in each draw, the same shape; or shape (criteria, 1)
            where they are known, and so the same in all draws.
        actual: variances of the observed means, shape (criteria,).
    """

    means: Floats
    variances: Floats
    actual: Floats

    def leads(self, over: int) -> Floats:
        """The largest studentised lead over one criterion, in each draw."""
        found = self.means - self.means[over]
        found /= np.sqrt(self.variances + self.variances[over])
        found[over] = -np.inf
        return np.asarray(found.max(axis=0))

    def lead(self, means: Floats, over: int) -> Floats:
        """The studentised leads over one criterion that were observed; its own is 0."""
        return np.asarray((means - means[over]) / np.sqrt(self.actual + self.actual[over]))


@dataclass(frozen=True)
class _Draws:
    """The draws of one question: few at first, all of them only where these leave a doubt."""

    make: Callable[[int], _Null]
    number: int
    made: dict[int, _Null] = field(default_factory=dict)

    def few(self) -> _Null:
        return self._of(self.numbers[0])

    def all(self) -> _Null:
        return self._of(self.number)

    @property
    def numbers(self) -> list[int]:
        return [*(number for number in _FIRST if number < self.number), self.number]

    def may_be_best(self, means: Floats, criterion: int) -> bool:
        """Whether equal criteria would have so large a lead over one of them often enough."""
        for number in self.numbers:
            share = _reached(self._of(number), means, criterion)
            if abs(share - ALPHA) > _SURE * math.sqrt(ALPHA * (1 - ALPHA) / number):
                break
        return share >= ALPHA - _EPSILON

    def _of(self, number: int) -> _Null:
        if number not in self.made:
            self.made[number] = self.make(number)
        return self.made[number]


def contest(
    values: Floats,
    workloads: Sequence[int],
    control: Floats | None = None,
    *,
    at_chance: float = 0.0,
    draws: int = DRAWS,
    seed: int = 0,
) -> Contest:
    """Compare criteria that were all measured on the same dense networks.

    Multiple comparisons with the best (Hsu 1981, 1996): a criterion may be the best unless another one leads
    it by more than the largest lead that equal criteria would have, once in twenty times. Leads are paired by
    network and studentised. That largest lead is found by drawing: each criterion has its own spread (what is
    left of its values after the network's mean and its own mean per workload), moderated over the criteria,
    and values and spreads are drawn from it together, which gives the leads their correlation (a parametric
    bootstrap). Workloads are fixed: other seeds are drawn, not other workloads.

    Whether one criterion, that with the highest mean, beats the control is one question: its lead beside the
    largest that any would have if none were better (Dunnett 1955, single step). So it may be chosen by its
    mean; the leads of others, of which nothing is said, do not count. The probability is given for each
    criterion, since several may have the highest mean.

    Without any spread at all nothing is known of other seeds, and nothing is said.

    Where many cells are at chance, values are far from normal and spreads say nothing. The values of each
    network are then permuted among the criteria instead (Fisher 1935), which is exact if all are equal.

    Args:
        values: shape (criteria, cells), higher is better, nothing absent.
        workloads: the workload of each cell, counted from 0; workloads count equally.
        control: the control's values, shape (cells,).
        at_chance: share of the values at chance.
        draws: number of draws; where fewer of them leave no doubt, no more are made.
        seed: of the draws.
    """
    strata = [np.flatnonzero(np.asarray(workloads) == w) for w in sorted(set(workloads))]
    if min(map(len, strata)) < 2:
        return Contest(None, None)
    criteria = len(values)
    if not _vary(values, strata):
        return Contest(None, None)
    make = _permuted if at_chance > _CROWDED else _drawn

    def drawn(everyone: Floats) -> _Draws:
        return _Draws(lambda number: make(everyone, strata, number, seed), draws)

    best = np.ones(criteria, dtype=np.bool_)
    if criteria > 1:
        null, means = drawn(values), _means(values, strata)
        best[:] = [null.may_be_best(means, i) for i in range(criteria)]
    p = None
    if control is not None:
        everyone = np.concatenate([values, control[None]])
        null, means = drawn(everyone), _means(everyone, strata)
        highest = means[:-1] >= means[:-1].max() - _EPSILON
        p = _p_control(null.few(), means)
        if _CLEARLY_BETTER < p[highest].max() < _CLEARLY_NOT:
            p = _p_control(null.all(), means)
    return Contest(best, p)


def _reached(null: _Null, means: Floats, over: int) -> float:
    """How often the largest lead of equal criteria over one of them is as large as the one observed."""
    return float((null.leads(over) >= null.lead(means, over).max() - _EPSILON).mean())


def _p_control(null: _Null, means: Floats) -> Floats:
    """The probability of each criterion's lead over the last one, the control."""
    leads = np.sort(null.leads(len(means) - 1))
    observed = null.lead(means, len(means) - 1)[:-1] - _EPSILON
    reached = len(leads) - np.searchsorted(leads, observed, side="left")
    return np.asarray((1 + reached) / (1 + len(leads)))


def _vary(values: Floats, strata: Sequence[NDArray[np.int64]]) -> bool:
    """Whether any criterion has another value on some network of a workload than on another one."""
    return any(bool((np.ptp(values[:, members], axis=1) > _EPSILON).any()) for members in strata)


def _means(values: Floats, strata: Sequence[NDArray[np.int64]]) -> Floats:
    return np.asarray(np.mean([values[:, members].mean(axis=1) for members in strata], axis=0))


def _drawn(values: Floats, strata: Sequence[NDArray[np.int64]], draws: int, seed: int) -> _Null:
    variances, freedoms = moderated(*_variances(values, strata), cautious=len(strata) == 1)
    # Equal values everywhere: any lead at all is then more than equal criteria would have.
    variances = np.maximum(variances, np.finfo(np.float64).tiny)
    normals, generator = _normals(len(values), draws, seed)
    means = normals * np.sqrt(variances)[:, None]
    if not np.isfinite(freedoms).any():
        return _Null(means, variances[:, None], variances)
    estimated = np.repeat(variances[:, None], draws, axis=1)
    for i in np.flatnonzero(np.isfinite(freedoms)):
        # A chi-squared variable is twice a gamma variable with half as many degrees of freedom.
        drawn = generator.standard_gamma(freedoms[i] / 2, size=draws)
        estimated[i] = np.maximum(drawn * (2 * variances[i] / freedoms[i]), 1e-300)
    return _Null(means, estimated, variances)


def _normals(criteria: int, draws: int, seed: int) -> tuple[Floats, np.random.Generator]:
    """Standard normal numbers, and the generator that made them, to draw more."""
    normals, state = _drawn_normals(criteria, draws, seed)
    generator = np.random.default_rng()
    generator.bit_generator.state = state
    return normals, generator


@lru_cache(8)
def _drawn_normals(criteria: int, draws: int, seed: int) -> tuple[Floats, Mapping[str, Any]]:
    """The numbers and the state of the generator after them, the same for each column of a board."""
    generator = np.random.default_rng(seed)
    normals = generator.standard_normal((criteria, draws))
    normals.flags.writeable = False
    return normals, generator.bit_generator.state


def _permuted(values: Floats, strata: Sequence[NDArray[np.int64]], draws: int, seed: int) -> _Null:
    generator = np.random.default_rng(seed)
    means = np.zeros((len(values), draws))
    for members in strata:
        for cell in members:
            order = np.argsort(generator.random((len(values), draws)), axis=0)
            means += values[:, cell][order] / len(members)
    ones = np.ones(len(values))
    return _Null(means / len(strata), ones[:, None], ones)


def _variances(values: Floats, strata: Sequence[NDArray[np.int64]]) -> tuple[Floats, Floats]:
    """Variance of each criterion's mean, of what the criteria do not share, and its degrees of freedom.

    With k criteria the residual of one has the variance v_i (1 - 2/k) + sum(v) / k^2.
    """
    k = len(values)
    parts = []
    for members in strata:
        rest = values[:, members] - values[:, members].mean(axis=0)
        found = rest.var(axis=1, ddof=1)
        if k == 2:
            found = 2 * found
        elif k > 2:
            found = np.maximum((found - found.sum() / (k * (k - 1))) / (1 - 2 / k), found / 2)
        parts.append(found / len(members))
    each = np.array(parts)
    total = each.sum(axis=0)
    below = np.sum([part**2 / (len(m) - 1) for part, m in zip(each, strata, strict=True)], axis=0)
    least = float(min(len(members) - 1 for members in strata))
    freedoms = np.divide(total**2, below, out=np.full(k, least), where=below > 0)
    return total / len(strata) ** 2, freedoms * (k - 1) / k
