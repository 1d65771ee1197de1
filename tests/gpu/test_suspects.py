"""What reading the code has made suspicious on a GPU, each as a test that would show the fault there."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn

from benchsuite.contracts.dataset import Augmentation, Dataset, Split
from benchsuite.contracts.recipe import TrainingRecipe
from benchsuite.hardware import devices, nvml
from benchsuite.metrics.energy import measure_energy
from benchsuite.metrics.latency import measure_latency
from benchsuite.pruning.surgery import compare
from benchsuite.scoring.reductions import Rank
from benchsuite.training import on_device, train

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

DEVICE = "cuda:0"
RECIPE = TrainingRecipe(batch_size=16, learning_rate=0.05)


@pytest.fixture
def real_device() -> None:
    if torch.cuda.get_device_name(0).startswith("no GPU"):
        pytest.skip("needs a real device")


def images() -> Dataset:
    generator = torch.Generator().manual_seed(7)
    inputs = torch.randint(0, 256, (64, 3, 8, 8), dtype=torch.uint8, generator=generator)
    split = Split(inputs, torch.randint(0, 3, (64,), generator=generator))
    return Dataset(split, split, split, ("a", "b", "c"), (0.4,) * 3, (0.2,) * 3, augmentation=Augmentation())


def network(dropout: float = 0.0) -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(8, 3),
    )


def spoil() -> None:
    """What no recording of a step allows: the host waits for the device."""
    torch.ones(1, device=DEVICE).item()


# The search for kernels.


def test_no_process_searches_by_itself_and_only_long_trainings_do(monkeypatch):
    devices.prepare(DEVICE)
    assert not torch.backends.cudnn.benchmark
    data, seen = on_device(images(), DEVICE), []
    monkeypatch.setattr(devices, "_FEWEST_CALLS_WORTH_A_SEARCH", 8)
    for epochs in (1, 3):  # of 4 steps
        train(
            network(),
            data,
            RECIPE,
            seed=0,
            device=DEVICE,
            epochs=epochs,
            after_step=lambda: seen.append(torch.backends.cudnn.benchmark),
        )
    assert seen == [False] * 4 + [True] * 12
    assert not torch.backends.cudnn.benchmark


def kernels_of_a_call(model: nn.Module, inputs: Tensor) -> int:
    from torch.profiler import ProfilerActivity, profile

    with torch.no_grad(), profile(activities=[ProfilerActivity.CUDA]) as seen:
        model(inputs)
        torch.cuda.synchronize(DEVICE)
    return sum(event.count for event in seen.key_averages())


def test_a_search_finds_nothing_new_for_what_has_run_by_the_rules(real_device):
    """So latency_metrics searches from its first call on; if this fails, it need not."""
    layer, inputs = nn.Conv2d(24, 40, 3).to(DEVICE), torch.randn(3, 24, 20, 20, device=DEVICE)
    kernels_of_a_call(layer, torch.randn(1, 24, 8, 8, device=DEVICE))  # what the first call of all loads
    by_rules = kernels_of_a_call(layer, inputs)
    with devices.searched_convolutions(DEVICE):
        known = kernels_of_a_call(layer, inputs)
        new = kernels_of_a_call(layer, torch.randn(5, 24, 20, 20, device=DEVICE))
    assert known <= by_rules
    assert new > 2 * known


# Exact float32.


class Error(nn.Module):
    """A convolution and a product, and how far they are from those in float64, of the largest output."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution = nn.Conv2d(64, 64, 3)
        self.product = nn.Linear(64, 64)
        self.seen: list[float] = []

    def __deepcopy__(self, memo: object) -> Error:
        copy = Error()
        copy.seen = self.seen
        return copy

    def forward(self, x: Tensor) -> Tensor:
        maps = self.convolution(x)
        outputs = self.product(maps.mean((2, 3)))
        with torch.no_grad():
            exact = nn.functional.conv2d(
                x.double(), self.convolution.weight.double(), self.convolution.bias.double()
            )
            self.seen.append(float((maps - exact).abs().max() / exact.abs().max()))
            exact = nn.functional.linear(
                maps.mean((2, 3)).double(), self.product.weight.double(), self.product.bias.double()
            )
            self.seen.append(float((outputs - exact).abs().max() / exact.abs().max()))
        return outputs


def timed(model: Error, inputs: Tensor) -> None:
    measure_latency(model, model, inputs, 4, DEVICE, seconds=0)


def counted(model: Error, inputs: Tensor) -> None:
    latency = measure_latency(network(), network(), torch.zeros(1, 3, 8, 8), 4, DEVICE, seconds=0)
    measure_energy(model, model, inputs, latency, DEVICE, seconds=0.001)


def compared(model: Error, inputs: Tensor) -> None:
    model = model.to(DEVICE).eval()
    compare(model, model, {}, inputs.to(DEVICE), torch.float32)


@pytest.mark.parametrize("measure", [timed, counted, compared])
def test_what_is_measured_in_float32_is_computed_in_float32(measure: Callable[[Error, Tensor], None]):
    model, inputs = Error(), torch.randn(4, 64, 12, 12)
    measure(model, inputs)
    if not model.seen:
        pytest.skip("the device counts no energy")
    assert max(model.seen) < 1e-5, "TF32 would err by some 3e-4"


