"""What a process that logs models may do; the tests name it in place of logging."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from benchsuite.tracking.request import Request


class Opened:
    """What runs code where it is unpickled: it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def behave(connection: Connection, request: Request) -> None:
    """Do what each network's reason says, and then answer for it."""
    os.setpgid(0, 0)
    _note(request, "started")
    if request.origin != "here":
        DEEDS[request.origin](connection, request)
    answer(connection, None)
    for choice in request.choices:
        _note(request, choice.reason)
        if choice.reason in DEEDS:
            DEEDS[choice.reason](connection, request)
        answer(connection, None if choice.reason == "good" else f"{choice.reason} \x1b[31m\u202e")
    os._exit(0)


def answer(connection: Connection, trouble: str | None) -> None:
    os.write(connection.fileno(), json.dumps({"trouble": trouble}).encode() + b"\n")


def _note(request: Request, what: str) -> None:
    with Path(request.directory, "notes").open("a") as file:
        file.write(f"{what}\n")


def _leave_helpers(connection: Connection, request: Request) -> None:
    """End, while a fork and another program hold the connection open."""
    helper = [sys.executable, "-c", "import time; time.sleep(600)"]
    program = subprocess.Popen(helper, pass_fds=[connection.fileno()], cwd=request.directory)
    forked = os.fork()
    if forked == 0:
        time.sleep(600)
        os._exit(0)
    Path(request.directory, "helpers").write_text(f"{program.pid} {forked}")
    os._exit(3)


def _hang(_connection: Connection, _request: Request) -> None:
    time.sleep(600)


def _drip(connection: Connection, _request: Request) -> None:
    while True:
        os.write(connection.fileno(), b" ")
        time.sleep(0.05)


def _flood(connection: Connection, _request: Request) -> None:
    while True:
        os.write(connection.fileno(), b"x" * 10_000)


def _pickle(connection: Connection, request: Request) -> None:
    connection.send(Opened(Path(request.directory, "opened")))
    os.write(connection.fileno(), b"\n")
    time.sleep(600)


def _close(connection: Connection, _request: Request) -> None:
    connection.close()
    time.sleep(600)


def _kill_itself(_connection: Connection, _request: Request) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def _send(text: bytes) -> Any:
    def send(connection: Connection, _request: Request) -> None:
        os.write(connection.fileno(), text + b"\n")
        time.sleep(600)

    return send


DEEDS: dict[str, Any] = {
    "leaves helpers": _leave_helpers,
    "hangs": _hang,
    "drips": _drip,
    "floods": _flood,
    "pickles": _pickle,
    "closes": _close,
    "dies": _kill_itself,
    "sends a list": _send(b"[]"),
    "sends a number": _send(b'{"trouble": 1}'),
    "sends nothing useful": _send(b"{}x"),
    "nests": _send(b"[" * 100_000),
    "sends bytes": _send(b'{"trouble": "\xff"}'),
}
