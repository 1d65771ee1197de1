"""The stand-in for a GPU, and the code behind `device.type == "cuda"` that runs on it without one.

Run here: the recording, replay and undoing of training steps (`training/step.py`, all of `capture`), the
timing by events and the exactness of float32 in `metrics/latency.py`, energy by NVML (`metrics/energy.py`
and `hardware/nvml.py`), peaks of memory, names of devices, `prepare`, `synchronise`, `supports_bf16` and the
switch of cuDNN's search (`hardware/devices.py`), pinned batches (`Step.begin_epoch`), the way of large
matrices through the CPU (`Rank`). Not run, since only a GPU has them: kernels for 2:4, TF32, cuDNN.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import fake_cuda
import pytest
import torch
from torch import nn

from benchsuite.contracts.dataset import Augmentation, Dataset, Split
from benchsuite.contracts.recipe import TrainingRecipe
from benchsuite.hardware import devices
from benchsuite.metrics.energy import measure_energy
from benchsuite.metrics.latency import measure_latency
from benchsuite.pruning.surgery import compare
from benchsuite.scoring.reductions import Rank
from benchsuite.training import TraceRequest, on_device, train, trainer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RECIPE = TrainingRecipe(epochs=6, batch_size=16, learning_rate=0.05)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in fake_cuda.stand_ins().items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(torch.version, "cuda", "0")
    monkeypatch.setitem(sys.modules, "pynvml", fake_cuda.management_library())
    with fake_cuda.OnCpu():
        yield


def images() -> Dataset:
    generator = torch.Generator().manual_seed(7)
    inputs = torch.randint(0, 256, (70, 2, 6, 5), dtype=torch.uint8, generator=generator)
    split = Split(inputs, torch.randint(0, 3, (70,), generator=generator))
    augmentation = Augmentation(pad_crop=1, flip=True)
    return Dataset(split, split, split, ("a", "b", "c"), (0.4, 0.5), (0.2, 0.3), augmentation=augmentation)


def network(dropout: float = 0.5) -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(120, 3),
    )


def trained(after_step: Callable[[], None] | None = None) -> tuple[nn.Module, trainer.TrainingLog]:
    model = network()
    request = TraceRequest(snapshots=(0, 5))
    log = train(
        model,
        on_device(images(), "cuda"),
        RECIPE,
        seed=0,
        device="cuda",
        trace=request,
        after_step=after_step,
    )
    return model, log


def assert_same(
    one: tuple[nn.Module, trainer.TrainingLog], two: tuple[nn.Module, trainer.TrainingLog]
) -> None:
    assert one[1].losses == two[1].losses
    for name, value in one[0].state_dict().items():
        assert torch.equal(value, two[0].state_dict()[name]), name
    assert one[1].trace is not None
    assert two[1].trace is not None
    for name, value in one[1].trace.squared_updates.items():
        assert torch.equal(value, two[1].trace.squared_updates[name]), name


def test_tensors_are_where_the_code_has_put_them(gpu: None) -> None:
    tensor = torch.zeros(2).to("cuda:0")
    assert (tensor.device, tensor.is_cuda) == (torch.device("cuda:0"), True)
    assert torch.ones(2, device="cuda").cpu().numpy().tolist() == [1, 1]
    assert torch.device("cuda").type == "cuda"


def test_a_graph_repeats_its_operations_on_the_same_memory(gpu: None) -> None:
    graph, total, factor = torch.cuda.CUDAGraph(), torch.zeros(3), torch.full((3,), 2.0)
    with torch.cuda.graph(graph, stream=torch.cuda.Stream()):
        product = factor * 5
        total += product.view(3, 1)[:, 0]
    factor.fill_(7)
    graph.replay()
    assert product.tolist() == [35] * 3
    assert total.tolist() == [45] * 3


def test_replayed_training_is_bit_for_bit_the_training_step_by_step(
    gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    replayed = trained()
    monkeypatch.setattr(trainer, "capture", lambda step, device: None)
    eager = trained()
    assert (replayed[1].captured, eager[1].captured) == (True, False)
    assert_same(replayed, eager)


def test_after_a_failed_recording_training_is_the_same(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    stream, state = torch.cuda.current_stream(), torch.get_rng_state()
    failed = trained(lambda: torch.ones(1).item())  # the host waits, which no recording allows
    assert torch.cuda.current_stream() is stream
    assert not torch.cuda.default_generators[0].broken
    assert torch.equal(torch.get_rng_state(), state)
    monkeypatch.setattr(trainer, "capture", lambda step, device: None)
    assert not failed[1].captured
    assert_same(failed, trained())


def test_latency_and_energy_are_those_of_the_device(gpu: None) -> None:
    seen = []

    class Looking(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            backends = torch.backends
            seen.append(
                (backends.cudnn.benchmark, backends.cudnn.allow_tf32, backends.cuda.matmul.allow_tf32)
            )
            return x

    latency = measure_latency(Looking(), Looking(), torch.zeros(1, 3), 2, "cuda", seconds=0)
    assert latency.dense.median_ms > 0
    energy = measure_energy(Looking(), Looking(), torch.zeros(1, 3), latency, "cuda", seconds=0.1)
    assert energy is not None
    assert energy.dense_mj > 0
    assert set(seen) == {(True, False, False)}
    assert not torch.backends.cudnn.benchmark


def test_surgery_in_float32_is_compared_in_exact_float32() -> None:
    seen = []

    class Looking(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append((torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32))
            return super().forward(x)

    model = Looking(3, 2).eval()
    assert compare(model, model, {}, torch.ones(1, 3), torch.float32).dtype == "float32"
    assert set(seen) == {(False, False)}
    assert torch.backends.cudnn.allow_tf32, "as it was"


def test_the_other_facts_of_the_device(gpu: None) -> None:
    assert devices.prepare("cuda:0") == torch.device("cuda:0")
    assert devices.device_name("cuda:0") == fake_cuda.NAME
    assert devices.supports_bf16("cuda:0")
    devices.synchronise("cuda:0")
    with devices.peak_memory("cuda:0") as peak:
        assert peak.megabytes == 0
    assert peak.megabytes == pytest.approx((1 << 20) / 1e6)


@pytest.mark.parametrize("size", [32, 33])
def test_ranks_are_the_same_on_both_sides_of_the_largest_batched_matrix(gpu: None, size: int) -> None:
    maps = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    maps[1, 2] = maps[1, 2, :, :1] * maps[1, 2, :1]
    moved = []
    cpu = torch.Tensor.cpu

    def look(tensor: torch.Tensor) -> torch.Tensor:
        moved.append(tuple(tensor.shape))
        return cpu(tensor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "cpu", look)
        found = Rank()(maps)
    assert set(moved) == ({(2, 3, size, size)} if size > 32 else set())
    assert found.tolist() == [[size] * 3, [size, size, 1]]
