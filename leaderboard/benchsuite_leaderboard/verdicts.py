"""The verdict on one column of a board: which criterion is best, and how sure that is."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from benchsuite_leaderboard.contention import contention
from benchsuite_leaderboard.statistics.contest import ALPHA, contest
from benchsuite_leaderboard.statistics.intervals import mean_interval

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from benchsuite_leaderboard.board import Block, Criterion, Workload
    from benchsuite_leaderboard.statistics.intervals import Estimate

_EQUAL = 1e-12
"""Means that differ by less differ by rounding errors."""


@dataclass(frozen=True)
class Verdict:
    """What the seeds say about one column, over the cells that all of the compared criteria have.

    Attributes:
        highest: the criterion with the highest mean; several if their means are equal, the least certain one
            first: that with the highest probability `p_random`, then with the widest interval, then by name.
        may_be_best: the criteria that may be the best, by their means; this set holds the truly best one of
            those compared with 95% probability. None where the seeds tell nothing: there is one, or nothing
            varies between them.
        places: all criteria that are compared, with 1 + the number of those with a higher mean.
        apart: the criteria that are not compared, with the number of networks that each has.
        cells: number of dense models that all of these have.
        asked: number of dense models of the column.
        estimate: of the first of `highest`, over these cells.
        random: of the control `random`, over these cells; None if it lacks one of them.
        unknown: why the seeds tell nothing, in words; empty where they tell something.
        random_lacks: how many of these cells the control lacks; 0 without one.
        gain: of the first of `highest` over `random`.
        is_weakest: whether the first of several in `highest` is less certain than another of them.
        p_random: probability of a lead over `random` such as that of the first of `highest`, if no criterion
            were better than it; None if not tested.
        above: controls whose mean is higher than that of `highest`.
    """

    highest: tuple[Criterion, ...]
    may_be_best: tuple[Criterion, ...] | None
    places: Mapping[Criterion, int]
    apart: Mapping[Criterion, int]
    cells: int
    asked: int
    estimate: Estimate
    random: Estimate | None
    gain: Estimate | None
    p_random: float | None
    above: tuple[Criterion, ...]
    is_weakest: bool = False
    random_lacks: int = 0
    unknown: str = ""

    @property
    def best(self) -> Criterion:
        """The criterion with the highest mean; of several the least certain one."""
        return self.highest[0]

    @property
    def others(self) -> tuple[Criterion, ...]:
        """The criteria that may be the best too, beside those with the highest mean."""
        return tuple(c for c in self.may_be_best or () if c not in self.highest)

    @property
    def beats_random(self) -> bool | None:
        """Whether the best is better than random, as far as the seeds tell; None if that was not tested."""
        return None if self.p_random is None else self.p_random < ALPHA


def judge(
    column: Mapping[Criterion, Mapping[Block, float]],
    asked: Collection[Block],
    random: Criterion | None,
    *,
    near_chance: Mapping[Workload, float],
    estimate: Callable[[Criterion, Mapping[Block, float]], Estimate | None],
) -> Verdict | None:
    """Compare the criteria of one column over the cells that all of them have.

    Args:
        column: each criterion's values, controls included, all at one sparsity.
        asked: the cells that were to be measured.
        random: the control that the best is compared with.
        near_chance: accuracies up to this one count as chance, by workload.
        estimate: mean and interval of a criterion's values.

    Returns:
        None if no criterion has enough cells.
    """
    found = contention(
        {criterion: values for criterion, values in column.items() if not criterion.is_control},
        asked,
        lambda block: block.dense_model.workload,
        least=2,
    )
    if not found.criteria:
        return None
    blocks = sorted(found.blocks)
    pairs = [block.dense_model.workload for block in blocks]
    common = {
        c: {b: values[b] for b in blocks} for c, values in column.items() if found.blocks <= values.keys()
    }
    means = {c: _mean(values) for c, values in common.items()}
    order = sorted(found.criteria, key=lambda c: (-means[c], c.label))
    ordered = [means[c] for c in order]
    rival = random if random in common else None
    values = np.array([list(common[c].values()) for c in found.criteria])
    near = np.array([near_chance.get(pair, -math.inf) for pair in pairs])
    names = sorted(set(pairs))
    result = contest(
        values,
        [names.index(pair) for pair in pairs],
        None if rival is None else np.array(list(common[rival].values())),
        at_chance=float((values <= near).mean()),
    )
    p_random = {} if result.p_control is None else dict(zip(found.criteria, result.p_control, strict=True))
    estimates = {
        c: estimate(c, common[c])
        for c in order
        if math.isclose(means[c], means[order[0]], rel_tol=0, abs_tol=_EQUAL)
    }
    doubts = {c: _doubt(p_random.get(c), mine) for c, mine in estimates.items()}
    highest = tuple(sorted(estimates, key=lambda c: (-doubts[c][0], -doubts[c][1], c.label)))
    best = highest[0]
    leaders = None
    if result.may_be_best is not None:
        inside = {c for c, may in zip(found.criteria, result.may_be_best, strict=True) if may}
        leaders = (*highest, *(c for c in order if c in inside and c not in highest))
    mine = estimates[best]
    assert mine is not None
    return Verdict(
        highest,
        leaders,
        {c: 1 + sum(other > means[c] for other in ordered) for c in order},
        {c: len(column[c]) for c in found.partial},
        len(blocks),
        found.asked,
        mine,
        None if rival is None else estimate(rival, common[rival]),
        None
        if rival is None
        else mean_interval(_by_workload({b: v - common[rival][b] for b, v in common[best].items()})),
        float(p_random[best]) if best in p_random else None,
        tuple(c for c, mean in means.items() if c.is_control and mean > means[best] + _EQUAL),
        len(set(doubts.values())) > 1,
        0 if random is None else len(found.blocks - column.get(random, {}).keys()),
        "" if leaders is not None else _why_unknown(pairs),
    )


def _why_unknown(pairs: Sequence[Workload]) -> str:
    """Why seeds tell nothing, from the workload of each network."""
    alone = [pair for pair, networks in Counter(pairs).items() if networks == 1]
    if not alone:
        return "all numbers are the same for every seed"
    if len(alone) == len(set(pairs)):
        return "there is one seed"
    rest = f" and {len(alone) - 1} more" if len(alone) > 1 else ""
    return f"there is one network alone of {alone[0].model} on {alone[0].dataset}{rest}"


def _doubt(p: float | None, estimate: Estimate | None) -> tuple[float, float]:
    """How uncertain a criterion is: the probability of its lead over random, and its interval's width."""
    width = math.inf
    if estimate is not None and estimate.low is not None and estimate.high is not None:
        width = estimate.high - estimate.low
    return (0.0 if p is None else round(p, 9), round(width, 9))


def _mean(values: Mapping[Block, float]) -> float:
    """The mean of the workloads' means."""
    strata = _by_workload(values)
    return math.fsum(math.fsum(stratum) / len(stratum) for stratum in strata) / len(strata)


def _by_workload(values: Mapping[Block, float]) -> Sequence[list[float]]:
    strata: dict[Workload, list[float]] = {}
    for block, value in values.items():
        strata.setdefault(block.dense_model.workload, []).append(value)
    return list(strata.values())
