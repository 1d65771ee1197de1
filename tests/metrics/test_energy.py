from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import nn

from benchsuite.devices import energy_meter
from benchsuite.metrics import energy as energy_module
from benchsuite.metrics.energy import measure_energy
from benchsuite.metrics.latency import Latency, Timing


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
    latency = Latency(timing, timing, batch_size, samples=7, threads=1)
    found = measure_energy(Burner(0.5), Burner(0.125), torch.zeros(2, 3), latency, "cpu")
    assert found is not None
    assert found.dense_mj == pytest.approx(500)
    assert found.pruned_mj == pytest.approx(125)


def test_a_cpu_counts_no_energy():
    assert energy_meter("cpu") is None
    timing = Timing(1.0, 1.0, 1.0)
    latency = Latency(timing, timing, 1, samples=7, threads=1)
    assert measure_energy(Burner(1), Burner(1), torch.zeros(1, 3), latency, "cpu") is None


@pytest.fixture
def driver(monkeypatch):
    """A stand-in for the driver's library, and for a GPU that torch sees."""
    nvml = ModuleType("pynvml")
    nvml.NVMLError = type("NVMLError", (Exception,), {})
    nvml.nvmlInit = lambda: None
    nvml.nvmlDeviceGetHandleByUUID = {"GPU-1234": "the second GPU"}.__getitem__
    nvml.nvmlDeviceGetTotalEnergyConsumption = {"the second GPU": 2500}.__getitem__
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="1234"))
    return nvml


def test_the_meter_of_a_gpu_gives_joules(driver):
    meter = energy_meter("cuda:0")
    assert meter is not None
    assert meter() == 2.5


def test_no_meter_without_the_package_or_the_counter(driver, monkeypatch):
    def refuse(handle):
        raise driver.NVMLError("not supported")

    driver.nvmlDeviceGetTotalEnergyConsumption = refuse
    assert energy_meter("cuda:0") is None
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert energy_meter("cuda:0") is None
