"""`leaderboard`: runs and results files as one static site."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchsuite.commands.arguments import add_signers
from benchsuite.commands.exit_codes import FAILED, OK
from benchsuite.commands.printing import put, tell
from benchsuite.commands.rendering import render_site
from benchsuite.registry.discovery import discover_apart

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace


def add_arguments(parser: ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run directory or results file")
    parser.add_argument("--output", type=Path, required=True, metavar="SITE")
    add_signers(parser)


def run(options: Namespace) -> int:
    """Render runs and published results as one static site; fails if a source was left out."""
    registry, _ = discover_apart()
    site = render_site(
        options.runs, options.output, title="Pruning criteria", registry=registry, signers=options.signers
    )
    for line in site.left_out:
        tell(line)
    put(str(site.page))
    return FAILED if site.left_out else OK
