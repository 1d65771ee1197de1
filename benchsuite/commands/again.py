"""Trials that have an outcome and are run again: which, and by which command."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from benchsuite.errors import UsageError
from benchsuite.store.texts import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchsuite.plan.trial import Trial
    from benchsuite.store.run_directory import RunDirectory

SHORTEST_KEY = 6
"""Characters of a key that name a trial, where no other key begins so."""
_SHOWN = 8
_MOST = 10


def with_keys(trials: Sequence[Trial], beginnings: Sequence[str]) -> frozenset[str]:
    """Keys of the trials that are named by their keys or by enough of their beginnings.

    Raises:
        UsageError: a beginning is too short, or is that of no trial or of several.
    """
    found = set()
    for text in beginnings:
        keys = [trial.key for trial in trials if trial.key.startswith(text)]
        if text not in keys and len(text) < SHORTEST_KEY:
            raise UsageError(
                f"--again {printable(text)!r}: give at least {SHORTEST_KEY} characters of a trial's key"
            )
        if text in keys:
            keys = [text]
        if len(keys) != 1:
            what = (
                f"{len(keys)} trials have keys that begin so" if keys else "there is no trial with this key"
            )
            raise UsageError(
                f"--again {printable(text, 100)!r}: {what}; keys are the first column of benchsuite results"
            )
        found.add(keys[0])
    return frozenset(found)


def again_command(directory: RunDirectory, keys: Sequence[str]) -> str:
    """The command that runs these trials of a run directory again."""
    run = shlex.quote(str(directory.path))
    words = [f"benchsuite run {shlex.quote(str(directory.suite_file))} --output {run}"]
    threads = directory.threads()
    words += [f"--threads {threads}"] if threads != 1 else []
    words += [f"--again {key[:_SHOWN]}" for key in keys[:_MOST]]
    words += [f"(and {len(keys) - _MOST} more)"] if len(keys) > _MOST else []
    return " ".join(words)
