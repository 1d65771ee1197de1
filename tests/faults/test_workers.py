"""The executor of this machine: whatever a worker does, its end is one message, and nothing is left."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from workers import work

from benchsuite.execution.local import LocalExecutor
from benchsuite.execution.messages import Ended, Finished
from benchsuite.execution.surroundings import Limits, Surroundings
from benchsuite.trials.worker_context import RunConfiguration

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True)
class Deed:
    """A job that does one thing."""

    deed: str
    key: str = "job"
    title: str = ""


@pytest.fixture
def executor_of(tmp_path: Path) -> Iterator[Any]:
    made = []

    def make(**limits: Any) -> LocalExecutor:
        surroundings = Surroundings(RunConfiguration(tmp_path, tmp_path), 1, limits=Limits(**limits))
        made.append(LocalExecutor(work, surroundings, ["cpu"]))
        return made[-1]

    yield make
    for executor in made:
        executor.close()


def events(executor: LocalExecutor, deed: str) -> list[Any]:
    """Every message of a job up to its end."""
    executor.start(Deed(deed))  # type: ignore[arg-type]  # a job of the test's own
    found: list[Any] = []
    deadline = time.monotonic() + 60
    while not (found and isinstance(found[-1], Ended)):
        assert time.monotonic() < deadline, found
        found += [message for _, _, message in executor.wait(0.2)]
    assert executor.free_slots() == 1
    return found


@pytest.mark.parametrize(
    ("deed", "end"),
    [
        ("nothing", Ended("finished")),
        ("fork", Ended("finished")),
        ("print", Ended("finished")),
        ("leave", Ended("killed", "the worker exited with code 0 before its work was done")),
        ("raise", Ended("killed", "the worker exited with code 1 before its work was done")),
        ("real-time-signal", Ended("killed", "the worker was killed by signal 40")),
        ("abort", Ended("killed", "the worker was killed by SIGABRT")),
    ],
)
def test_the_end_of_a_process_is_its_end(executor_of: Any, deed: str, end: Ended) -> None:
    assert events(executor_of(), deed)[-1] == end


@pytest.mark.parametrize("deed", ["pickle", "nonsense", "huge"])
def test_what_is_no_message_ends_the_worker(executor_of: Any, deed: str) -> None:
    end = events(executor_of(), deed)[-1]
    assert end.reason == "killed"


@pytest.mark.parametrize(("deed", "processes"), [("nothing", 1), ("fork", 2), ("sleep", 1)])
def test_nothing_that_it_started_is_left(executor_of: Any, tmp_path: Path, deed: str, processes: int) -> None:
    events(executor_of(timeout=2.0), deed)
    started = [int(word) for word in (tmp_path / "stages/job/worker.log").read_text().split()]
    assert len(started) == processes
    deadline = time.monotonic() + 10
    while any(map(_is_running, started)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(_is_running, started))


def _is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_more_time_than_allowed_is_a_timeout(executor_of: Any) -> None:
    assert events(executor_of(timeout=1.5), "sleep")[-1] == Ended("timeout", "longer than 1.5 s")


def test_more_memory_than_allowed_is_said(executor_of: Any) -> None:
    end = events(executor_of(memory=1.5e9), "grow")[-1]
    assert end.reason == "killed"
    assert "more than the 1.5 GB that --memory allows" in end.detail


def test_logs_are_cut(executor_of: Any, tmp_path: Path) -> None:
    events(executor_of(log=200_000), "print")
    log = (tmp_path / "stages/job/worker.log").read_bytes()
    assert len(log) < 400_000
    assert b"[cut: the log was longer than it may be]" in log


def test_finishing_ends_a_job_after_the_trial_in_work(executor_of: Any) -> None:
    executor = executor_of()
    executor.start(Deed("two-trials"))
    found: list[Any] = []
    while not any(getattr(message, "trial", None) == "1" * 20 for message in found):
        found += [message for _, _, message in executor.wait(0.2)]
    executor.finish()
    while not isinstance(found[-1], Ended):
        found += [message for _, _, message in executor.wait(0.2)]
    assert [each.record.key for each in found if isinstance(each, Finished)] == ["1" * 20]
    assert found[-1] == Ended("stopped")


def test_closing_kills_what_is_in_work(executor_of: Any) -> None:
    executor = executor_of()
    executor.start(Deed("sleep"))
    time.sleep(0.5)
    (worker,) = executor._workers.values()
    pid = worker.process.pid
    executor.close()
    assert not _is_running(pid)
