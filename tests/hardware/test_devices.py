from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from benchsuite.errors import UsageError
from benchsuite.hardware import devices


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch):
    def set_count(count: int) -> None:
        monkeypatch.setattr(devices, "_visible_gpus", lambda: count)

    return set_count


def test_auto_means_every_gpu_else_the_cpu(gpus):
    gpus(2)
    assert devices.parse_devices("auto") == ["cuda:0", "cuda:1"]
    gpus(0)
    assert devices.parse_devices("auto") == ["cpu"]


def test_lists_are_taken_as_they_stand(gpus):
    gpus(4)
    assert devices.parse_devices("cpu") == ["cpu"]
    assert devices.parse_devices(" cuda:3, CUDA:1") == ["cuda:3", "cuda:1"]
    assert devices.parse_devices("cuda") == ["cuda:0"]


@pytest.mark.parametrize(
    ("text", "visible", "message"),
    [
        ("gpu", 2, "unknown device 'gpu'"),
        ("", 2, "unknown device ''"),
        ("cpu,auto", 2, "unknown device 'auto'"),
        ("cuda:-1", 2, "unknown device 'cuda:-1'"),
        ("cuda:0,cuda:0", 2, "listed twice"),
        ("cuda:2", 2, "the last one here is cuda:1"),
        ("cuda:0", 0, "no GPU is visible here"),
    ],
)
def test_wrong_devices_are_usage_errors(gpus, text, visible, message):
    gpus(visible)
    with pytest.raises(UsageError, match=message):
        devices.parse_devices(text)


@pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU torch is asked how many there are")
def test_parsing_devices_does_not_import_torch():
    code = (
        "import sys, benchsuite.hardware.devices as d\nd.parse_devices('auto'); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_prepare_sets_the_threads():
    before = torch.get_num_threads()
    try:
        assert devices.prepare("cpu", cpu_threads=before + 1) == torch.device("cpu")
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


def test_peak_memory_is_that_of_the_context_alone():
    with devices.peak_memory("cpu") as large:
        tensor = torch.ones(60_000_000)
        del tensor
    with devices.peak_memory("cpu") as small:
        tensor = torch.ones(1_000_000)
        del tensor
    assert large.megabytes == pytest.approx(240, abs=30)
    if sys.platform == "linux":
        assert small.megabytes < 30


def test_exact_float32_is_restored_after_an_error():
    before = torch.backends.cudnn.allow_tf32
    inside = []

    def fail() -> None:
        with devices.exact_float32():
            inside.extend([torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32])
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fail()
    assert inside == [False, False]
    assert torch.backends.cudnn.allow_tf32 == before


@pytest.fixture
def no_gpu_is_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)


def test_a_process_does_not_search_for_kernels_by_itself(no_gpu_is_touched):
    devices.prepare("cuda:0")
    assert not torch.backends.cudnn.benchmark


@pytest.mark.parametrize(
    ("device", "calls", "searches"),
    [
        ("cuda:0", None, True),
        ("cuda:0", 1_000_000, True),
        ("cuda:0", 100, False),
        ("cpu", None, False),
    ],
)
def test_only_many_calls_on_a_gpu_are_worth_a_search(no_gpu_is_touched, device, calls, searches):
    def search_and_fail() -> None:
        with devices.searched_convolutions(device, calls):
            assert torch.backends.cudnn.benchmark is searches
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        search_and_fail()
    assert not torch.backends.cudnn.benchmark


def test_images_are_laid_out_channels_last_and_features_are_not():
    assert devices.memory_format_for(torch.zeros(2, 3, 4, 4)) == torch.channels_last
    assert devices.memory_format_for(torch.zeros(2, 3)) == torch.contiguous_format


def test_cpu_facts():
    assert not devices.supports_bf16("cpu")
    assert devices.device_name("cpu")
    devices.synchronise("cpu")
