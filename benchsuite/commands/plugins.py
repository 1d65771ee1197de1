"""`plugins`: everything that a suite can name."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from benchsuite.commands.arguments import add_plugins
from benchsuite.commands.exit_codes import OK
from benchsuite.commands.loading import discover_named
from benchsuite.commands.printing import put, say
from benchsuite.drawing.terminal import open_console

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Sequence

    from benchsuite.registry.registry import PluginInfo


def add_arguments(parser: ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("--format", choices=("table", "json"), default="table")
    add_plugins(parser)


def run(options: Namespace) -> int:
    """List every plugin by kind, and in JSON with origin, version, status, error and parameters."""
    registry, _ = discover_named(options)
    if options.format == "json":
        listed = [_plain(info) for info in registry.infos]
        put(json.dumps(listed, indent=1, ensure_ascii=False, default=str))
        return OK
    console = open_console(width_in_pipe=200)
    for kind in dict.fromkeys(info.kind for info in registry.infos):
        console.print(_table(kind, [info for info in registry.infos if info.kind == kind]))
        console.print()
    for info in registry.infos:
        if info.error:
            console.print(
                f"{info.name} ({info.origin}): {info.error}", style="red", markup=False, soft_wrap=True
            )
        if info.warning:
            say(console, f"{info.name} ({info.origin}): {info.warning}", style="yellow")
    return OK


def _plain(info: PluginInfo) -> dict[str, Any]:
    """A plugin as JSON has it: what only some kinds have stands in `details`."""
    plain = asdict(info)
    details: dict[str, Any] = {"parameters": plain.pop("parameters")}
    granularity, needs = plain.pop("granularity"), plain.pop("needs")
    if info.kind == "scorer" and info.status == "ok":
        details |= {"granularity": granularity, "needs": needs}
    return {**plain, "details": details if info.status == "ok" else {}}


def _table(kind: str, infos: Sequence[PluginInfo]) -> Table:
    """One line a plugin; the texts that say what it is are cut where the terminal ends."""
    table = Table(box=None, padding=(0, 1), expand=True)
    table.add_column(kind, no_wrap=True)
    if kind == "scorer":
        table.add_column("granularity", no_wrap=True)
        table.add_column("needs", no_wrap=True)
    table.add_column("what it is", no_wrap=True, overflow="ellipsis", ratio=1)
    table.add_column("from", overflow="fold", max_width=40)
    for info in infos:
        needs = ", ".join(info.needs) or "weights"
        facts = [info.granularity or "", needs] if kind == "scorer" else []
        origin = info.origin.split(" (")[0]
        summary = Text("error, see below", style="red") if info.error else Text(info.summary)
        table.add_row(Text(info.name), *facts, summary, Text(origin))
    return table
