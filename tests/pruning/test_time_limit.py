"""The time limit of the analysis."""

from __future__ import annotations

import threading
import time

import pytest

from benchsuite.errors import Unsupported
from benchsuite.pruning.tracing.time_limit import time_limit


def _spin(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            sum(range(1000))
        except Exception:  # noqa: BLE001 - analysed code may catch everything
            continue


def test_endless_work_is_stopped() -> None:
    start = time.monotonic()
    with pytest.raises(Unsupported, match=r"spinning took longer than 0\.1 s"), time_limit(0.1, "spinning"):
        _spin(20)
    assert time.monotonic() - start < 5


def test_quick_work_is_not_touched_afterwards() -> None:
    with time_limit(0.05, "spinning"):
        pass
    _spin(0.2)


def test_errors_pass_through() -> None:
    with pytest.raises(KeyError), time_limit(5, "spinning"):
        raise KeyError("x")


def test_other_threads_are_limited_as_well() -> None:
    caught: list[str] = []

    def work() -> None:
        try:
            with time_limit(0.1, "spinning"):
                _spin(20)
        except Unsupported as error:
            caught.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(5)
    assert caught == ["spinning took longer than 0.1 s"]


class _Finalised:
    """Its finaliser takes long, and Python drops what is raised in one."""

    def __del__(self) -> None:
        _spin(0.3)


def _finalise_and_spin() -> None:
    _Finalised()
    _spin(20)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interruption_that_was_lost_is_repeated() -> None:
    with pytest.raises(Unsupported), time_limit(0.05, "spinning"):
        _finalise_and_spin()


def test_a_limit_that_is_over_at_once_is_an_answer() -> None:
    for _ in range(300):
        with pytest.raises(Unsupported), time_limit(0.0, "spinning"):
            _spin(20)
