"""The executor of this machine: whatever a worker does, its end is one message, and nothing is left."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from small_runs import write_suite
from workers import is_running, work

from benchsuite.execution.jobs import TrialsJob
from benchsuite.execution.local import LocalExecutor
from benchsuite.execution.messages import Ended, Finished
from benchsuite.execution.surroundings import Limits, Surroundings
from benchsuite.plan.matrix import build_plan
from benchsuite.registry.discovery import discover
from benchsuite.suite import load_suite
from benchsuite.trials.worker_context import RunConfiguration

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchsuite.plan.trial import Trial


@dataclass(frozen=True)
class Deed:
    """A job that does one thing."""

    deed: str
    key: str = "job"
    title: str = ""


@pytest.fixture
def executor_of(tmp_path: Path) -> Iterator[Any]:
    made = []

    def make(slots: int = 1, **limits: Any) -> LocalExecutor:
        surroundings = Surroundings(RunConfiguration(tmp_path, tmp_path), 1, limits=Limits(**limits))
        made.append(LocalExecutor(work, surroundings, ["cpu"] * slots))
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


@pytest.mark.parametrize(("deed", "processes"), [("nothing", 1), ("fork", 2), ("daemon", 2), ("sleep", 1)])
def test_nothing_that_it_started_is_left(executor_of: Any, tmp_path: Path, deed: str, processes: int) -> None:
    events(executor_of(timeout=2.0), deed)
    started = [int(word) for word in (tmp_path / "stages/job/worker.log").read_text().split()]
    assert len(started) == processes
    deadline = time.monotonic() + 60
    while any(map(is_running, started)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_running, started))


def trials_in(folder: Path) -> list[Trial]:
    """The trials of a small suite; on one dense model, as those of one job."""
    registry, _ = discover()
    suite = load_suite(write_suite(folder), registry)
    return build_plan(suite, registry, folder)


def test_rounds_leave_nothing_behind_and_die_with_their_trial(executor_of: Any, tmp_path: Path) -> None:
    end = events(executor_of(), "rounds")[-1]
    assert end == Ended("killed", "the worker exited with code 3 before its work was done")
    assert (tmp_path / "stages/first/left").read_text() == ""
    second = [int(word) for word in (tmp_path / "stages/second/worker.log").read_text().split()]
    assert len(second) == 2
    deadline = time.monotonic() + 60
    while any(map(is_running, second)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_running, second))


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


def test_finishing_ends_a_job_after_the_trial_in_work(executor_of: Any, tmp_path: Path) -> None:
    executor = executor_of()
    trials = trials_in(tmp_path)
    executor.start(TrialsJob(tuple(trials)))
    found: list[Any] = []
    while not any(getattr(message, "trial", None) == trials[0].key for message in found):
        found += [message for _, _, message in executor.wait(0.2)]
    executor.finish()
    while not isinstance(found[-1], Ended):
        found += [message for _, _, message in executor.wait(0.2)]
    assert [each.record.key for each in found if isinstance(each, Finished)] == [trials[0].key]
    assert found[-1] == Ended("stopped")


@pytest.mark.parametrize(
    ("deed", "reason"),
    [
        ("forge", "the outcome of a trial that it had not in work"),
        ("leave-folder", "a trial which is none of its job"),
        ("measure", "the latency of a network that it had not in work"),
        ("not-a-failure", "a failure with the status 'done'"),
        ("flood", "more than 200 sentences"),
        ("beat", "twice that it begins"),
    ],
)
def test_what_does_not_fit_the_job_ends_it(executor_of: Any, deed: str, reason: str) -> None:
    end = events(executor_of(), deed)[-1]
    assert end.reason == "killed"
    assert end.detail.startswith("the worker sent what does not fit its job: ")
    assert reason in end.detail


def test_a_message_that_never_becomes_whole_holds_nobody_up(executor_of: Any) -> None:
    assert events(executor_of(timeout=1.5), "part")[-1] == Ended("timeout", "longer than 1.5 s")


def test_no_file_that_a_link_leads_to_is_cut(executor_of: Any, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"x" * 500_000)
    assert events(executor_of(log=200_000), "link")[-1] == Ended("finished")
    assert victim.stat().st_size == 500_000


def test_a_job_that_lost_its_worker_with_the_server_is_done_again(executor_of: Any) -> None:
    executor = executor_of(slots=2)
    first, second = Deed("kill-server-once", "killer"), Deed("wait", "innocent")
    assert ends_of(executor, first, second) == {"killer": Ended("finished"), "innocent": Ended("finished")}


def test_whoever_kills_the_server_again_loses_its_own_job_alone(executor_of: Any, tmp_path: Path) -> None:
    executor = executor_of(slots=3)
    jobs = [
        Deed("kill-server", "killer"),
        Deed("wait", "innocent"),
        TrialsJob(tuple(trials_in(tmp_path)[:2])),
    ]
    found = ends_of(executor, *jobs)
    assert found.pop("killer").detail.startswith("the server of worker processes was killed twice")
    assert set(found.values()) == {Ended("finished")}


def ends_of(executor: LocalExecutor, *jobs: Any) -> dict[str, Ended]:
    for job in jobs:
        executor.start(job)
    found: dict[str, Ended] = {}
    deadline = time.monotonic() + 120
    while len(found) < len(jobs):
        assert time.monotonic() < deadline, found
        found |= {job.key: m for _, job, m in executor.wait(0.2) if isinstance(m, Ended)}
    assert executor.free_slots() == len(executor.slots())
    return found


def test_closing_kills_what_is_in_work(executor_of: Any) -> None:
    executor = executor_of()
    executor.start(Deed("sleep"))
    time.sleep(0.5)
    (worker,) = executor._workers.values()
    pid = worker.process.pid
    executor.close()
    assert not is_running(pid)
