"""How certain it is that a column's best criterion is the best, in a few words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchsuite_leaderboard.charts.theme import shorten
from benchsuite_leaderboard.pages.formats import clean, count

if TYPE_CHECKING:
    from benchsuite_leaderboard.verdicts import Verdict

MOST_APART = 3
"""Of more criteria that are not compared, the others are only counted."""


@dataclass(frozen=True)
class Certainty:
    """What the seeds show about a column's best criterion.

    Attributes:
        beats_random: whether it is significantly better than the random control; true where nothing can be
            asked: no random control was run, or the seeds say nothing.
        apart: who is not compared, so that nothing is said of them; empty if all are.
    """

    text: str
    beats_random: bool
    apart: str = ""


def certainty(verdict: Verdict) -> Certainty:
    """The words for one column: random, the others, controls that are higher, and cells that are absent."""
    parts = []
    if verdict.may_be_best is None:
        parts.append(f"how sure is unknown: {clean(verdict.unknown, 160)}")
    elif verdict.p_random is not None:
        better = "better than random" if verdict.beats_random else "not shown to be better than random"
        parts.append(f"{better} ({p_value(verdict.p_random)})")
    if verdict.random_lacks:
        parts.append(f"random lacks {verdict.random_lacks} of {verdict.cells} networks: not tested")
    if verdict.is_weakest:
        parts.append(_whose(verdict))
    others, rivals = len(verdict.others), len(verdict.places) - len(verdict.highest)
    if verdict.may_be_best is not None and others:
        parts.append(f"{count(others, 'other')} of {rivals} may be best too")
    elif verdict.may_be_best is not None and rivals:
        parts.append("ahead of the other" if rivals == 1 else f"ahead of all {rivals} others")
    if verdict.above:
        parts.append(f"{count(len(verdict.above), 'control')} higher")
    if verdict.estimate.at_chance:
        parts.append(f"at chance in {verdict.estimate.at_chance} of {verdict.cells}")
    if verdict.cells < verdict.asked:
        parts.append(f"compared on {verdict.cells} of {verdict.asked} networks")
    return Certainty(
        ", ".join(parts), verdict.beats_random is not False and not verdict.random_lacks, _apart(verdict)
    )


def _whose(verdict: Verdict) -> str:
    """Of several with the same mean, the one that the probability and the numbers are of."""
    least = (
        "less certain of the two" if len(verdict.highest) == 2 else f"least certain of {len(verdict.highest)}"
    )
    return f"numbers of {shorten(clean(verdict.best.label, 200), 34)}, the {least}"


def _apart(verdict: Verdict) -> str:
    """The criteria that lack too much of the column, as a sentence without its full stop."""
    if not verdict.apart:
        return ""
    names = [
        f"{shorten(clean(criterion.label, 200), 34)} ({networks} of {verdict.asked} networks)"
        for criterion, networks in list(verdict.apart.items())[:MOST_APART]
    ]
    more = len(verdict.apart) - len(names)
    return f"not compared: {', '.join(names)}" + (f" and {more} more" if more else "")


def p_value(p: float) -> str:
    """A probability in words; near 0.05 with a third digit, which shows on which side it is."""
    if not 0.01 <= p <= 0.5:
        return "p < 0.01" if p < 0.01 else "p > 0.5"
    return f"p = {p:.3f}" if f"{p:.2f}" == "0.05" else f"p = {p:.2f}"
