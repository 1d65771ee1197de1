"""Numbers of things, as a person says them."""

from __future__ import annotations


def noun_for(number: int, noun: str, plural: str | None = None) -> str:
    """The noun in the number that fits; a plural that is not made with an s is given."""
    return noun if number == 1 else plural or f"{noun}s"


def counted(number: int, noun: str) -> str:
    """The number with its noun: `1 trial`, `2 trials`."""
    return f"{number} {noun_for(number, noun)}"
