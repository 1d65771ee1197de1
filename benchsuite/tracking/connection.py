"""Opening an MLflow store, quietly and without waiting for the disk."""

from __future__ import annotations

import logging
import os
import sqlite3
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from mlflow import MlflowClient
    from mlflow.entities import Run

_RUNS_PER_PAGE = 1000
_DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # A server that is down is asked again later, not for minutes at once.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}


def connect(uri: str | None, database: Path) -> MlflowClient:
    """Return a client of the server at `uri`, or of the SQLite database, which is created if absent."""
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    for chatty in ("mlflow", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    if uri is None:
        _trust_the_system_to_write()
    return MlflowClient(tracking_uri=uri or f"sqlite:///{database}")


def search(client: MlflowClient, experiment: str, tag: str, value: str) -> list[Run]:
    """Every run of the experiment with this tag."""
    found: list[Run] = []
    token: str | None = None
    while True:
        page = client.search_runs(
            [experiment], f"tags.`{tag}` = '{value}'", max_results=_RUNS_PER_PAGE, page_token=token
        )
        found += page
        token = page.token
        if not token:
            return found


def _trust_the_system_to_write() -> None:
    """Let this process's SQLite connections leave writing to the system instead of waiting for the disk.

    A view that can be filled again need not survive a power cut, and MLflow commits nine times a trial,
    which on a busy disk takes longer than everything else. The death of the process loses nothing.
    """
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    if not event.contains(Engine, "connect", _do_not_wait_for_disk):
        event.listen(Engine, "connect", _do_not_wait_for_disk)


def _do_not_wait_for_disk(connection: object, _record: object) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous = OFF")
