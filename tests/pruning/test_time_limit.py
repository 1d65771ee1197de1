"""The time limit of the analysis."""

from __future__ import annotations

import threading
import time

import pytest

from benchsuite.errors import Unsupported
from benchsuite.pruning.tracing.time_limit import time_limit


def _spin(seconds: float) -> None:
    """Use that much processor time of this thread."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        try:
            sum(range(1000))
        except Exception:  # noqa: BLE001 - analysed code may catch everything
            continue


def test_endless_work_is_stopped() -> None:
    start = time.thread_time()
    message = r"spinning took longer than 0\.1 s of processor time; spin less"
    with pytest.raises(Unsupported, match=message), time_limit(0.1, "spinning", "spin less"):
        _spin(20)
    assert time.thread_time() - start >= 0.1


def test_a_busy_machine_changes_no_outcome() -> None:
    """Neither waiting nor what other threads use counts."""
    others = [threading.Thread(target=_spin, args=(0.3,)) for _ in range(2)]
    with time_limit(0.2, "waiting", ""):
        for other in others:
            other.start()
        for other in others:
            other.join()


def test_quick_work_is_not_touched_afterwards() -> None:
    with time_limit(0.05, "spinning", ""):
        pass
    _spin(0.2)


def test_errors_pass_through() -> None:
    with pytest.raises(KeyError), time_limit(5, "spinning", ""):
        raise KeyError("x")


def test_other_threads_are_limited_as_well() -> None:
    caught: list[str] = []

    def work() -> None:
        try:
            with time_limit(0.1, "spinning", "spin less"):
                _spin(20)
        except Unsupported as error:
            caught.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert caught == ["spinning took longer than 0.1 s of processor time; spin less"]


class _Finalised:
    """Its finaliser takes long, and Python drops what is raised in one."""

    def __del__(self) -> None:
        _spin(0.3)


def _finalise_and_spin() -> None:
    _Finalised()
    _spin(20)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interruption_that_was_lost_is_repeated() -> None:
    with pytest.raises(Unsupported), time_limit(0.05, "spinning", ""):
        _finalise_and_spin()


def test_a_limit_that_is_over_at_once_is_an_answer() -> None:
    for _ in range(300):
        with pytest.raises(Unsupported), time_limit(0.0, "spinning", ""):
            _spin(20)
