"""The command that serves a run's MLflow store, and the address at which its trials are listed."""

from __future__ import annotations

import shutil
import sqlite3
import sys
from contextlib import closing
from typing import TYPE_CHECKING

from benchsuite.errors import UsageError
from benchsuite.tracking.run_list import FLAT, VIEW, VIEW_TAG

if TYPE_CHECKING:
    from pathlib import Path

_DEFAULT_EXPERIMENT = 0
"""MLflow makes it in every store, and a run directory leaves it empty."""


def ui_command(directory: Path, *, port: int = 5000) -> list[str]:
    """Return the command line that serves the run's trials at http://127.0.0.1:`port`.

    It serves only this machine, with one worker, without MLflow's own telemetry and job runners.
    """
    directory = directory.resolve()
    return [
        shutil.which("env") or "/usr/bin/env",
        "MLFLOW_DISABLE_TELEMETRY=true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false",
        sys.executable,
        *("-m", "mlflow", "server"),
        *("--backend-store-uri", f"sqlite:///{directory / 'mlflow.db'}"),
        *("--artifacts-destination", (directory / "mlartifacts").as_uri()),
        *("--host", "127.0.0.1"),
        *("--port", str(port)),
        *("--workers", "1"),
    ]


def ui_address(directory: Path, *, port: int = 5000) -> str:
    """Return the address of the suite's trials for a browser, in MLflow's view for training.

    The list opens with the columns that the run's store was given, or only sorted where it was given none.

    Raises:
        UsageError: the run's store cannot be read, or nothing was logged to it.
    """
    experiment, has_view = _experiment(directory / "mlflow.db")
    how = f"viewStateShareKey={VIEW}" if has_view else FLAT
    return f"http://127.0.0.1:{port}/#/experiments/{experiment}/runs?workflowType=machine_learning&{how}"


def _experiment(database: Path) -> tuple[int, bool]:
    """The run's experiment, and whether it has a view; without MLflow, whose import takes seconds."""
    try:
        with closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            found = connection.execute(
                "SELECT experiment_id FROM experiments "
                "WHERE experiment_id != ? AND lifecycle_stage = 'active' "
                "ORDER BY last_update_time DESC, experiment_id DESC",
                (_DEFAULT_EXPERIMENT,),
            ).fetchone()
            if found is None:
                raise UsageError(f"{database}: nothing was logged yet")
            tags = connection.execute(
                "SELECT COUNT(*) FROM experiment_tags WHERE experiment_id = ? AND key = ?",
                (found[0], VIEW_TAG),
            ).fetchone()
    except sqlite3.Error as error:
        raise UsageError(f"{database} is no MLflow store: {error}") from error
    return int(found[0]), bool(tags[0])
