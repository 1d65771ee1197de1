"""`check-plugin`: the conformance checks on a plugin file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchsuite.commands.arguments import positive_number
from benchsuite.commands.checking import FIRST, NOT_CHECKED, checks_of
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

    from rich.console import Console

    from benchsuite.registry.registry import PluginInfo

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
    """Run the conformance checks on every scorer and metric of a plugin file, in a process of its own."""
    check_named([options.file])
    registry, strangers = discover_apart([options.file], third_party=False)
    strangers.close()
    own = [info for info in registry.infos if info.origin == str(options.file)]
    broken = [info for info in own if info.status == "error"]
    console = open_console()
    for info in broken:
        say(console, f"{info.name}: {info.error}", style="red")
    failed = bool(broken)
    for info in (info for info in own if info.status == "ok"):
        if info.warning:
            say(console, f"{info.name}: warning: {info.warning}", style="yellow")
        if info.kind in ("scorer", "metric"):
            failed |= _check(console, options.file, info, options.timeout)
        else:
            say(console, f"{info.name}: {info.kind}: registered; the checks are for scorers and metrics")
    return FAILED if failed else OK


def _check(console: Console, file: Path, plugin: PluginInfo, seconds: float) -> bool:
    """Say what each check of a plugin finds; returns whether one failed."""
    found: dict[str, str | None] = {}
    name = plugin.name
    for check, problem in _problems(file, plugin, seconds):
        found[check] = problem
        wrong = problem is not None and not problem.startswith(NOT_CHECKED)
        say(console, f"{name}: {check}: {problem or 'ok'}", style="red" if wrong else None)
    if left := [check for check in checks_of(plugin.kind) if check not in found]:
        say(console, f"{name}: {NOT_CHECKED}{', '.join(left)}")
    return any(problem is not None and not problem.startswith(NOT_CHECKED) for problem in found.values())


def _problems(file: Path, plugin: PluginInfo, seconds: float) -> Iterator[tuple[str, str | None]]:
    """Each check with what it says is wrong; after one that kills its process the others have a new one.

    Where the plugin serves no network, or takes too long once, the others are not tried.
    """
    process = None
    try:
        for check in checks_of(plugin.kind):
            problem: str | None
            late = False
            try:
                if process is None:
                    process = StrangerProcess(PluginSource.of_file(file), _CHECKING)
                    process.description()
                question = {"ask": "check", "check": check, "kind": plugin.kind, "name": plugin.name}
                problem = process.ask(question, seconds)
            except BenchsuiteError as error:
                problem = str(error)
                if process is not None and process.is_over:
                    late, process = process.was_late, None
                problem += "; --timeout allows more" if late else ""
            yield check, problem
            if late or (check == FIRST and problem is not None):
                return
    finally:
        if process is not None:
            process.close()
