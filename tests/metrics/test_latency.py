from __future__ import annotations

import gc
import math

import numpy as np
import pytest
import torch
from torch import nn

from benchsuite.metrics import latency as latency_module
from benchsuite.metrics.latency import measure_latency


class Clock:
    """A clock that only networks advance, so that a busy machine changes no duration."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def perf_counter_ns(self) -> int:
        return round(self.now * 1e9)


CLOCK = Clock()


class Kernel:
    """Counts how often the clock's process is interrupted, and nothing that happens on the real machine."""

    RUSAGE_SELF = 0
    ru_nivcsw = 0

    def getrusage(self, _who: int) -> Kernel:
        return self


KERNEL = Kernel()


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency_module, "time", CLOCK)
    monkeypatch.setattr(latency_module, "resource", KERNEL)


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


class Restless(nn.Module):
    """Sometimes takes twice as long, by chance."""

    def __init__(self, seconds: float, share: float, seed: int) -> None:
        super().__init__()
        self.seconds, self.share = seconds, share
        self.random = np.random.default_rng(seed)

    def __deepcopy__(self, memo: dict[int, object]) -> Restless:
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        CLOCK.now += self.seconds * (1 + (self.random.random() < self.share))
        return x


class Loaded(nn.Module):
    """Runs on a machine that others load: all that is timed there shares one history of load.

    Other programs come and go, each for some time, and slow down everything; the clock rate drifts; every
    call has noise of its own and is now and then interrupted.
    """

    def __init__(self, seconds: float, history: Load) -> None:
        super().__init__()
        self.seconds, self.history = seconds, history

    def __deepcopy__(self, memo: dict[int, object]) -> Loaded:
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        CLOCK.now += self.seconds * self.history.slowness(CLOCK.now)
        return x


class Load:
    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.start, self.until, self.factor = CLOCK.now, CLOCK.now, 1.0

    def slowness(self, now: float) -> float:
        while now >= self.until:
            self.until += self.random.exponential(0.05)
            self.factor = self.random.choice([1.0, 1.5, 2.0, 3.0])
        drift = 1 + 0.1 * (now - self.start)
        interrupted = 5.0 if self.random.random() < 0.02 else 1.0
        return self.factor * drift * interrupted * self.random.lognormal(0, 0.05)


@pytest.mark.parametrize("seconds", [0.0002, 0.003, 0.02])
@pytest.mark.parametrize("speedup", [1.0, 1.1])
def test_under_load_the_interval_covers_the_true_speedup(seconds, speedup):
    """18 of 20 tries and more, be the networks the same or not; and it is not wide for want of knowledge."""
    covered = 0
    for seed in range(20):
        load = Load(seed)
        networks = (Loaded(seconds * speedup, load), Loaded(seconds, load))
        found = measure_latency(*networks, torch.zeros(1), 1, "cpu")
        covered += found.ratio.low <= speedup <= found.ratio.high
        assert found.ratio.low <= found.speedup <= found.ratio.high
        assert found.is_settled or seconds > 0.002
        assert found.ratio.width < 0.1 or seconds > 0.01
    assert covered >= 18


class SharedCore(nn.Module):
    """Runs on a core that the system gives to another program after each slice of time."""

    def __init__(self, seconds: float, slices: Slices) -> None:
        super().__init__()
        self.seconds, self.slices = seconds, slices

    def __deepcopy__(self, memo: dict[int, object]) -> SharedCore:
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.slices.run(self.seconds)
        return x


class Slices:
    def __init__(self, on: float, off: float, seed: int) -> None:
        self.on, self.off, self.left = on, off, on
        self.random = np.random.default_rng(seed)

    def run(self, seconds: float) -> None:
        seconds *= self.random.normal(1, 0.02)
        while seconds > self.left:
            seconds -= self.left
            CLOCK.now += self.left + self.off * self.random.uniform(0.7, 1.3)
            self.left = self.on * self.random.uniform(0.7, 1.3)
            KERNEL.ru_nivcsw += 1
        self.left -= seconds
        CLOCK.now += seconds


@pytest.mark.parametrize(("on", "off"), [(0.003, 0.001), (0.003, 0.003), (0.01, 0.01)])
@pytest.mark.parametrize(("dense", "pruned"), [(0.75, 0.25), (1.5, 1.0), (3.0, 1.0), (6.0, 2.0)])
def test_a_program_on_the_same_core_does_not_make_a_speedup(on, off, dense, pruned):
    """The longer call is interrupted more often, and yet what is called settled is the truth within 3%."""
    settled = 0
    for seed in range(20):
        slices = Slices(on, off, seed)
        networks = (SharedCore(dense / 1000, slices), SharedCore(pruned / 1000, slices))
        found = measure_latency(*networks, torch.zeros(1), 1, "cpu")
        if found.is_settled:
            settled += 1
            assert found.speedup == pytest.approx(dense / pruned, rel=0.03)
    pair = 2 * (dense + pruned) / 1000
    assert settled == 20 or pair > on / 2
    assert settled == 0 or pair < 1.3 * on


