"""`plugins`, `new-plugin` and `check-plugin`: for those who use and write plugins."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, cast

from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchsuite.cli import FAILED, OK
from benchsuite.commands.loading import discover_checked
from benchsuite.errors import UsageError
from benchsuite.scaffold import PACKAGE_FILES, SCORER_FILE

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Sequence

    from benchsuite.plugins import PluginInfo
    from benchsuite.scoring.scorer import Scorer


def plugins(options: Namespace) -> int:
    """List every plugin by kind, and in JSON with origin, version, status, error and parameters."""
    registry, _ = discover_checked(options.plugin)
    if options.format == "json":
        listed = [asdict(info) for info in registry.infos]
        print(json.dumps(listed, indent=1, ensure_ascii=False, default=str))  # noqa: T201 - the command line speaks
        return OK
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=200)
    for kind in dict.fromkeys(info.kind for info in registry.infos):
        console.print(_table(kind, [info for info in registry.infos if info.kind == kind]))
        console.print()
    for info in registry.infos:
        if info.error:
            console.print(
                f"{info.name} ({info.origin}): {info.error}", style="red", markup=False, soft_wrap=True
            )
    return OK


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
        needs = ", ".join(info.details.get("needs", [])) or "weights"
        facts = [str(info.details.get("granularity", "")), needs] if kind == "scorer" else []
        origin = info.origin.split(" (")[0]
        summary = Text("error, see below", style="red") if info.error else Text(info.summary)
        table.add_row(Text(info.name), *facts, summary, Text(origin))
    return table


def new_plugin(options: Namespace) -> int:
    """Write a scorer plugin to start from, as one file or as a package."""
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", options.name):
        raise UsageError(
            f"{options.name!r} is no plugin name: lower-case words joined by hyphens, as in weight-entropy"
        )
    words = {
        "name": options.name,
        "module": options.name.replace("-", "_"),
        "class_name": "".join(word.capitalize() for word in options.name.split("-")),
    }
    files = (
        {f"benchsuite-{options.name}/{path}": text for path, text in PACKAGE_FILES.items()}
        if options.package
        else {f"{words['module']}.py": SCORER_FILE}
    )
    targets = {options.output / path.format(**words): text for path, text in files.items()}
    taken = [str(path) for path in targets if path.exists()]
    if taken:
        raise UsageError(f"not overwritten: {', '.join(taken)} exists already")
    for path, text in targets.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.format(**words), encoding="utf-8")
        print(path)  # noqa: T201 - the command line speaks
    return OK


def check_plugin(options: Namespace) -> int:
    """Run the conformance checks on every scorer of a plugin file."""
    from benchsuite.testing import CHECKS

    registry, _ = discover_checked([options.file])
    own = [info for info in registry.infos if Path(info.origin) == options.file]
    broken = [info for info in own if info.status == "error"]
    console = Console(highlight=False)
    for info in broken:
        console.print(f"{info.name}: {info.error}", style="red", markup=False, soft_wrap=True)
    scorers = [info.name for info in own if info.kind == "scorer" and info.status == "ok"]
    failed = bool(broken)
    for name in scorers:
        scorer = cast("Scorer", registry.create("scorer", name, {}))
        for check, run in CHECKS.items():
            problem = _problem(run, scorer)
            failed |= problem is not None
            console.print(
                f"{name}: {check}: {problem or 'ok'}",
                style="red" if problem else "",
                markup=False,
                soft_wrap=True,
            )
    if not own:
        console.print(f"{options.file} registers no plugin", markup=False)
        return FAILED
    return FAILED if failed else OK


def _problem(check: Callable[[Scorer], None], scorer: Scorer) -> str | None:
    """What a check says is wrong, or None."""
    try:
        check(scorer)
    except Exception as error:  # noqa: BLE001 - a stranger's scorer may raise anything
        return f"{type(error).__name__}: {error}"
    return None
