"""Formatting of numbers, and of names from outside."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from benchsuite.pruning.threshold import threshold_of
from benchsuite.store.counting import noun_for
from benchsuite_leaderboard.charts.theme import shorten
from benchsuite_leaderboard.protocol import TARGETS, WIDTHS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchsuite.suite import PublishedValue
    from benchsuite_leaderboard.board import Workload
    from benchsuite_leaderboard.pages.answers import Speedup
    from benchsuite_leaderboard.protocol import Sparsity
    from benchsuite_leaderboard.statistics.intervals import Estimate

MINUS = "\u2212"
_LONGEST = 4000


def shortened(text: object, longest: int) -> str:
    """A name cut in the middle if it is too long."""
    return shorten(clean(text, 10 * longest), longest)


def percent(value: float, digits: int = 1) -> str:
    """A share in percent, without the sign: 0.9312 -> 93.1."""
    return f"{100 * value:.{digits}f}".replace("-", MINUS)


def interval(estimate: Estimate, digits: int = 1) -> str:
    """The interval in percentage points: ± its half width, or both ends if it is not symmetric."""
    if estimate.low is None or estimate.high is None:
        return ""
    if estimate.half_width is not None:
        return f"± {100 * estimate.half_width:.{digits}f}"
    return f"({percent(estimate.low, digits)}–{percent(estimate.high, digits)})"


def signed(value: float, digits: int = 1) -> str:
    """A difference of shares in percentage points, with its sign."""
    text = f"{100 * value:+.{digits}f}"
    return text.lstrip("+-") if float(text) == 0 else text.replace("-", MINUS)


def sparsity(value: Sparsity) -> str:
    """A requested fraction as a percentage, without decimals if possible; or a word."""
    if (threshold := threshold_of(value)) is not None:
        return f"scores under {threshold:.12g}"
    if isinstance(value, str):
        return {WIDTHS: "fixed widths", TARGETS: "targets by layer"}.get(value, value)
    return f"{100 * value:.12g}%"


def workload(value: Workload) -> str:
    """Model and data set in words."""
    return f"{value.model} on {value.dataset}"


def count(number: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun."""
    return f"{number:,} {noun_for(number, noun, plural)}"


def in_words(names: Sequence[str], longest: int = 40) -> str:
    """Names as a list in a sentence: "a, b and c"."""
    short = [shorten(name, longest) for name in names]
    return " and ".join(", ".join(part) for part in (short[:-1], short[-1:]) if part)


def sortable_number(value: float) -> str:
    """A number for sorting by a script: seven digits distinguish all values that a table distinguishes."""
    return f"{value:.7g}"


def clean(text: object, longest: int = _LONGEST) -> str:
    """Text from outside without control characters, cut if it is too long to read."""
    kept = str(text)
    if not kept.isprintable():
        kept = "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in kept)
    return kept if len(kept) <= longest else f"{kept[:longest]}… (cut, {len(kept):,} characters)"


def reason(text: str) -> str:
    """The line of an error that says what happened: the last one of a traceback."""
    lines = [line.strip() for line in clean(text).splitlines() if line.strip()]
    if not lines:
        return "no reason recorded"
    line = lines[-1] if lines[0].startswith("Traceback") else lines[0]
    return line if len(line) <= 240 else f"{line[:239]}…"


def number(value: float) -> str:
    """A quantity with three significant digits and thousands separators."""
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(digits, 6)}f}".replace("-", MINUS)


def signed_number(value: float) -> str:
    """A difference with its sign and three significant digits."""
    return f"+{number(value)}" if value > 0 else number(value)


def described(reference: PublishedValue) -> str:
    """A published value with its source, in few words."""
    value = reference.in_our_unit
    said = f"{in_percent(value)}%" if reference.is_share else f"{value:,.{12}g}"
    return f"{reference.name or 'published'}: {said} ({reference.source})"


def in_percent(value: float) -> str:
    """A published fraction in percent, with the digits that it was published with."""
    return f"{100 * value:.{12}g}"


def speed_words(speedup: Speedup) -> str:
    """A measured speedup with its precision and what it was measured on."""
    words = f"{speedup.mean:.2f}×"
    if speedup.low is not None and speedup.high is not None:
        words += f" ({speedup.low:.2f}–{speedup.high:.2f})"
    else:
        words += ", precision unknown"
    words += "" if speedup.threads == 1 else f", {speedup.threads} threads"
    if not speedup.is_settled:
        words += ", not settled"
    return words + ("" if speedup.devices == 1 else f", on {count(speedup.devices, 'device')}")
