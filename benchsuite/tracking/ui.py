"""The command that serves a run's MLflow store."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


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


def ui_address(*, port: int = 5000) -> str:
    """Return the address of the suite's trials for a browser, in MLflow's view for training.

    In a run directory's own store the suite is experiment 1, since MLflow makes a default experiment 0.
    """
    return f"http://127.0.0.1:{port}/#/experiments/1?workflowType=machine_learning"
