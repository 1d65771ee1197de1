"""Everything that depends on the kind of device: the rest of the suite asks here.

Importing this module does not import torch, and neither does `parse_devices` on a machine without a GPU.
"""

from __future__ import annotations

import ctypes
import platform
import re
import resource
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchsuite.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
_FEWEST_CALLS_WORTH_A_SEARCH = 5000
"""More than most recoveries have steps, fewer than a dense training of a real network.

On an H200 a search of seven convolutions took 1.2 to 2.7 s, its steps were then 5 to 8% shorter, and it had
paid for itself after 4,000 to 12,000 of them (`docs/gpu-report.md`).
"""


def parse_devices(text: str) -> list[str]:
    """Return the devices that `--devices` names.

    Args:
        text: "auto" (every visible GPU, else the CPU), "cpu", or a list such as "cuda:0,cuda:1".

    Raises:
        UsageError: a name is unknown, listed twice, or not on this machine.
    """
    names = [name.strip().lower() for name in text.split(",")]
    if names == ["auto"]:
        return [f"cuda:{index}" for index in range(_visible_gpus())] or ["cpu"]
    devices = ["cuda:0" if name == "cuda" else name for name in names]
    for device in devices:
        match = re.fullmatch(r"cuda:(\d+)", device)
        if device != "cpu" and match is None:
            raise UsageError(
                f"unknown device {device!r} in {text!r}: use auto, cpu, or a list as in cuda:0,cuda:1"
            )
        if devices.count(device) > 1:
            raise UsageError(f"device {device!r} is listed twice in {text!r}: use --jobs for more workers")
        if match is not None and int(match[1]) >= (visible := _visible_gpus()):
            there = f"the last one here is cuda:{visible - 1}" if visible else "no GPU is visible here"
            raise UsageError(f"no device {device!r}: {there}")
    return devices


def _visible_gpus() -> int:
    """Number of GPUs that torch sees, without importing it where Linux has no driver's device file."""
    if sys.platform == "linux":
        nodes = ("nvidia[0-9]*", "dxg", "kfd")
        if not any(True for pattern in nodes for _ in Path("/dev").glob(pattern)):
            return 0
    import torch

    return torch.cuda.device_count()


def prepare(device: str, cpu_threads: int | None = None) -> torch.device:
    """Make `device` this process's device and return it; a worker calls this once, before anything else.

    Args:
        device: as `parse_devices` returns it.
        cpu_threads: threads of one operation on the CPU. Results on a CPU are the same bits only for the
            same number of threads. None leaves torch's choice.
    """
    import torch

    if cpu_threads is not None:
        torch.set_num_threads(cpu_threads)
    chosen = torch.device(device)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    return chosen


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Within the context one operation on the CPU runs on so many threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def synchronise(device: torch.device | str) -> None:
    """Wait until everything queued on the device is done; on a CPU nothing is ever queued."""
    import torch

    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def supports_bf16(device: torch.device | str) -> bool:
    """Whether the device computes in bfloat16 faster than in float32 (on CPUs the suite does not use it)."""
    import torch

    chosen = torch.device(device)
    if chosen.type != "cuda":
        return False
    with torch.cuda.device(chosen):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def memory_format_for(inputs: torch.Tensor) -> torch.memory_format:
    """The fastest layout for convolutions over `inputs`, on every device: channels last for images."""
    import torch

    return torch.channels_last if inputs.dim() == 4 else torch.contiguous_format


def device_name(device: torch.device | str) -> str:
    """The device as its maker calls it, for provenance; of a CPU without importing torch."""
    if str(device) != "cpu":
        import torch

        chosen = torch.device(device)
        if chosen.type == "cuda":
            return torch.cuda.get_device_name(chosen)
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        match = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.MULTILINE)
        if match is not None:
            return match[1].strip()
    return platform.processor() or platform.machine()


def device_libraries(device: torch.device | str) -> dict[str, str]:
    """Versions of what computes on the device beside torch: CUDA and cuDNN on a GPU, nothing on a CPU."""
    if str(device) == "cpu":
        return {}
    import torch

    return {"cuda": str(torch.version.cuda), "cudnn": str(torch.backends.cudnn.version())}


@contextmanager
def searched_convolutions(device: torch.device | str, calls: int | None = None) -> Iterator[None]:
    """Within the context cuDNN tries its kernels for each convolution that it meets, and keeps the fastest.

    Else it takes the kernel that its rules of thumb name, at no cost. A search runs every kernel for every
    convolution, direction, shape and precision before the first step. Each pruned network has shapes of its
    own, and its recovery is often over in seconds, so that a search there costs more than it brings; and
    two searches may end with two kernels, which round differently. No process searches by itself, then:
    what makes very many calls of the same shapes asks for it here. `make gpu` measures what a search
    costs, what a step gains, and after how many steps it has paid for itself.

    torch remembers the kernel of a convolution, whichever way it was found. One that has run before in
    the same process by the rules is not searched any more: so what measures durations is within the
    context from its first call on.

    Args:
        device: where the convolutions run; on anything but a GPU nothing is searched.
        calls: how often each shape will come; None for as often as it takes.
    """
    import torch

    if torch.device(device).type != "cuda" or (calls is not None and calls < _FEWEST_CALLS_WORTH_A_SEARCH):
        yield
        return
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


@contextmanager
def exact_float32() -> Iterator[None]:
    """Within the context float32 means float32: no TF32 in convolutions and matrix products on GPUs."""
    import torch

    cudnn, matmul = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = cudnn, matmul


@dataclass
class PeakMemory:
    """How much memory a piece of work took at its peak, beyond what was in use before it."""

    megabytes: float = 0.0
    """In units of 10^6 bytes; set when the context of `peak_memory` ends."""


@contextmanager
def peak_memory(device: torch.device | str) -> Iterator[PeakMemory]:
    """Measure the peak of memory within the context.

    On a GPU: the largest amount that torch had allocated, less the amount allocated at the start. On a
    CPU: the growth of the process's largest resident set. Linux resets that mark at the start; elsewhere
    it is the mark of the process's whole life, so work that stays below an earlier peak reads as 0.
    What the C library kept of earlier work is given back first where it can be, since memory that is used
    again does not make the process grow.
    """
    import torch

    peak = PeakMemory()
    chosen = torch.device(device)
    if chosen.type == "cuda":
        torch.cuda.init()  # torch has no counters to reset before the first use of a GPU
        torch.cuda.reset_peak_memory_stats(chosen)
        start = torch.cuda.memory_allocated(chosen)
        yield peak
        peak.megabytes = (torch.cuda.max_memory_allocated(chosen) - start) / 1e6
    else:
        _give_back_free_memory()
        start = _resident_peak(reset=True)
        yield peak
        peak.megabytes = (_resident_peak() - start) / 1e6


def _give_back_free_memory() -> None:
    """Return freed memory to the system, with glibc."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def _resident_peak(*, reset: bool = False) -> int:
    """Largest resident set in bytes, since the last reset where the system can reset it."""
    if _STATUS.exists():
        if reset:
            with suppress(OSError):  # some containers forbid it: then the mark is the whole life's
                _CLEAR_REFS.write_text("5")
        match = re.search(r"^VmHWM:\s*(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
        if match is not None:
            return int(match[1]) * 1024
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes if sys.platform == "darwin" else kilobytes * 1024
