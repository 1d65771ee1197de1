"""What NVIDIA's management library (NVML) counts of a GPU: energy, load and memory.

All of it needs the package `nvidia-ml-py` and a driver that answers. What is not counted is None, and nothing
here raises: these figures are shown beside results and decide none of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

_KINDS = ("GPU", "MIG")
"""What identities begin with: whole boards, and slices of boards (multi-instance GPU)."""


class Gpu:
    """A GPU as NVML knows it.

    A board can be divided into slices that work side by side. Energy and load are counted for the whole
    board, so that they say nothing about the work on one slice: there they are None.
    """

    def __init__(self, nvml: Any, handle: Any) -> None:
        self._nvml, self._handle = nvml, handle
        self._is_slice = bool(self._ask("nvmlDeviceIsMigDeviceHandle"))
        mode = self._ask("nvmlDeviceGetMigMode")  # now, and after the next reset
        self._divided = self._is_slice or bool(mode and mode[0])

    def joules(self) -> float | None:
        """Energy that the board has used so far. The counter moves some ten times a second or more."""
        used = None if self._divided else self._ask("nvmlDeviceGetTotalEnergyConsumption")
        return None if used is None else float(used) / 1000

    def load_percent(self) -> float | None:
        """Share of the time, over the last second or less, in which the board computed something."""
        load = None if self._divided else self._ask("nvmlDeviceGetUtilizationRates")
        return None if load is None else float(load.gpu)

    def memory_mb(self) -> float | None:
        """Memory in use by all processes, in 10^6 bytes: of the board, or of the slice itself."""
        memory = None if self._divided and not self._is_slice else self._ask("nvmlDeviceGetMemoryInfo")
        return None if memory is None else float(memory.used) / 1e6

    def _ask(self, function: str) -> Any:
        """What NVML answers; None where the package, the driver or the GPU does not know the question."""
        try:
            return getattr(self._nvml, function)(self._handle)
        except (self._nvml.NVMLError, AttributeError):
            return None


def identity(device: torch.device | str) -> str | None:
    """The unique number of an NVIDIA GPU, as torch tells it; None for any other device.

    Asked of torch, since NVML numbers all GPUs and torch the visible ones.
    """
    import torch

    chosen = torch.device(device)
    if chosen.type != "cuda" or torch.version.cuda is None:
        return None
    return str(torch.cuda.get_device_properties(chosen).uuid)


def find(unique: str | None) -> Gpu | None:
    """The GPU of that `identity`; None where there is none, or NVML cannot be asked."""
    if unique is None:
        return None
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    for kind in _KINDS:
        try:
            return Gpu(pynvml, pynvml.nvmlDeviceGetHandleByUUID(f"{kind}-{unique}"))
        except pynvml.NVMLError:
            continue
    return None


def energy_meter(device: torch.device | str) -> Callable[[], float | None] | None:
    """What reads the joules that the device has used so far, or None where nothing counts them."""
    gpu = find(identity(device))
    return None if gpu is None or gpu.joules() is None else gpu.joules
