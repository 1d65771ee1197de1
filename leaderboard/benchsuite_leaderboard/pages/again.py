"""How to run a criterion's trials again, ready for a shell."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from benchsuite_leaderboard.board import RANDOM

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchsuite_leaderboard.board import Criterion
    from benchsuite_leaderboard.suites import Suite


def run_again(criterion: Criterion, suites: Sequence[Suite]) -> str:
    """The command; with `random`, without which nothing is said of its gain.

    SUITE.toml stands for the suite's file where several suites or none are known.
    """
    file = suites[0].file if len(suites) == 1 else "SUITE.toml"
    scorers = dict.fromkeys(map(pattern, (criterion.scorer, RANDOM)))
    # A filter for each: a name with a bracket that is never closed would take the next one in.
    filters = " ".join(f"--filter {shlex.quote(f'scorer={scorer}')}" for scorer in scorers)
    return f"benchsuite run {shlex.quote(file)} --output again {filters}"


def pattern(value: str) -> str:
    """A name as a filter's value: a pattern, which commas outside brackets end.

    Any one letter stands for those, and for letters that are not shown as they are, as on a trial's page.
    """
    depth, found = 0, []
    for place, letter in enumerate(value):
        depth += (letter == "(") - (letter == ")")
        at_edge = letter.isspace() and place in (0, len(value) - 1)
        if at_edge or (letter == "," and depth == 0) or not letter.isprintable():
            found.append("?")
        else:
            found.append(f"[{letter}]" if letter in "*?[" else letter)
    return "".join(found)
