"""Ctrl-C stops at once as long as nothing is in work, then first after what is, and then at once."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from benchsuite.execution.stopping import Stopping

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def listening(told: list[str], hours: float | None = None) -> Stopping:
    stop = Stopping(hours, told.append)
    stop.listen()
    return stop


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


def test_before_anything_is_in_work_the_first_stops_at_once():
    told: list[str] = []
    stop = listening(told)
    with pytest.raises(KeyboardInterrupt):
        send(signal.SIGINT)
    assert told == []
    assert not stop()


def test_what_is_in_work_is_finished_and_the_second_stops_at_once():
    told: list[str] = []
    stop = listening(told)
    stop.working(0, "training")
    stop.working(1, "scoring by obd")
    stop.working(2, "pruning")
    stop.idle(0)
    assert not stop()
    send(signal.SIGINT)
    assert stop()
    assert stop()
    assert told == ["finishing what is in work (scoring by obd, pruning); Ctrl-C again stops at once"]
    with pytest.raises(KeyboardInterrupt):
        send(signal.SIGINT)


def test_between_two_jobs_the_first_still_lets_all_end():
    told: list[str] = []
    stop = listening(told)
    stop.working(0, "training")
    stop.idle(0)
    send(signal.SIGINT)
    assert stop()
    assert told == ["finishing what is in work; Ctrl-C again stops at once"]


def test_the_hours_end_a_run_likewise():
    told: list[str] = []
    stop = listening(told, hours=0)
    stop.working(0, "training")
    assert stop()
    assert told == ["0 hours are over: finishing what is in work (training); Ctrl-C stops at once"]
    with pytest.raises(KeyboardInterrupt):
        send(signal.SIGINT)


def test_to_be_terminated_is_no_question():
    stop = listening([])
    stop.working(0, "training")
    with pytest.raises(KeyboardInterrupt):
        send(signal.SIGTERM)
