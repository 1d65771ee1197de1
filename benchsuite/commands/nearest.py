"""What somebody may have meant who mistyped a name of the command line.

A suggestion that is far off is worse than none, so few mistakes are allowed for: a letter too many, too few,
another, or two in the wrong order. Nothing heavy is imported here: every command line needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_MOST_SHOWN = 3
_MOST_LISTED = 20
_SHORTEST_BEGINNING = 3
_LONGEST = 100
"""Characters of a name that anyone would have mistyped; longer ones are not compared, which takes long."""


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """The nearest of the known names, at most three: those it may be a mistyped form or the beginning of."""
    wanted = name.casefold()
    if not wanted or len(wanted) > _LONGEST:
        return []
    allowed = _mistakes_allowed(len(wanted))
    found = []
    for other in dict.fromkeys(known):
        meant = other.casefold()
        if abs(len(meant) - len(wanted)) <= allowed and (number := mistakes(wanted, meant)) <= allowed:
            found.append((number, other))
        elif len(wanted) >= _SHORTEST_BEGINNING and meant.startswith(wanted):
            found.append((allowed + 1, other))
        elif len(wanted) > _SHORTEST_BEGINNING and _is_slip(wanted, meant):
            found.append((allowed + 2, other))
    found.sort(key=lambda each: (each[0], len(each[1]), each[1]))  # of one family the shortest is meant
    return [other for _, other in found[:_MOST_SHOWN]]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` with the nearest known names, or all where none is near and they are few."""
    names = list(dict.fromkeys(known))
    if near := nearest(name, names):
        return f"; did you mean {' or '.join(map(repr, near))}?"
    return f"; there are: {', '.join(names)}" if 0 < len(names) <= _MOST_LISTED else ""


def _is_slip(beginning: str, name: str) -> bool:
    """Whether one mistake makes of it the beginning of a name, whose first letter is right."""
    lengths = (len(beginning) - 1, len(beginning), len(beginning) + 1)
    return beginning[0] == name[:1] and any(mistakes(beginning, name[:length]) == 1 for length in lengths)


def _mistakes_allowed(length: int) -> int:
    """One in a short name, one more for every four letters: half of a short name fits too many others."""
    return 0 if length < 2 else 1 if length < 6 else min(2 + (length - 6) // 6, 4)


def mistakes(first: str, second: str) -> int:
    """How many letters to add, leave out, replace, or exchange with the next, to make one of the other.

    The optimal string alignment distance: no letter is changed twice.
    """
    before: list[int] = []
    last = list(range(len(second) + 1))
    for i, letter in enumerate(first, start=1):
        row = [i]
        for j, other in enumerate(second, start=1):
            cost = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (letter != other))
            if i > 1 and j > 1 and letter == second[j - 2] and first[i - 2] == other:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        before, last = last, row
    return last[-1]
