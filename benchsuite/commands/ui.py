"""`ui`: a run in the MLflow UI."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import webbrowser
from pathlib import Path
from typing import IO, TYPE_CHECKING

from benchsuite.commands.arguments import positive
from benchsuite.commands.exit_codes import OK
from benchsuite.commands.printing import check_output, put
from benchsuite.errors import BenchsuiteError, UsageError

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Sequence

_MOST_PORTS = 65535
_SECONDS_TO_START = 180.0
_SECONDS_BETWEEN_LOOKS = 0.2
_SECONDS_TO_END = 10.0
_LINES_SHOWN = 5


def add_arguments(parser: ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("run", type=Path, metavar="DIR")
    parser.add_argument("--port", type=positive, default=5000)
    parser.add_argument("--open", action="store_true", help="open it in the browser too")


def run(options: Namespace) -> int:
    """Serve a run's MLflow store in the MLflow UI, until Ctrl-C."""
    from benchsuite.tracking import database_damage, repair_command, ui_address, ui_command

    database = options.run / "mlflow.db"
    if not database.is_file():
        raise UsageError(f"{options.run} has no mlflow.db: it is no run directory, or nothing was logged yet")
    if (damage := database_damage(database)) is not None:
        cure = f"{repair_command(database)} moves it aside and fills a new one"
        raise UsageError(f"{database} is damaged ({damage}); {cure}")
    address = ui_address(options.run, port=options.port)
    _check_port(options.port)
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, _as_ctrl_c)  # the server must not stay behind
    with tempfile.TemporaryFile() as log:
        server = _start(ui_command(options.run, port=options.port), log)
        try:
            _wait_until_it_answers(server, options.port, log)
            put(f"MLflow UI of {options.run}: {address}\n(Ctrl-C ends it)")
            check_output()
            if options.open:
                webbrowser.open(address)
            server.wait()
        except KeyboardInterrupt:  # this is how one ends it
            return OK
        finally:
            _end(server)
        raise BenchsuiteError(f"the MLflow server has ended: {_last_lines(log)}")


def _as_ctrl_c(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _check_port(port: int) -> None:
    """Raise `UsageError` for a port that the server cannot have."""
    if port > _MOST_PORTS:
        raise UsageError(f"--port {port}: ports go up to {_MOST_PORTS}")
    with socket.socket() as probe:
        # As the server does: a port is free again as soon as its last server has ended.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            why = error.strerror[:1].lower() + error.strerror[1:] if error.strerror else str(error)
            raise UsageError(f"--port {port}: {why}; name another one with --port") from None


def _start(command: Sequence[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
    """The server, in a group of its own: it starts workers, and Ctrl-C is for this process alone."""
    return subprocess.Popen(  # noqa: S603 - a fixed program with checked arguments
        command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
    )


def _wait_until_it_answers(server: subprocess.Popen[bytes], port: int, log: IO[bytes]) -> None:
    deadline = time.monotonic() + _SECONDS_TO_START
    if sys.stderr is not None and sys.stderr.isatty():
        put("starting MLflow …")
        check_output()
    while not _answers(port):
        if server.poll() is not None:
            raise BenchsuiteError(f"the MLflow server did not start: {_last_lines(log)}")
        if time.monotonic() > deadline:
            raise BenchsuiteError(
                f"the MLflow server does not answer after {_SECONDS_TO_START:g} s: {_last_lines(log)}"
            )
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def _answers(port: int) -> bool:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except (OSError, ValueError):
        return False


def _end(server: subprocess.Popen[bytes]) -> None:
    """End the server and what it started."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(server.pid, how)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(_SECONDS_TO_END)
            return


def _last_lines(log: IO[bytes]) -> str:
    log.seek(0)
    lines = [line for line in log.read().decode(errors="replace").splitlines() if line.strip()]
    return "\n".join(lines[-_LINES_SHOWN:]) or "it said nothing"
