"""Workers that misbehave, each as the main function of its process."""

from __future__ import annotations

import os
import struct
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from benchsuite.execution.jobs import TrialsJob
from benchsuite.execution.local import LocalExecutor
from benchsuite.execution.logs import redirect_output
from benchsuite.execution.messages import (
    Completed,
    Finished,
    Measured,
    StageFailed,
    Started,
    Told,
    encoded,
)
from benchsuite.store.record import TrialRecord

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection


def work(connection: Connection, job: Any, surroundings: Any, device: str) -> None:
    """Do what the job's name says."""
    redirect_output(surroundings.configuration.run / "stages" / job.key)
    os.write(1, f"{os.getpid()} ".encode())
    connection.send_bytes(encoded(Started(None, device)))
    if isinstance(job, TrialsJob):
        trials_of(connection, job)
    else:
        DEEDS[job.deed](connection, *([surroundings] if job.deed == "rounds" else []))
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


def _daemon(_connection: Connection) -> None:
    """A grandchild that leaves the group and loses its parent."""
    if os.fork() == 0:
        os.setsid()
        child = os.fork()
        if child == 0:
            time.sleep(900)
        os.write(1, f"{child} ".encode())
        os._exit(0)
    os.wait()


def _kill_server_once(_connection: Connection) -> None:
    """Kill the parent, which is the server, the first time that this is done in the folder of the log."""
    mark = Path("/proc/self/fd/1").readlink().with_name("killed")
    if not mark.exists():
        mark.touch()
        _kill_server(_connection)


def _kill_server(_connection: Connection) -> None:
    time.sleep(0.5)
    os.kill(os.getppid(), 9)
    time.sleep(900)


@dataclass(frozen=True)
class Inner:
    """A job of a worker that has workers itself, as rounds are scored."""

    deed: str
    key: str
    title: str = ""


def _rounds(_connection: Connection, surroundings: Any) -> None:
    """A round that forks, a note of what is left of it, and a round in work when this process dies."""
    executor = LocalExecutor(work, surroundings, ["cpu"])
    executor.start(Inner("fork", "first"))
    while executor.free_slots() == 0:
        executor.wait(1.0)
    log = surroundings.configuration.run / "stages/first/worker.log"
    (log.parent / "left").write_text(
        " ".join(word for word in log.read_text().split() if is_running(int(word)))
    )
    executor.start(Inner("daemon-and-sleep", "second"))
    log = surroundings.configuration.run / "stages/second/worker.log"
    while not log.exists() or len(log.read_text().split()) < 2:
        executor.wait(0.1)
    os._exit(3)


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _daemon_and_sleep(connection: Connection) -> None:
    _daemon(connection)
    time.sleep(900)


def _flood(message: bytes, pause: float = 0.0) -> Callable[[Connection], None]:
    def send(connection: Connection) -> None:
        while True:
            connection.send_bytes(message)
            time.sleep(pause)

    return send


def _part(connection: Connection) -> None:
    """The header of a long message and a little of it."""
    os.write(connection.fileno(), struct.pack("!i", 15_000_000) + b"x" * 100)
    time.sleep(900)


def _link(_connection: Connection) -> None:
    """A link in place of the log to a long file beside the run's folder."""
    log = Path("/proc/self/fd/1").readlink()
    log.unlink()
    log.symlink_to(log.parents[2] / "victim")
    time.sleep(1.0)


def outcome(key: str, **changes: Any) -> bytes:
    metrics = {"accuracy/top1": 0.5, "accuracy/top1_dense": 0.6}
    return encoded(Finished(replace(TrialRecord(key, {}, "done", metrics=metrics), **changes)))


def _say(*messages: bytes) -> Callable[[Connection], None]:
    def send(connection: Connection) -> None:
        for message in messages:
            connection.send_bytes(message)
        time.sleep(1.0)

    return send


def trials_of(connection: Connection, job: TrialsJob) -> None:
    """Work of a second and a half for each trial."""
    for trial in job.trials:
        connection.send_bytes(encoded(Started(trial.key, "")))
        time.sleep(1.5)
        connection.send_bytes(outcome(trial.key))


DEEDS: dict[str, Any] = {
    "nothing": lambda _: None,
    "fork": _fork,
    "grow": _grow,
    "print": _print,
    "daemon": _daemon,
    "daemon-and-sleep": _daemon_and_sleep,
    "rounds": _rounds,
    "kill-server": _kill_server,
    "kill-server-once": _kill_server_once,
    "flood": _flood(encoded(Told("x"))),
    "beat": _flood(b'{"kind": "started", "trial": null, "what": ""}', 0.3),
    "part": _part,
    "link": _link,
    "forge": _say(outcome("1" * 20)),
    "leave-folder": _say(encoded(Started("../..", ""))),
    "measure": _say(encoded(Measured("x", {}))),
    "not-a-failure": _say(encoded(StageFailed("done", ""))),
    "wait": lambda _: time.sleep(2.5),
    "sleep": lambda _: time.sleep(900),
    "leave": lambda _: os._exit(0),
    "raise": lambda _: sys.exit("no"),
    "real-time-signal": lambda _: os.kill(os.getpid(), 40),
    "abort": lambda _: os.abort(),
    "pickle": lambda connection: connection.send({"not": "a message"}),
    "nonsense": lambda connection: connection.send_bytes(b'{"kind": "finished", "record": 3}'),
    "huge": lambda connection: connection.send_bytes(b"x" * (65 << 20)),
}
