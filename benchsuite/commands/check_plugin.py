"""`check-plugin`: the conformance checks on a plugin file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from benchsuite.commands.exit_codes import FAILED, OK
from benchsuite.commands.loading import check_named
from benchsuite.drawing.terminal import open_console
from benchsuite.registry.discovery import discover

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable

    from benchsuite.scoring.scorer import Scorer


def add_arguments(parser: ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("file", type=Path, metavar="FILE")


def run(options: Namespace) -> int:
    """Run the conformance checks on every scorer of a plugin file."""
    import torch

    from benchsuite.testing import CHECKS

    check_named([options.file])
    registry, _ = discover([options.file])
    own = [info for info in registry.infos if Path(info.origin) == options.file]
    broken = [info for info in own if info.status == "error"]
    console = open_console()
    for info in broken:
        console.print(f"{info.name}: {info.error}", style="red", markup=False, soft_wrap=True)
    scorers = [info.name for info in own if info.kind == "scorer" and info.status == "ok"]
    failed = bool(broken)
    for name in scorers:
        scorer = cast("Scorer", registry.create("scorer", name, {}))
        for check, run in CHECKS.items():
            problem = _problem(run, scorer)
            failed |= problem is not None
            skipped = check == "gpu" and not torch.cuda.is_available()
            console.print(
                f"{name}: {check}: {problem or ('skipped, there is no GPU here' if skipped else 'ok')}",
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
