"""Texts from outside, such as the message of a stranger's exception."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

LONGEST_TEXT = 8 << 10
"""Bytes of UTF-8 that an error's text may have; of a longer one the beginning and the end are kept."""
_LONGEST_FIELD = 1 << 20
_KEPT = "\n\t"


def printable(text: str, longest: int = LONGEST_TEXT) -> str:
    """The text without what a terminal would obey or a file could not hold, cut to a length.

    Control characters (escape codes among them), halves of surrogate pairs and signs that turn the direction
    of writing become U+FFFD; line breaks and tabs stay.

    Args:
        text: any text.
        longest: bytes of UTF-8 that are kept at most.
    """
    if text.isprintable() and len(text) <= longest // 4:
        return text
    # What is longer than this in characters is longer in bytes too; the rest need not be looked at.
    if len(text) > 2 * longest:
        text = f"{text[:longest]}{text[-longest:]}"
    clean = without_controls(text)
    encoded = clean.encode()
    if len(encoded) <= longest:
        return clean
    mark = " […] "
    half = (longest - len(mark.encode())) // 2
    return f"{encoded[:half].decode(errors='ignore')}{mark}{encoded[-half:].decode(errors='ignore')}"


def in_one_line(text: str, longest: int = 1500) -> str:
    """The text as one printable line: a stranger's line breaks must not make lines that look like the host's.

    Args:
        text: any text.
        longest: bytes of UTF-8 that are kept at most, of the beginning and the end.
    """
    return printable(" ⏎ ".join(filter(None, map(str.strip, text.splitlines()))), longest)


def without_controls(text: str) -> str:
    """The text, whole, without what `printable` takes out."""
    if text.isprintable():
        return text
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    if character in _KEPT or character.isprintable():
        return character
    return "\ufffd" if unicodedata.category(character) in ("Cc", "Cf", "Cs") else character


def all_printable(data: Any) -> Any:
    """Plain data with every text in it printable, names included; raises `ValueError` for too deep ones."""
    try:
        return _all_printable(data)
    except RecursionError:
        raise ValueError("brackets are nested too deeply") from None


def _all_printable(data: Any) -> Any:
    match data:
        case str():
            return printable(data, _LONGEST_FIELD)
        case dict():
            return {
                printable(str(name), _LONGEST_FIELD): _all_printable(value) for name, value in data.items()
            }
        case list():
            return [_all_printable(each) for each in data]
    return data


def read_json(text: str | bytes) -> Any:
    """What a JSON text says; raises `ValueError` also for one whose brackets are nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("brackets are nested too deeply") from None
