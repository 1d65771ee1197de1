"""`clean`: frees what of a run directory can be made again."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchsuite.commands.exit_codes import FAILED, OK
from benchsuite.commands.printing import say, size
from benchsuite.drawing.terminal import open_console
from benchsuite.errors import UsageError
from benchsuite.store.counting import counted
from benchsuite.store.run_directory import RunDirectory
from benchsuite.tracking import is_behind
from benchsuite.upkeep.freeing import CHECKPOINTS, SCORES, Freeable, free, freeable
from benchsuite.upkeep.inspection import Inspected, inspect

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Sequence

    from rich.console import Console


def add_arguments(parser: ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument(
        "--checkpoints",
        action="store_true",
        help="also free the weights of dense and pruned networks, traces, and copies of data and concepts",
    )
    parser.add_argument("--scores", action="store_true", help="also free the scores of criteria")
    parser.add_argument(
        "--superseded",
        action="store_true",
        help="also free what only records of an earlier form of the suite refer to",
    )
    parser.add_argument("--dry-run", action="store_true", help="only show what would be freed")
    parser.add_argument("--yes", action="store_true", help="do not ask, on a terminal")


def run(options: Namespace) -> int:
    """Show what can be freed and what it costs to have it again, and free it; records stay."""
    directory = RunDirectory(options.run)
    seen = inspect(directory.path, check=False)
    if seen.obstacle:
        raise UsageError(f"{seen.obstacle}; nothing is freed")
    groups = _groups(seen, options)
    console = open_console()
    _show(console, seen, groups)
    if options.dry_run or not groups:
        return OK
    if not options.yes and sys.stdin.isatty() and not _agreed(console):
        say(console, "nothing was freed")
        return OK
    with directory.locked():
        seen = inspect(directory.path, check=False, ours=True)
        freed, failed = free(seen, _groups(seen, options))
    for line in failed:
        say(console, f"not deleted: {line}")
    say(console, f"freed {size(freed)}")
    return FAILED if failed else OK


def _groups(seen: Inspected, options: Namespace) -> list[Freeable]:
    kinds = (*(CHECKPOINTS if options.checkpoints else ()), *(SCORES if options.scores else ()))
    return freeable(seen, kinds, superseded=options.superseded)


def _agreed(console: Console) -> bool:
    return console.input("free it? [y/N] ", markup=False).strip().lower() in ("y", "yes")


def _show(console: Console, seen: Inspected, groups: Sequence[Freeable]) -> None:
    """What is freed, what that costs, and what is kept since nobody knows whether it is needed."""
    if groups:
        for group in groups:
            say(console, f"{size(group.bytes):>9}  {group.what} ({len(group.keys)}): {group.cost}")
        say(console, f"{size(sum(group.bytes for group in groups))} in all can be freed in {seen.run}")
    else:
        say(console, f"nothing is to be freed in {seen.run}")
    dense = sum(len(group.keys) for group in groups if group.kind == "train")
    if dense:
        say(console, f"a later run with a new scorer will train {counted(dense, 'dense model')} again")
        if seen.references.pending:
            pending = counted(len(seen.references.pending), "cell")
            say(console, f"so will the run of {pending} without an outcome yet")
    if any(group.kind in ("train", "trial") for group in groups):
        say(
            console, "export will need run --again KEY first; a network that MLflow lacks is not logged later"
        )
        if is_behind(seen.run):
            say(console, f"MLflow lacks trials of this run; first: benchsuite mlflow-sync {seen.run}")
    if seen.references.unclear:
        say(console, f"stages that nothing refers to are kept: {seen.references.unclear}")
