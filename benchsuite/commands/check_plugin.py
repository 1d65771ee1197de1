"""`check-plugin`: the conformance checks on a plugin file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchsuite.commands.arguments import positive_number
from benchsuite.commands.checking import SKIPPED
from benchsuite.commands.exit_codes import FAILED, OK
from benchsuite.commands.loading import check_named
from benchsuite.commands.printing import say
from benchsuite.drawing.terminal import open_console
from benchsuite.errors import BenchsuiteError
from benchsuite.registry.discovery import discover_apart
from benchsuite.registry.loading import PluginSource
from benchsuite.registry.stranger_process import StrangerProcess

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator

_CHECKING = "benchsuite.commands.checking"
SECONDS = 120.0
"""How long a check may take, unless told otherwise; those of the shipped criteria take a few."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument(
        "--timeout",
        type=positive_number,
        default=SECONDS,
        metavar="S",
        help=f"seconds that a check may take (default: {SECONDS:g})",
    )


def run(options: Namespace) -> int:
    """Run the conformance checks on every scorer of a plugin file, in a process of its own."""
    check_named([options.file])
    registry, strangers = discover_apart([options.file], third_party=False)
    strangers.close()
    own = [info for info in registry.infos if info.origin == str(options.file)]
    broken = [info for info in own if info.status == "error"]
    console = open_console()
    for info in broken:
        say(console, f"{info.name}: {info.error}", style="red")
    failed = bool(broken)
    for name in (info.name for info in own if info.kind == "scorer" and info.status == "ok"):
        for check, problem in _problems(options.file, name, options.timeout):
            skipped = problem is not None and problem.startswith(SKIPPED)
            failed |= problem is not None and not skipped
            said = f"{name}: {check}: {problem or 'ok'}"
            say(console, said, style="red" if problem and not skipped else None)
    if not own:
        say(console, f"{options.file} registers no plugin")
        return FAILED
    return FAILED if failed else OK


def _problems(file: Path, scorer: str, seconds: float) -> Iterator[tuple[str, str | None]]:
    """Each check with what it says is wrong; after one that kills its process the others have a new one."""
    from benchsuite.testing import CHECKS

    process = None
    try:
        for check in CHECKS:
            problem: str | None
            try:
                if process is None:
                    process = StrangerProcess(PluginSource.of_file(file), _CHECKING)
                    process.description()
                question = {"ask": "check", "check": check, "scorer": scorer, "file": str(file)}
                problem = process.ask(question, seconds)
            except BenchsuiteError as error:
                problem = str(error)
                if process is not None and process.is_over:
                    process = None
            yield check, problem
    finally:
        if process is not None:
            process.close()
