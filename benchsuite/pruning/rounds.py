"""The sparsities of the rounds of a schedule."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchsuite.pruning.settings import ScheduleSettings


_DIGITS = 60


def rounds_of(schedule: ScheduleSettings, sparsity: float) -> list[float]:
    """The sparsity after each round of a schedule."""
    if schedule.name == "iterative":
        return geometric_rounds(sparsity, schedule.rounds)
    if schedule.name == "rewind":
        return rounds_of_share(sparsity, schedule.rewind_share)
    return [sparsity]


def geometric_rounds(sparsity: float, rounds: int) -> list[float]:
    """The sparsity after each of `rounds` rounds, each of which removes the same share of what is left."""
    if sparsity <= 0:
        return [sparsity]
    return [1 - (1 - sparsity) ** (number / rounds) for number in range(1, rounds)] + [sparsity]


def rounds_of_share(sparsity: float, share: float) -> list[float]:
    """The sparsity after each round; a round removes `share` of what is left, the last one at most that.

    With a share of 0.2 the rounds of Frankle and Carbin (2019) and Frankle and Bau (2019).
    """
    if sparsity <= 0:
        return [sparsity]
    count = math.ceil(math.log(1 - sparsity) / math.log(1 - share) - 1e-9)
    return [_after(number, share) for number in range(1, count)] + [sparsity]


def _after(rounds: int, share: float) -> float:
    """The float nearest to what so many rounds remove.

    So a suite that asks for 0.488 asks for the third round of 0.2: in floats, 1 - 0.8**3 is another number.
    """
    with localcontext(prec=_DIGITS):
        return float(1 - (1 - Decimal(repr(share))) ** rounds)
