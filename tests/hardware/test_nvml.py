"""What NVIDIA's management library is asked: a stand-in answers for whole boards and slices, or refuses."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from benchsuite.execution.sampling import _gpu_use
from benchsuite.hardware import nvml

if TYPE_CHECKING:
    from collections.abc import Callable


class NVMLError(Exception):
    """As NVML calls its errors."""


def refuse(*_: object) -> Any:
    raise NVMLError("Not Supported")


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts a stand-in for the library in place, and a GPU that torch sees."""

    def put(known: str = "GPU-1234", **answers: Any) -> None:
        def handle(identity: str) -> str:
            return identity if identity == known else refuse()

        module = ModuleType("pynvml")
        functions = {
            "nvmlInit": lambda: None,
            "nvmlDeviceGetHandleByUUID": handle,
            "nvmlDeviceIsMigDeviceHandle": lambda handle: handle.startswith("MIG"),
            "nvmlDeviceGetMigMode": refuse,
            "nvmlDeviceGetTotalEnergyConsumption": {known: 2500}.__getitem__,
            "nvmlDeviceGetUtilizationRates": lambda handle: SimpleNamespace(gpu=70, memory=1),
            "nvmlDeviceGetMemoryInfo": lambda handle: SimpleNamespace(used=3_000_000),
        }
        for name, function in {"NVMLError": NVMLError, **functions, **answers}.items():
            if function is not None:
                setattr(module, name, function)
        monkeypatch.setitem(sys.modules, "pynvml", module)

    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="1234"))
    return put


def use() -> dict[str, float]:
    return _gpu_use(nvml.find(nvml.identity("cuda:0")))


def test_a_whole_board_is_counted(library):
    library()
    meter = nvml.energy_meter("cuda:0")
    assert meter is not None
    assert meter() == 2.5
    assert use() == {"gpu_percent": 70, "gpu_memory_mb": 3}


def test_a_board_that_could_be_divided_but_is_not_is_a_whole_one(library):
    library(nvmlDeviceGetMigMode=lambda handle: [0, 1])
    assert nvml.energy_meter("cuda:0") is not None


def test_a_slice_that_is_known_by_its_own_number_has_its_own_memory_and_nothing_of_the_board(library):
    library(known="MIG-1234")
    assert nvml.energy_meter("cuda:0") is None
    assert use() == {"gpu_memory_mb": 3}


def test_a_slice_that_is_known_by_its_board_s_number_has_nothing(library):
    library(nvmlDeviceGetMigMode=lambda handle: [1, 1])
    assert nvml.energy_meter("cuda:0") is None
    assert use() == {}


@pytest.mark.parametrize(
    "answers",
    [
        {"nvmlInit": refuse},
        {"nvmlDeviceGetHandleByUUID": refuse},
        {"nvmlDeviceGetTotalEnergyConsumption": refuse},
        {"nvmlDeviceGetTotalEnergyConsumption": None},  # an older package without the function
    ],
)
def test_what_cannot_be_asked_is_not_counted(library, answers):
    library(**answers)
    assert nvml.energy_meter("cuda:0") is None


def test_one_answer_that_fails_leaves_the_others(library):
    library(nvmlDeviceGetUtilizationRates=refuse)
    assert use() == {"gpu_memory_mb": 3}


def test_no_package_and_no_gpu_count_nothing(library, monkeypatch):
    library()
    assert nvml.identity("cpu") is None
    assert nvml.find(None) is None
    assert nvml.energy_meter("cpu") is None
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert nvml.energy_meter("cuda:0") is None
    assert use() == {}


def test_a_gpu_of_another_maker_is_not_asked_for(library, monkeypatch):
    library()
    monkeypatch.setattr(torch.version, "cuda", None)
    assert nvml.identity("cuda:0") is None
