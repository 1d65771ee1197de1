"""Trials that have an outcome and are run again: which, and by which command."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from benchsuite.commands.loading import discover_named
from benchsuite.errors import UsageError
from benchsuite.store.texts import printable
from benchsuite.suite import load_suite

if TYPE_CHECKING:
    from argparse import Namespace
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


def again_command(directory: RunDirectory, keys: Sequence[str], options: Namespace) -> str:
    """The command that runs these trials of a run directory again.

    Plugin files that this command was given are named in it. Where the suite has plugins that are not found
    so, it is said that there were others.
    """
    run = shlex.quote(str(directory.path))
    words = [f"benchsuite run {shlex.quote(str(directory.suite_file))} --output {run}"]
    words += [f"--plugin {shlex.quote(str(file))}" for file in options.plugin]
    threads = directory.threads()
    words += [f"--threads {threads}"] if threads != 1 else []
    words += [f"--again {key[:_SHOWN]}" for key in keys[:_MOST]]
    words += [f"(and {len(keys) - _MOST} more)"] if len(keys) > _MOST else []
    if not _is_known(directory, options):
        words.append("(and --plugin with each plugin file that the run was given)")
    return " ".join(words)


def _is_known(directory: RunDirectory, options: Namespace) -> bool:
    """Whether all plugins of the run's suite are found with a command's options."""
    registry, strangers = discover_named(options)
    try:
        load_suite(directory.suite_file, registry)
    except UsageError:
        return False
    finally:
        strangers.close()
    return True
