"""Numbers of things, as a person says them."""

from __future__ import annotations


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """The number with its noun: `1 trial`, `2 trials`; a plural that is not made with an s is given."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"
