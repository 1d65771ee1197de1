"""Errors a person reads: each says what was wrong, where, and what would be right."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class BenchsuiteError(Exception):
    """Base of every error that benchsuite raises on purpose."""


class UsageError(BenchsuiteError):
    """The command line or a suite file asks for something that cannot be done (exit code 4)."""


class PluginError(BenchsuiteError):
    """A plugin broke its contract."""


class DataError(BenchsuiteError):
    """A data set is absent or malformed; the message says what to put where."""


class Unsupported(BenchsuiteError):  # noqa: N818 - it names a trial's status, not a mistake
    """A scorer, model or surgery cannot serve a trial, which ends as `unsupported` with this reason."""


class Collapsed(BenchsuiteError):  # noqa: N818 - it names a trial's status, not a mistake
    """A layer would be left with nothing, or next to it; the trial ends as `collapsed` with this reason."""


def suggestion(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` with the nearest known names, or all names where they are few."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if near:
        return "; did you mean " + " or ".join(repr(n) for n in near) + "?"
    if 0 < len(known) <= 20:
        return "; there are: " + ", ".join(known)
    return ""