def test_a_recipe_in_float32_trains_in_float32():
    data, seen = on_device(images(), DEVICE), []
    recipe = RECIPE.model_copy(update={"precision": "float32"})
    train(
        network(),
        data,
        recipe,
        seed=0,
        device=DEVICE,
        epochs=1,
        after_step=lambda: seen.append(torch.backends.cudnn.allow_tf32),
    )
    assert seen == [False] * 4


# A step that cannot be recorded.


def test_after_a_failed_recording_all_is_as_if_none_had_been_tried(monkeypatch, caplog):
    data = on_device(images(), DEVICE)
    before, stream = torch.cuda.get_rng_state(DEVICE), torch.cuda.current_stream()
    models, logs = [network(0.5), network(0.5)], []
    with caplog.at_level(logging.WARNING):
        logs.append(
            train(models[0], data, RECIPE, seed=0, device=DEVICE, epochs=10, after_step=lambda: spoil())
        )
    assert "no CUDA graph could be made" in caplog.text
    assert torch.cuda.current_stream() == stream
    assert torch.equal(torch.cuda.get_rng_state(DEVICE), before)
    torch.rand(3, device=DEVICE)  # the generator is no longer taken to be recorded
    monkeypatch.setattr("benchsuite.training.trainer.capture", lambda step, device: None)
    logs.append(train(models[1], data, RECIPE, seed=0, device=DEVICE, epochs=10))
    assert not any(log.captured for log in logs)
    assert logs[0].losses == pytest.approx(logs[1].losses, rel=0.02), "the same dropout"


def test_a_training_after_a_failed_recording_is_recorded():
    data = on_device(images(), DEVICE)
    train(network(0.5), data, RECIPE, seed=0, device=DEVICE, epochs=10, after_step=lambda: spoil())
    assert train(network(0.5), data, RECIPE, seed=0, device=DEVICE, epochs=10).captured


# Latencies.


def test_a_gpu_is_timed_by_its_own_events(real_device):
    """Under the real clock: the tests of latencies have one of their own."""
    wide = nn.Sequential(nn.Linear(64, 2048), *(nn.Linear(2048, 2048) for _ in range(6)))
    found = measure_latency(wide, nn.Linear(64, 64), torch.randn(4, 64), 256, "cuda", seconds=1)
    assert found.speedup > 2


# Kernels for 2:4.


@pytest.mark.parametrize("batch_size", [1, 3, 64])
@pytest.mark.parametrize("width", [8, 100, 256])
def test_a_network_of_the_pattern_is_timed_whatever_the_kernels_take(width, batch_size):
    torch.manual_seed(0)
    layer = nn.Linear(width, 2 * width)
    with torch.no_grad():
        layer.weight.view(-1, 4)[:, 2:] = 0
    model = nn.Sequential(layer, nn.ReLU(), nn.Linear(2 * width, 10)).eval()
    found = measure_latency(
        model, model, torch.randn(1, width), batch_size, DEVICE, seconds=0, sparse_kernels=True
    )
    assert found.pruned.median_ms > 0
    assert found.sparse_layers in (0, 1)


# Energy, and what NVML says.


def test_two_like_networks_take_like_energy(real_device):
    model = nn.Sequential(*(nn.Linear(4096, 4096) for _ in range(4))).eval()
    latency = measure_latency(model, model, torch.randn(8, 4096), 1024, DEVICE)
    found = measure_energy(model, model, torch.randn(8, 4096), latency, DEVICE, seconds=2)
    if found is None:
        pytest.skip("the device counts no energy")
    assert found.dense_mj == pytest.approx(found.pruned_mj, rel=0.25)


def test_nvml_knows_the_device_or_says_nothing():
    gpu = nvml.find(nvml.identity(DEVICE))
    if gpu is None:
        pytest.skip("NVML cannot be asked here")
    if "MIG" in torch.cuda.get_device_name(0):
        assert gpu.joules() is None
        assert gpu.load_percent() is None
    else:
        used = gpu.joules()
        assert used is None or gpu.joules() >= used
        assert gpu.memory_mb() is None or gpu.memory_mb() > 0


# Ranks.


@pytest.mark.parametrize("size", [8, 32, 33, 56])
def test_ranks_on_the_device_are_those_of_the_maps(size):
    generator = torch.Generator().manual_seed(0)
    expected = torch.tensor([[1.0, size // 2, size]] * 4)

    def rows(count: int, length: int) -> Tensor:
        """Orthonormal ones, so that every singular value of a product of them is 1 or 0."""
        return torch.linalg.qr(torch.randn(length, count, generator=generator)).Q.mT

    ranks = [int(rank) for rank in expected.flatten()]
    maps = torch.stack([rows(rank, size).mT @ rows(rank, size + 3) for rank in ranks])
    maps = maps.unflatten(0, expected.shape)
    found = Rank()(maps.to(DEVICE))
    assert found.is_cuda
    assert torch.equal(found.cpu(), Rank()(maps))
    assert torch.equal(found.cpu(), expected)


# Contexts.


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


def test_the_server_of_workers_holds_no_context(real_device):
    code = "import benchsuite.execution.preloaded, torch; print(torch.cuda.is_initialized())"
    assert python(code) == "False"


def test_memory_can_be_measured_before_anything_else_has_used_the_device():
    code = (
        "import torch\n"
        "from benchsuite.hardware.devices import peak_memory\n"
        "with peak_memory('cuda:0') as peak:\n"
        "    torch.zeros(1 << 20, device='cuda:0')\n"
        "print(peak.megabytes > 0)"
    )
    assert python(code) == "True"