def test_where_every_round_is_interrupted_the_speedup_is_not_settled(monkeypatch):
    """All rounds count then: a number that is marked beats none."""
    counts = iter(range(10**6))
    monkeypatch.setattr(Kernel, "ru_nivcsw", property(lambda _: next(counts)))
    found = measure_latency(Sleeper(0.002, []), Sleeper(0.001, []), torch.zeros(1), 1, "cpu", seconds=1)
    assert not found.undisturbed
    assert found.ratio.width < 0.03
    assert not found.is_settled
    assert found.speedup == pytest.approx(2)


def test_without_pairs_the_same_load_would_decide():
    """The load of this test is one that matters: medians of one network after the other differ."""
    ratios = []
    for seed in range(20):
        load = Load(seed)
        medians = []
        for _ in range(2):
            durations = []
            for _ in range(80):
                before = CLOCK.now
                Loaded(0.003, load)(torch.zeros(1))
                durations.append(CLOCK.now - before)
            medians.append(np.median(durations))
        ratios.append(medians[0] / medians[1])
    assert sum(abs(ratio - 1) < 0.03 for ratio in ratios) < 10


def test_durations_and_speedup_are_those_of_the_networks():
    result = measure_latency(Sleeper(0.006, []), Sleeper(0.002, []), torch.zeros(1, 3), 1, "cpu")
    assert result.dense.median_ms == pytest.approx(6)
    assert result.pruned.median_ms == pytest.approx(2)
    assert result.speedup == pytest.approx(3)
    assert result.threads == torch.get_num_threads()


def test_both_see_the_same_batch_in_alternating_order():
    calls: list[tuple[float, int, bool, bool]] = []
    example = torch.zeros(1, 3)
    result = measure_latency(Sleeper(0.2, calls), Sleeper(0.1, calls), example, 4, "cpu", seconds=0)
    assert result.samples == 12
    assert result.batch_size == 4
    timed = [seconds for seconds, *_ in calls]
    # Three calls to warm up, then blocks of one pair, after a call of each new copy.
    warm_up, dense_first, pruned_first = [0.2, 0.1], [0.2, 0.1, 0.1, 0.2], [0.1, 0.2, 0.2, 0.1]
    blocks = [*dense_first, *warm_up, *pruned_first, *warm_up]
    assert timed == [*warm_up, *warm_up, *(warm_up + blocks[:-2]), *warm_up, *blocks, *blocks[:-2]]
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


def test_blocks_go_on_until_the_interval_is_narrow_or_the_time_is_up():
    steady = measure_latency(Sleeper(0.001, []), Sleeper(0.001, []), torch.zeros(1), 1, "cpu")
    assert steady.is_settled
    assert steady.samples == 10 * 8  # ten blocks of 15 ms, with four pairs of 4 ms
    # Every other call of one of the networks takes twice as long: no number of blocks makes that certain.
    restless = [Restless(0.03, 0.5, seed) for seed in (1, 2)]
    start = CLOCK.now
    found = measure_latency(*restless, torch.zeros(1), 1, "cpu", seconds=2)
    assert not found.is_settled
    assert found.ratio.width > 0.03
    assert 2 <= CLOCK.now - start < 2.5
    slow = measure_latency(Sleeper(9, []), Sleeper(9, []), torch.zeros(1), 1, "cpu")
    assert slow.samples == 12


def test_numbers_equal_a_second_computation(monkeypatch):
    """Quartiles by torch; the speedup as the median over blocks of medians of pairs."""
    random = np.random.default_rng(0)
    timed: list[tuple[float, float]] = []

    def time_call(network: Sleeper, batch: torch.Tensor) -> float:
        duration = network.seconds * 1000 * random.lognormal(0, 0.2)
        timed.append((network.seconds, duration))
        CLOCK.now += duration / 1000
        return duration

    monkeypatch.setattr(latency_module, "_time_on_cpu", time_call)
    monkeypatch.setattr(Sleeper, "forward", lambda self, x: x)
    result = measure_latency(Sleeper(0.006, []), Sleeper(0.004, []), torch.zeros(1), 1, "cpu", seconds=0)
    for timing, seconds in ((result.dense, 0.006), (result.pruned, 0.004)):
        values = torch.tensor([duration for which, duration in timed if which == seconds])
        expected = values.quantile(torch.tensor([0.25, 0.5, 0.75])).tolist()
        assert [timing.lower_ms, timing.median_ms, timing.upper_ms] == pytest.approx(expected)
    pairs = [timed[first : first + 4] for first in range(0, len(timed), 4)]
    assert all(sorted(which for which, _ in pair) == [0.004, 0.004, 0.006, 0.006] for pair in pairs)
    # A pair takes about 20 ms, so that each is a block unless it was a short one.
    blocks: list[list[float]] = [[]]
    spent = 0.0
    for pair in pairs:
        logs = [math.log(duration) * (1 if which == 0.006 else -1) for which, duration in pair]
        blocks[-1].append(math.exp(sum(logs) / 2))
        spent += sum(duration for _, duration in pair)
        if spent >= 15:
            blocks.append([])
            spent = 0.0
    medians = sorted(np.median(block) for block in blocks if block)
    assert len(medians) == 6
    assert result.ratio == pytest.approx((np.median(medians), medians[0], medians[-1]))
    assert result.speedup == result.ratio.median


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
