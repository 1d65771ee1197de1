"""Workers that misbehave, each as the main function of its process."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

from benchsuite.execution.logs import redirect_output
from benchsuite.execution.messages import Completed, Finished, Started, encoded
from benchsuite.store.record import TrialRecord

if TYPE_CHECKING:
    from multiprocessing.connection import Connection


def work(connection: Connection, job: Any, surroundings: Any, device: str, group: int | None) -> None:
    """Do what the job's name says."""
    os.setpgid(0, group or 0)
    redirect_output(surroundings.configuration.run / "stages" / job.key)
    os.write(1, f"{os.getpid()} ".encode())
    connection.send_bytes(encoded(Started(None, device)))
    DEEDS[job.deed](connection)
    connection.send_bytes(encoded(Completed()))
    connection.close()
    os._exit(0)


def _fork(_connection: Connection) -> None:
    """A child that holds the connection open for longer than anybody waits."""
    child = os.fork()
    if child == 0:
        time.sleep(900)
        os._exit(0)
    os.write(1, f"{child} ".encode())


def _grow(_connection: Connection) -> None:
    held = []
    while True:
        held.append(bytearray(os.urandom(1 << 20)) * 50)
        time.sleep(0.05)


def _print(_connection: Connection) -> None:
    for _ in range(40):
        sys.stdout.write("x" * 100_000)
        sys.stdout.flush()
        time.sleep(0.02)


def _two_trials(connection: Connection) -> None:
    for key in ("1" * 20, "2" * 20):
        connection.send_bytes(encoded(Started(key, key)))
        time.sleep(1.5)
        connection.send_bytes(encoded(Finished(TrialRecord(key, {}, "done"))))


DEEDS: dict[str, Any] = {
    "nothing": lambda _: None,
    "fork": _fork,
    "grow": _grow,
    "print": _print,
    "two-trials": _two_trials,
    "sleep": lambda _: time.sleep(900),
    "leave": lambda _: os._exit(0),
    "raise": lambda _: sys.exit("no"),
    "real-time-signal": lambda _: os.kill(os.getpid(), 40),
    "abort": lambda _: os.abort(),
    "pickle": lambda connection: connection.send({"not": "a message"}),
    "nonsense": lambda connection: connection.send_bytes(b'{"kind": "finished", "record": 3}'),
    "huge": lambda connection: connection.send_bytes(b"x" * (65 << 20)),
}
