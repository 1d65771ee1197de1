from __future__ import annotations

import gc

import pytest
import torch
from torch import nn

from benchsuite.metrics import latency as latency_module
from benchsuite.metrics.latency import Latency, measure_latency


class Clock:
    """A clock that only networks advance, so that a busy machine changes no duration."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def perf_counter_ns(self) -> int:
        return round(self.now * 1e9)


CLOCK = Clock()


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency_module, "time", CLOCK)


class Sleeper(nn.Module):
    """Takes as long as it is told to, and notes what it is given."""

    def __init__(self, seconds: float, calls: list[tuple[float, int, bool, bool]]) -> None:
        super().__init__()
        self.seconds, self.calls = seconds, calls

    def __deepcopy__(self, memo: dict[int, object]) -> Sleeper:
        return Sleeper(self.seconds, self.calls)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls.append((self.seconds, x.data_ptr(), torch.is_inference_mode_enabled(), gc.isenabled()))
        CLOCK.now += self.seconds
        return x


def test_durations_and_speedup_are_those_of_the_networks():
    result = measure_latency(Sleeper(0.006, []), Sleeper(0.002, []), torch.zeros(1, 3), 1, "cpu")
    assert result.dense.median_ms == pytest.approx(6)
    assert result.pruned.median_ms == pytest.approx(2)
    assert result.speedup == pytest.approx(3)
    assert result.threads == torch.get_num_threads()


def test_both_see_the_same_batch_in_alternating_order():
    calls: list[tuple[float, int, bool, bool]] = []
    result = measure_latency(
        Sleeper(0.0002, calls), Sleeper(0.0001, calls), torch.zeros(1, 3), 4, "cpu", seconds=0, most_rounds=50
    )
    assert result.samples == 7
    assert result.batch_size == 4
    timed = [seconds for seconds, *_ in calls][6:]
    assert timed == ([0.0002, 0.0001, 0.0001, 0.0002] * 4)[:14]
    assert len({pointer for _, pointer, *_ in calls}) == 1
    assert all(inference and not collecting for *_, inference, collecting in calls)
    assert gc.isenabled()


@pytest.mark.parametrize(
    ("batch_size", "expected"), [(2, [0, 1]), (3, [0, 1, 2]), (7, [0, 1, 2, 0, 1, 2, 0])]
)
def test_the_batch_is_made_of_the_example(batch_size, expected):
    seen = []

    class Noting(nn.Module):
        def __deepcopy__(self, memo: dict[int, object]) -> Noting:
            return Noting()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(x[:, 0].tolist())
            return x

    measure_latency(Noting(), Noting(), torch.arange(3.0).view(3, 1), batch_size, "cpu", seconds=0)
    assert all(batch == expected for batch in seen)


def test_the_networks_are_left_alone():
    networks = [nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)) for _ in range(2)]
    before = [p.stride() for p in networks[0].parameters()]
    mean = networks[0][1].running_mean.clone()
    measure_latency(*networks, torch.randn(2, 3, 8, 8), 2, "cpu", seconds=0)
    assert all(module.training for network in networks for module in network.modules())
    assert [p.stride() for p in networks[0].parameters()] == before
    assert torch.equal(mean, networks[0][1].running_mean)


def test_time_and_rounds_are_bounded():
    many = measure_latency(nn.Identity(), nn.Identity(), torch.zeros(1), 1, "cpu", seconds=5, most_rounds=31)
    assert many.samples == 31
    timed = measure_latency(Sleeper(0.001, []), Sleeper(0.001, []), torch.zeros(1), 1, "cpu", seconds=0.05)
    assert timed.samples in (25, 26)  # of 2 ms each, up to rounding


def test_quartiles_equal_those_of_torch(monkeypatch):
    durations = [9.0, 3.0, 7.0, 1.0, 8.0, 2.0, 6.0, 4.0, 5.0, 5.5, 3.5, 8.5, 2.5, 9.5]
    of_dense = [0, 3, 4, 7, 8, 11, 12]
    queue = iter(durations)
    monkeypatch.setattr(latency_module, "_time_on_cpu", lambda network, batch: next(queue))
    result = measure_latency(nn.Identity(), nn.Identity(), torch.zeros(1), 1, "cpu", seconds=0)
    for timing, places in ((result.dense, of_dense), (result.pruned, set(range(14)) - set(of_dense))):
        values = torch.tensor([durations[place] for place in places])
        expected = values.quantile(torch.tensor([0.25, 0.5, 0.75])).tolist()
        assert [timing.lower_ms, timing.median_ms, timing.upper_ms] == pytest.approx(expected)
    assert result.speedup == pytest.approx(5 / 5.5)


@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
def test_float32_is_exact_and_kernels_are_searched_for_on_a_gpu(device, monkeypatch):
    seen = []

    class Looking(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            backends = torch.backends
            seen.append(
                (backends.cudnn.allow_tf32, backends.cuda.matmul.allow_tf32, backends.cudnn.benchmark)
            )
            return x

    monkeypatch.setattr(latency_module, "batch_of", lambda example, size, device: example)
    monkeypatch.setattr(latency_module, "prepared", lambda network, device, batch: network)
    monkeypatch.setattr(latency_module, "synchronise", lambda device: None)
    monkeypatch.setattr(latency_module, "_time_on_gpu", latency_module._time_on_cpu)
    before = torch.backends.cudnn.allow_tf32
    measure_latency(Looking(), Looking(), torch.zeros(1), 1, device, seconds=0)
    assert set(seen) == {(False, False, device != "cpu")}
    assert (torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark) == (before, False)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_is_timed_by_its_own_events():
    small, large = nn.Linear(64, 64), nn.Sequential(*(nn.Linear(4096, 4096) for _ in range(20)))
    wide = nn.Sequential(nn.Linear(64, 4096), *large)
    result = measure_latency(wide, small, torch.randn(4, 64), 256, "cuda")
    assert isinstance(result, Latency)
    assert result.speedup > 2
