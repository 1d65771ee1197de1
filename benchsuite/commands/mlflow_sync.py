"""`mlflow-sync`: brings MLflow up to date with a run directory."""

from __future__ import annotations

import os
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from benchsuite.commands.arguments import add_plugins
from benchsuite.commands.exit_codes import FAILED, OK
from benchsuite.commands.loading import discover_named
from benchsuite.commands.rendering import render_summary
from benchsuite.drawing.terminal import open_console
from benchsuite.errors import UsageError
from benchsuite.store.files import described, read_regular
from benchsuite.store.run_directory import RunDirectory
from benchsuite.tracking import Tracker

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from benchsuite.registry.strangers import Strangers
    from benchsuite.store.run_directory import Results


def add_arguments(parser: ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("run", type=Path, metavar="DIR")
    add_plugins(parser)


def run(options: Namespace) -> int:
    """Show every trial of a run in its MLflow store, or at the server MLFLOW_TRACKING_URI, exactly once."""
    directory = RunDirectory(options.run)
    found = directory.results()
    _, strangers = discover_named(options)
    console = open_console()
    with directory.locked():
        tracker = synchronise(directory, found, strangers)
    for line in (*found.problems, *tracker.warnings):
        console.print(line, style="yellow", markup=False, soft_wrap=True)
    if not tracker.lacks:
        total = len(found.records) + len(found.superseded)
        console.print(f"{tracker.shown} of {total} trials were new to MLflow or had changed", markup=False)
    return FAILED if tracker.warnings else OK


def synchronise(directory: RunDirectory, found: Results, strangers: Strangers) -> Tracker:
    """Show in MLflow what of a run is not there yet; the directory's lock is held.

    Args:
        directory: the run directory.
        found: its results.
        strangers: plugins that its networks may need.

    Returns:
        The tracker, closed, which knows what it has shown and what it could not.
    """
    name, description = _suite(directory)
    with Tracker(directory.path, name, description) as tracker:
        tracker.source_of = strangers.source_of
        tracker.start({"command": " ".join(sys.argv[1:])})
        tracker.summarise(lambda: render_summary(directory, found.records, title=name, pending=found.pending))
        tracker.close()
    return tracker


def _suite(directory: RunDirectory) -> tuple[str, str]:
    """Name and description of the run's suite; where there is no suite, the folder's name and nothing.

    Raises:
        UsageError: the suite cannot be read; under another name MLflow would show the run a second time.
    """
    file = directory.suite_file
    if not os.path.lexists(file):
        return directory.path.resolve().name, ""
    try:
        section = tomllib.loads(read_regular(file).decode())["suite"]
        return str(section["name"]), str(section.get("description", ""))
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        reason = described(error) if isinstance(error, OSError) else f"{file} has no name of a suite"
        raise UsageError(f"{reason}; run the suite again to rewrite it") from error
