from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from benchsuite.hardware.nvml import energy_meter
from benchsuite.metrics import energy as energy_module
from benchsuite.metrics.energy import Energy, measure_energy
from benchsuite.metrics.latency import Latency, Timing
from benchsuite.metrics.median_interval import MedianInterval

EVEN = MedianInterval(1.0, 1.0, 1.0)


@dataclass
class Board:
    """A device with a clock of its own, whose counter tells what it has used until the last of its steps.

    Attributes:
        period: seconds between two steps of the counter.
        phase: when the first step is.
        drift: by how much its power grows in a second, as a fraction.
    """

    period: float = 0.1
    phase: float = 0.0
    drift: float = 0.0
    seconds: float = 0.0
    joules: float = 0.0
    calls: list[str] = field(default_factory=list)
    _shown: float = 0.0

    def work(self, seconds: float, watts: float) -> None:
        """Use energy for some time, from step to step of the counter."""
        end = self.seconds + seconds
        while self.seconds < end:
            steps = (self.seconds - self.phase) // self.period
            until = min(end, self.phase + (steps + 1) * self.period)
            if until <= self.seconds:  # rounding
                until = min(end, self.seconds + 1e-6)
            self.joules += (until - self.seconds) * watts * (1 + self.drift * self.seconds)
            self.seconds = until
            if (self.seconds - self.phase) // self.period > steps:
                self._shown = self.joules

    def counter(self) -> float:
        return self._shown

    def clock(self) -> float:
        return self.seconds


class Burner(nn.Module):
    """Takes a given time and power for a call."""

    board: Board

    def __init__(self, name: str, seconds: float, watts: float) -> None:
        super().__init__()
        self.name, self.seconds, self.watts = name, seconds, watts

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        Burner.board.work(self.seconds, self.watts)
        Burner.board.calls.append(self.name)
        return x


def latency(dense_s: float, pruned_s: float, batch_size: int) -> Latency:
    timings = [Timing(1000 * s, 1000 * s, 1000 * s) for s in (dense_s, pruned_s)]
    return Latency(timings[0], timings[1], EVEN, True, batch_size, samples=7, threads=1)


def measured(
    board: Board,
    dense: tuple[float, float],
    pruned: tuple[float, float],
    batch_size: int = 1,
    seconds: float = 1.0,
) -> Energy | None:
    """The energy of two networks of (seconds, watts) on a board."""
    Burner.board = board
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(energy_module, "energy_meter", lambda device: board.counter)
        patch.setattr(energy_module, "perf_counter", board.clock)
        return measure_energy(
            Burner("dense", *dense),
            Burner("pruned", *pruned),
            torch.zeros(2, 3),
            latency(dense[0], pruned[0], batch_size),
            "cpu",
            seconds=seconds,
        )


@settings(max_examples=60, deadline=None)
@given(
    period=st.floats(0.001, 0.2),
    phase=st.floats(0, 0.2),
    dense=st.tuples(st.floats(0.0002, 0.05), st.floats(50, 700)),
    pruned=st.tuples(st.floats(0.0002, 0.05), st.floats(50, 700)),
    batch_size=st.integers(1, 256),
)
def test_energy_is_that_of_one_sample_whenever_the_counter_steps(
    period: float,
    phase: float,
    dense: tuple[float, float],
    pruned: tuple[float, float],
    batch_size: int,
) -> None:
    found = measured(Board(period, phase), dense, pruned, batch_size)
    assert found is not None
    for (seconds, watts), energy in ((dense, found.dense_mj), (pruned, found.pruned_mj)):
        # Each end of a half is known to one look at the counter, of half a second.
        look = max(seconds, 0.005 + seconds)
        assert energy == pytest.approx(1000 * seconds * watts / batch_size, rel=0.001 + 2 * look / 0.5)


def test_a_stepping_counter_makes_no_difference_between_like_networks() -> None:
    """What two readings at any time would make one: a tenth of a second of half a second, either way."""
    for period, phase in itertools.product((0.02, 0.1, 0.13), (0.0, 0.03, 0.09)):
        found = measured(Board(period, phase), (0.002, 300.0), (0.002, 300.0))
        assert found is not None
        assert found.dense_mj == pytest.approx(found.pruned_mj, rel=0.02)


def test_dense_and_pruned_take_turns_so_that_a_drift_meets_both_alike() -> None:
    board = Board(drift=0.05)
    found = measured(board, (0.002, 300.0), (0.002, 300.0))
    assert found is not None
    assert [name for name, _ in itertools.groupby(board.calls)] == ["dense", "pruned", "dense"]
    assert found.dense_mj == pytest.approx(found.pruned_mj, rel=0.01)


def test_a_long_call_is_one_look() -> None:
    found = measured(Board(), (3.0, 100.0), (0.01, 100.0), batch_size=2)
    assert found is not None
    assert found.dense_mj == pytest.approx(150_000, rel=0.05)


def test_a_counter_that_stands_still_gives_no_energy() -> None:
    assert measured(Board(period=1e9, phase=-1.0), (0.01, 100.0), (0.01, 100.0)) is None


def test_a_cpu_counts_no_energy() -> None:
    assert energy_meter("cpu") is None
    burner = Burner("any", 1.0, 1.0)
    assert measure_energy(burner, burner, torch.zeros(1, 3), latency(1, 1, 1), "cpu") is None


@pytest.mark.parametrize("answered", [0, 1, 2, 7])
def test_a_counter_that_stops_to_answer_gives_no_energy(
    monkeypatch: pytest.MonkeyPatch, answered: int
) -> None:
    answers = itertools.chain(map(float, range(answered)), itertools.repeat(None))
    monkeypatch.setattr(energy_module, "energy_meter", lambda device: lambda: next(answers))
    monkeypatch.setattr(energy_module, "perf_counter", map(float, itertools.count()).__next__)
    Burner.board = Board()
    burner = Burner("any", 1.0, 1.0)
    assert measure_energy(burner, burner, torch.zeros(1, 3), latency(1, 1, 1), "cpu", seconds=50) is None


def test_energy_is_that_of_exact_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    class Looking(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append((torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32))
            return x

    monkeypatch.setattr(energy_module, "energy_meter", lambda device: map(float, itertools.count()).__next__)
    found = measure_energy(Looking(), Looking(), torch.zeros(1, 3), latency(1, 1, 1), "cpu", seconds=0.01)
    assert found is not None
    assert set(seen) == {(False, False)}
    assert torch.backends.cudnn.allow_tf32, "as it was"
