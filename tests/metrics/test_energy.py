from __future__ import annotations

import itertools
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from benchsuite.hardware.nvml import energy_meter
from benchsuite.metrics import energy as energy_module
from benchsuite.metrics.energy import energy_between, measure_energy
from benchsuite.metrics.latency import Latency, Timing
from benchsuite.metrics.median_interval import MedianInterval

if TYPE_CHECKING:
    from collections.abc import Callable

EVEN = MedianInterval(1.0, 1.0, 1.0)


def latency(dense_ms: float, pruned_ms: float, batch_size: int) -> Latency:
    timings = [Timing(ms, ms, ms) for ms in (dense_ms, pruned_ms)]
    return Latency(timings[0], timings[1], EVEN, True, batch_size, samples=7, threads=1)


# The arithmetic.


@given(
    period=st.floats(0.001, 0.2),
    phase=st.floats(0, 0.2),
    chunk=st.floats(0.0005, 0.05),
    watts=st.floats(50, 700),
    seconds=st.floats(0.45, 3),
    per_second=st.floats(1, 1e6),
)
def test_between_steps_energy_and_samples_are_those_of_the_same_time(
    period: float, phase: float, chunk: float, watts: float, seconds: float, per_second: float
) -> None:
    """At an even power and pace a sample costs what it costs, wherever the counter's steps lie."""
    steps = [(float(t), watts * float(t)) for t in np.arange(phase - 1, seconds + 1, period)]
    progress = [(float(t), per_second * float(t)) for t in np.arange(0, seconds + chunk, chunk)]
    found = energy_between(steps, progress)
    assert found is not None
    joules, samples = found
    assert joules / samples == pytest.approx(watts / per_second, rel=1e-6)
    assert joules >= watts * (progress[-1][0] - 2 * period) - 1e-6, "nearly all of it is used"


def test_samples_that_come_unevenly_are_counted_as_they_come() -> None:
    progress = [(0.0, 0.0), (1.0, 10.0), (2.0, 40.0), (4.0, 50.0)]
    steps = [(-1.0, 5.0), (0.5, 100.0), (1.5, 130.0), (3.0, 190.0), (5.0, 1000.0)]
    assert energy_between(steps, progress) == (90.0, 45.0 - 5.0)


@pytest.mark.parametrize("steps", [[], [(0.5, 1.0)], [(-1.0, 1.0), (0.5, 2.0), (7.0, 9.0)]])
def test_a_single_step_tells_nothing(steps: list[tuple[float, float]]) -> None:
    assert energy_between(steps, [(0.0, 0.0), (1.0, 10.0)]) is None


# The measurement, with real time and a made-up counter.


class Board:
    """Uses power in real time, as whoever works last says; the counter shows it now and then, and slowly."""

    def __init__(self, period: float, reading_s: float = 0.0, drift: float = 0.0) -> None:
        self.period, self.reading_s, self.drift = period, reading_s, drift
        self.watts, self.joules = 10.0, 0.0
        self.start = self.at = time.perf_counter()
        self.calls: list[str] = []
        self._shown, self._step = 0.0, 0
        self._lock = threading.Lock()

    def turn_to(self, watts: float) -> None:
        with self._lock:
            self._pass_time()
            self.watts = watts

    def _pass_time(self) -> None:
        now = time.perf_counter()
        self.joules += (now - self.at) * self.watts * (1 + self.drift * (now - self.start))
        self.at = now

    def counter(self) -> float:
        with self._lock:
            self._pass_time()
            step = int((self.at - self.start) / self.period)
            if step > self._step:
                self._step, self._shown = step, self.joules
            shown = self._shown
        time.sleep(self.reading_s)
        return shown


class Burner(nn.Module):
    """Takes a given time and power for a call."""

    def __init__(self, board: Board, name: str, seconds: float, watts: float) -> None:
        super().__init__()
        self.board, self.name, self.seconds, self.watts = board, name, seconds, watts

    def __deepcopy__(self, memo: object) -> Burner:
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.board.turn_to(self.watts)
        self.board.calls.append(self.name)
        time.sleep(self.seconds)
        return x


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> Callable[[Board], Board]:
    def use(board: Board) -> Board:
        monkeypatch.setattr(energy_module, "energy_meter", lambda device: board.counter)
        return board

    return use


def test_energy_is_that_of_one_sample(on: Callable[[Board], Board]) -> None:
    """A busy machine stretches the calls of both alike, so it is their ratio that is held."""
    board = on(Board(period=0.05, reading_s=0.01))
    dense, pruned = Burner(board, "dense", 0.004, 300.0), Burner(board, "pruned", 0.004, 100.0)
    found = measure_energy(dense, pruned, torch.zeros(2, 3), latency(4, 4, 8), "cpu")
    assert found is not None
    assert found.dense_mj / found.pruned_mj == pytest.approx(3, rel=0.2)
    assert found.dense_mj > 0.9 * 1000 * 300 * 0.004 / 8
    turns = [name for name, _ in itertools.groupby(board.calls)]
    assert turns == ["dense", "pruned", "dense"], "so that a drift meets both alike"


def test_a_counter_that_stands_still_gives_no_energy(on: Callable[[Board], Board]) -> None:
    board = on(Board(period=1e9))
    burner = Burner(board, "any", 0.004, 300.0)
    assert measure_energy(burner, burner, torch.zeros(1, 3), latency(4, 4, 1), "cpu", seconds=0.1) is None


@pytest.mark.parametrize("answered", [0, 1, 2, 7])
def test_a_counter_that_stops_to_answer_gives_no_energy(
    monkeypatch: pytest.MonkeyPatch, answered: int
) -> None:
    answers = itertools.chain(map(float, range(answered)), itertools.repeat(None))
    monkeypatch.setattr(energy_module, "energy_meter", lambda device: lambda: next(answers))
    burner = Burner(Board(period=1), "any", 0.004, 1.0)
    assert measure_energy(burner, burner, torch.zeros(1, 3), latency(4, 4, 1), "cpu", seconds=0.2) is None


def test_a_cpu_counts_no_energy() -> None:
    assert energy_meter("cpu") is None
    burner = Burner(Board(period=1), "any", 0.001, 1.0)
    assert measure_energy(burner, burner, torch.zeros(1, 3), latency(1, 1, 1), "cpu") is None


def test_energy_is_that_of_exact_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    class Looking(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append((torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32))
            time.sleep(0.001)
            return x

    counter = map(float, itertools.count())
    monkeypatch.setattr(energy_module, "energy_meter", lambda device: lambda: next(counter))
    found = measure_energy(Looking(), Looking(), torch.zeros(1, 3), latency(1, 1, 1), "cpu", seconds=0.4)
    assert found is not None
    assert set(seen) == {(False, False)}
    assert torch.backends.cudnn.allow_tf32, "as it was"
    assert threading.active_count() == 1 or all(
        not t.name.endswith("(_watch)") for t in threading.enumerate()
    ), "nobody reads the counter any more"
