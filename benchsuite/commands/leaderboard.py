"""`leaderboard`: runs and results files as one static site."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchsuite.commands.arguments import add_signers
from benchsuite.commands.exit_codes import FAILED, OK
from benchsuite.commands.printing import put, tell
from benchsuite.commands.rendering import render_site
from benchsuite.drawing.terminal import open_console
from benchsuite.registry.discovery import discover_apart

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable, Iterator


def add_arguments(parser: ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run directory or results file")
    parser.add_argument("--output", type=Path, required=True, metavar="SITE")
    add_signers(parser)


def run(options: Namespace) -> int:
    """Render runs and published results as one static site; fails if a source was left out."""
    registry, _ = discover_apart()
    with _watched() as progress:
        site = render_site(
            options.runs,
            options.output,
            title="Pruning criteria",
            registry=registry,
            signers=options.signers,
            progress=progress,
        )
    for line in site.left_out:
        tell(line)
    put(str(site.page))
    return FAILED if site.left_out else OK


@contextmanager
def _watched() -> Iterator[Callable[[int, int], None] | None]:
    """Show on a terminal how many pages are made, as long as that takes; elsewhere nothing."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    console = open_console()
    if not console.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as shown:
        task = shown.add_task("reading", total=None)
        yield lambda done, total: shown.update(task, description="pages", completed=done, total=total)
