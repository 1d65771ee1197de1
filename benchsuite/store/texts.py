"""Texts from outside, such as the message of a stranger's exception."""

from __future__ import annotations

import unicodedata

LONGEST_TEXT = 8 << 10
"""Bytes of UTF-8 that an error's text may have; of a longer one the beginning and the end are kept."""
_KEPT = "\n\t"


def printable(text: str, longest: int = LONGEST_TEXT) -> str:
    """The text without what a terminal would obey or a file could not hold, cut to a length.

    Control characters (escape codes among them), halves of surrogate pairs and signs that turn the direction
    of writing become U+FFFD; line breaks and tabs stay.

    Args:
        text: any text.
        longest: bytes of UTF-8 that are kept at most.
    """
    # What is longer than this in characters is longer in bytes too; the rest need not be looked at.
    if len(text) > 2 * longest:
        text = f"{text[:longest]}{text[-longest:]}"
    clean = "".join(_shown(character) for character in text)
    encoded = clean.encode()
    if len(encoded) <= longest:
        return clean
    mark = " […] "
    half = (longest - len(mark.encode())) // 2
    return f"{encoded[:half].decode(errors='ignore')}{mark}{encoded[-half:].decode(errors='ignore')}"


def _shown(character: str) -> str:
    if character in _KEPT or character.isprintable():
        return character
    return "\ufffd" if unicodedata.category(character) in ("Cc", "Cf", "Cs") else character
