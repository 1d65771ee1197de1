"""Opening an MLflow store, without its messages and without waiting for the disk."""

from __future__ import annotations

import json
import logging
import os
import re
import shlex
import socket
import sqlite3
import time
import urllib.request
from contextlib import closing
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from benchsuite.errors import BenchsuiteError
from benchsuite.tracking import mlflow_fields

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path
    from urllib.parse import SplitResult

    from mlflow import MlflowClient
    from mlflow.entities import Run, RunInfo

    from benchsuite.store.record import TrialRecord
    from benchsuite.tracking.curves import Point

_RUNS_PER_PAGE = 1000
_ENTITIES_PER_BATCH = 1000
_SECONDS_TO_CONNECT = 5.0
_LONGEST_REASON = 200
_DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # A server that is down is tried again later; MLflow itself should not retry for minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}


def connect(uri: str | None, database: Path) -> MlflowClient:
    """Return a client of the server at `uri`, or of the SQLite database, which is created if absent.

    Raises:
        BenchsuiteError: the database cannot be used, or nothing listens at the server's address.
    """
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    if uri is not None:
        _knock(uri)
    from mlflow import MlflowClient

    for chatty in ("mlflow", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # It shows a traceback of what it raises too.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    if uri is None:
        _trust_the_system_to_write()
        if not _check(database):
            _make(database)
    return MlflowClient(tracking_uri=uri or f"sqlite:///{database}")


def _knock(uri: str) -> None:
    """Raise an error for a server that nothing can be sent to, which MLflow would try for longer."""
    address = urlsplit(uri)
    if address.scheme not in ("http", "https") or not address.hostname or _by_proxy(address):
        return
    try:
        port = address.port or (443 if address.scheme == "https" else 80)
        socket.create_connection((address.hostname, port), timeout=_SECONDS_TO_CONNECT).close()
    except (OSError, ValueError) as error:
        raise BenchsuiteError(why(error)) from error


def without_password(uri: str) -> str:
    """The address as it may be shown: whoever reads a log must not learn what stands before the host."""
    return re.sub(r"//[^/@]*@", "//…@", uri)


def _by_proxy(address: SplitResult) -> bool:
    """Whether the address is reached through a proxy, so that it cannot be tried without."""
    proxies = urllib.request.getproxies()
    return (address.scheme in proxies or "all" in proxies) and not urllib.request.proxy_bypass(
        address.hostname or ""
    )


def why(error: BaseException) -> str:
    """Why a store does not answer, in few words: what the system said, else the first line of the message."""
    cause: BaseException | None = error
    seen: set[int] = set()
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        if isinstance(cause, TimeoutError):
            return "nothing came back in time"
        if isinstance(cause, OSError) and cause.errno is not None and cause.strerror:
            return cause.strerror[:1].lower() + cause.strerror[1:]
        cause = cause.__cause__ or cause.__context__
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return first if len(first) <= _LONGEST_REASON else f"{first[: _LONGEST_REASON - 1]}…"


def _check(database: Path) -> bool:
    """Whether there is a store, and not an empty or unfinished one.

    Raises:
        BenchsuiteError: the database cannot be opened and written, which MLflow would try for minutes.
    """
    try:
        with closing(sqlite3.connect(database, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            found = _has_tables(connection)
            connection.execute("ROLLBACK")
            return found
    except sqlite3.Error as error:
        cure = f"; {repair_command(database)} moves it aside and fills a new one" if _is_damage(error) else ""
        raise BenchsuiteError(f"{database}: {error}{cure}") from error


def _has_tables(connection: sqlite3.Connection) -> bool:
    """Whether something has made all its tables in the database, which MLflow ends with an experiment."""
    names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    if "experiments" not in names:
        return bool(names) and "alembic_version" not in names
    return connection.execute("SELECT 1 FROM experiments").fetchone() is not None


def _make(database: Path) -> None:
    """Put a new store in the place of an empty or unfinished one.

    MLflow makes its tables in many steps over seconds, and cannot go on from a part of them, which a killed
    process leaves. So they are made in a file beside it, which then takes the database's name.
    """
    from mlflow import MlflowClient

    fresh = database.with_name(f".{database.name}.{os.getpid()}")
    _drop_unfinished(database)
    try:
        MlflowClient(tracking_uri=f"sqlite:///{fresh}").get_experiment("0")
        fresh.replace(database)
    finally:
        _drop_unfinished(database)


def _drop_unfinished(database: Path) -> None:
    """Delete what this process or a killed one has left of `_make`; the run directory has one writer."""
    for file in database.parent.glob(f".{database.name}.*"):
        if re.fullmatch(r"\d+(?:-journal)?", file.name.removeprefix(f".{database.name}.")):
            file.unlink(missing_ok=True)


def database_damage(database: Path) -> str | None:
    """What is wrong with a file that should be a database, or None; nothing is written."""
    place = quote(str(database.absolute()))
    try:
        with closing(sqlite3.connect(f"file:{place}?mode=ro&immutable=1", uri=True)) as connection:
            return None if _has_tables(connection) else "it was never finished"
    except sqlite3.Error as error:
        return str(error) if _is_damage(error) else None


def repair_command(database: Path) -> str:
    """The command that mends the database of a run directory."""
    return f"benchsuite doctor {shlex.quote(str(database.parent))} --repair"


def _is_damage(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", None) in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)


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


def log_points(
    client: MlflowClient,
    run_id: str,
    points: Sequence[Point],
    params: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
) -> None:
    """Log values, parameters and tags of a run, in one batch if that fits MLflow's limits.

    A value without a known time is logged with the current time.
    """
    from mlflow.entities import Metric, Param, RunTag

    now = int(time.time() * 1000)
    metrics = [Metric(p.name, p.value, p.milliseconds or now, p.step) for p in points]
    entries = [Param(name, value) for name, value in (params or {}).items()]
    labels = [RunTag(name, value) for name, value in (tags or {}).items()]
    room = _ENTITIES_PER_BATCH - len(entries) - len(labels)
    client.log_batch(run_id, metrics=metrics[:room], params=entries, tags=labels)
    for start in range(room, len(metrics), _ENTITIES_PER_BATCH):
        client.log_batch(run_id, metrics=metrics[start : start + _ENTITIES_PER_BATCH])


def log_dataset(client: MlflowClient, run_id: str, record: TrialRecord) -> None:
    """Log the data set of a trial as the input of a run."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    name = str(record.axes.get("dataset", ""))
    data = Dataset(name, mlflow_fields.dataset_digest(record), "benchsuite", json.dumps({"dataset": name}))
    client.log_inputs(run_id, datasets=[DatasetInput(data, [InputTag("mlflow.data.context", "training")])])


def log_files(client: MlflowClient, run: RunInfo, files: Iterable[Path]) -> None:
    """Log files as artifacts of a run, without asking the store again where it keeps them."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    place = get_artifact_repository(run.artifact_uri, tracking_uri=client.tracking_uri)
    for file in files:
        place.log_artifact(str(file))  # type: ignore[no-untyped-call]  # MLflow has no annotation here


def _trust_the_system_to_write() -> None:
    """Let this process's SQLite connections leave writing to the system, without waiting for the disk.

    A view that can be filled again may be lost in a power cut, and MLflow commits nine times per trial, which
    on a busy disk takes longer than everything else. Nothing is lost if only the process is killed.
    """
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    if not event.contains(Engine, "connect", _do_not_wait_for_disk):
        event.listen(Engine, "connect", _do_not_wait_for_disk)


def _do_not_wait_for_disk(connection: object, _record: object) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous = OFF")
