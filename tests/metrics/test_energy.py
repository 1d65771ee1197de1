from __future__ import annotations

import pytest
import torch
from torch import nn

from benchsuite.hardware.nvml import energy_meter
from benchsuite.metrics import energy as energy_module
from benchsuite.metrics.energy import measure_energy
from benchsuite.metrics.latency import Latency, Timing
from benchsuite.metrics.median_interval import MedianInterval

EVEN = MedianInterval(1.0, 1.0, 1.0)


class Burner(nn.Module):
    """Uses a given energy for each sample."""

    used = 0.0

    def __init__(self, joules: float) -> None:
        super().__init__()
        self.joules = joules

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        Burner.used += self.joules * len(x)
        return x


@pytest.mark.parametrize(("median_ms", "batch_size"), [(100.0, 1), (300.0, 7), (5000.0, 2)])
def test_energy_is_that_of_one_sample(monkeypatch, median_ms, batch_size):
    monkeypatch.setattr(energy_module, "energy_meter", lambda device: lambda: Burner.used)
    timing = Timing(median_ms, median_ms, median_ms)
    latency = Latency(timing, timing, EVEN, True, batch_size, samples=7, threads=1)
    found = measure_energy(Burner(0.5), Burner(0.125), torch.zeros(2, 3), latency, "cpu")
    assert found is not None
    assert found.dense_mj == pytest.approx(500)
    assert found.pruned_mj == pytest.approx(125)


def test_a_cpu_counts_no_energy():
    assert energy_meter("cpu") is None
    timing = Timing(1.0, 1.0, 1.0)
    latency = Latency(timing, timing, EVEN, True, 1, samples=7, threads=1)
    assert measure_energy(Burner(1), Burner(1), torch.zeros(1, 3), latency, "cpu") is None


def test_dense_and_pruned_take_turns_so_that_a_drift_meets_both_alike(monkeypatch):
    """The device uses more with every call, as one that warms up does; both networks are the same."""
    calls = []

    class Warming(nn.Module):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            calls.append(self.name)
            return x

    def used() -> float:
        return sum(1.0 + 0.01 * place for place in range(len(calls)))

    monkeypatch.setattr(energy_module, "energy_meter", lambda device: used)
    timing = Timing(50.0, 50.0, 50.0)
    latency = Latency(timing, timing, EVEN, True, 1, samples=7, threads=1)
    found = measure_energy(Warming("dense"), Warming("pruned"), torch.zeros(1, 3), latency, "cpu")
    assert found is not None
    assert calls[2:] == ["dense"] * 10 + ["pruned"] * 20 + ["dense"] * 10, "after one call each to warm up"
    assert found.dense_mj == pytest.approx(found.pruned_mj)


def test_a_counter_that_stops_gives_no_energy(monkeypatch):
    answers = iter([1.0, None])
    monkeypatch.setattr(energy_module, "energy_meter", lambda device: lambda: next(answers))
    timing = Timing(1000.0, 1000.0, 1000.0)
    latency = Latency(timing, timing, EVEN, True, 1, samples=7, threads=1)
    assert measure_energy(Burner(1), Burner(1), torch.zeros(1, 3), latency, "cpu") is None


def test_energy_is_that_of_exact_float32(monkeypatch):
    seen = []

    class Looking(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append((torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32))
            return x

    monkeypatch.setattr(energy_module, "energy_meter", lambda device: lambda: 1.0)
    timing = Timing(1000.0, 1000.0, 1000.0)
    latency = Latency(timing, timing, EVEN, True, 1, samples=7, threads=1)
    measure_energy(Looking(), Looking(), torch.zeros(1, 3), latency, "cpu")
    assert set(seen) == {(False, False)}
    assert torch.backends.cudnn.allow_tf32, "as it was"
