"""`ui`: a run in the MLflow UI."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from benchsuite.commands.arguments import positive
from benchsuite.commands.printing import check_output, put
from benchsuite.errors import UsageError

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace


def add_arguments(parser: ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("run", type=Path, metavar="DIR")
    parser.add_argument("--port", type=positive, default=5000)


def run(options: Namespace) -> int:
    """Serve a run's MLflow store in the MLflow UI, until Ctrl-C."""
    from benchsuite.tracking import database_damage, repair_command, ui_address, ui_command

    database = options.run / "mlflow.db"
    if not database.is_file():
        raise UsageError(f"{options.run} has no mlflow.db: it is no run directory, or nothing was logged yet")
    if (damage := database_damage(database)) is not None:
        cure = f"{repair_command(database)} moves it aside and fills a new one"
        raise UsageError(f"{database} is damaged ({damage}); {cure}")
    command = ui_command(options.run, port=options.port)
    put(f"MLflow UI of {options.run}: {ui_address(port=options.port)} (Ctrl-C ends it)")
    check_output()
    os.execv(command[0], command)  # noqa: S606 - a fixed program with checked arguments
