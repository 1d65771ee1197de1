"""Errors a person reads: each says what was wrong, where, and what would be right."""

from __future__ import annotations


class BenchsuiteError(Exception):
    """Base of every error that benchsuite raises on purpose."""


class UsageError(BenchsuiteError):
    """The command line or a suite file asks for something that cannot be done (exit code 4)."""


class PluginError(BenchsuiteError):
    """A plugin broke its contract."""


class DataError(BenchsuiteError):
    """A data set is absent or malformed; the message says what to put where."""


class Unsupported(BenchsuiteError):  # noqa: N818 - it names a trial's status, not a mistake
    """A scorer, model or surgery cannot serve this trial; the trial ends as `unsupported` with this reason."""


class Collapsed(BenchsuiteError):  # noqa: N818 - it names a trial's status, not a mistake
    """The selection would take every unit of a layer; the trial ends as `collapsed` with this reason."""
