"""A GPU that is none: enough of `torch.cuda` for code behind `device.type == "cuda"` to run on a CPU.

Tensors stay on the CPU; what asks them is told that they are on `cuda:0`. A CUDA graph really records: it
keeps the operations that run while it is captured, and repeats them on the same memory when it is replayed.
An operation that waits for the device breaks a capture, as on a GPU. Speed and rounding are those of the CPU.

`install` changes the whole process; the module `sitecustomize` beside this one calls it as soon as torch is
there.
"""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NAME = "no GPU, a stand-in on the CPU"
UUID = "00000000-0000-0000-0000-000000000000"
_GPU, _CPU = torch.device("cuda:0"), torch.device("cpu")
_WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero")
_REFUSED = "operation not permitted when stream is capturing"


def _on_cpu(value: Any) -> Any:
    if isinstance(value, torch.device):
        return _CPU if value.type == "cuda" else value
    return "cpu" if isinstance(value, str) and value.partition(":")[0] == "cuda" else value


class OnCpu(TorchFunctionMode):
    """Sends to the CPU what is meant for a GPU, and tells whoever asks that it is on the GPU."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if func is torch.device:  # only a name
            return func(*args, **(kwargs or {}))
        if func in (torch.Tensor.cuda, torch.Tensor.pin_memory):
            return args[0]
        if func == torch.Tensor.device.__get__:
            return _GPU
        if func == torch.Tensor.is_cuda.__get__:
            return True
        kwargs = {name: _on_cpu(value) for name, value in (kwargs or {}).items()}
        return func(*map(_on_cpu, args), **kwargs)


class _Recording(TorchDispatchMode):
    def __init__(self, graph: CudaGraph) -> None:
        super().__init__()
        self._graph = graph

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ in _WAITING:
            raise RuntimeError(_REFUSED)
        result = func(*args, **(kwargs or {}))
        self._graph.operations.append((func, args, kwargs or {}, result))
        return result


class CudaGraph:
    """The operations of a capture, with the tensors that they read and wrote."""

    def __init__(self) -> None:
        self.operations: list[tuple[Any, Any, Any, Any]] = []

    def replay(self) -> None:
        """Repeat every operation, and put what it returns where the capture had put it."""
        with torch.no_grad():
            for func, args, kwargs, result in self.operations:
                read = {_memory(t) for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)}
                again = func(*args, **kwargs)
                for old, new in zip(tree_leaves(result), tree_leaves(again), strict=True):
                    if isinstance(old, torch.Tensor) and _memory(old) not in read:
                        old.copy_(new)


def _memory(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


class Stream:
    """Everything happens at once, so there is nothing to wait for."""

    def __init__(self, device: Any = None) -> None:
        self.device = _GPU

    def wait_stream(self, other: Stream) -> None:
        """Nothing is ever late."""


class Event:
    """The time at which it was recorded."""

    def __init__(self, enable_timing: bool = False) -> None:
        self._at = 0.0

    def record(self) -> None:
        """Note the time."""
        self._at = time.perf_counter()

    def synchronize(self) -> None:
        """It has happened already."""

    def elapsed_time(self, end: Event) -> float:
        """Milliseconds between the two."""
        return 1000 * (end._at - self._at)


class Generator:
    """The generator of the GPU, which is that of the CPU; a broken capture leaves it broken."""

    broken = False

    def clone_state(self) -> torch.Tensor:
        """Its state, which `graphsafe_set_state` takes."""
        return torch.get_rng_state()

    def graphsafe_set_state(self, state: torch.Tensor) -> None:
        """Take that state, and be whole."""
        torch.set_rng_state(state)
        self.broken = False


class _State:
    stream = Stream()
    generators = (Generator(),)


@contextmanager
def _stream(stream: Stream) -> Iterator[None]:
    before, _State.stream = _State.stream, stream
    yield
    _State.stream = before  # not after an error: torch leaves the stream of a broken capture current


@contextmanager
def _graph(graph: CudaGraph, stream: Stream) -> Iterator[None]:
    with _stream(stream):
        try:
            with _Recording(graph):
                yield
        except RuntimeError as error:
            _State.generators[0].broken = True
            raise RuntimeError("operation failed due to a previous error during capture") from error


def _set_rng_state(state: torch.Tensor, device: Any = None) -> None:
    torch.set_rng_state(state)


def _set_stream(stream: Stream) -> None:
    _State.stream = stream


class _Device:
    def __init__(self, device: Any) -> None: ...
    def __enter__(self) -> None: ...
    def __exit__(self, *error: object) -> None: ...


def stand_ins() -> dict[str, Any]:
    """What replaces the attributes of `torch.cuda`, by name."""
    properties = SimpleNamespace(
        name=NAME, uuid=UUID, total_memory=1 << 30, major=9, minor=0, multi_processor_count=1
    )
    return {
        "CUDAGraph": CudaGraph,
        "Event": Event,
        "Stream": Stream,
        "_is_in_bad_fork": lambda: False,
        "current_device": lambda: 0,
        "current_stream": lambda device=None: _State.stream,
        "default_generators": _State.generators,
        "device": _Device,
        "device_count": lambda: 1,
        "empty_cache": lambda: None,
        "get_device_capability": lambda device=None: (9, 0),
        "get_device_name": lambda device=None: NAME,
        "get_device_properties": lambda device=None: properties,
        "get_rng_state": lambda device=None: torch.get_rng_state(),
        "get_rng_state_all": lambda: [torch.get_rng_state()],
        "graph": _graph,
        "init": lambda: None,
        "is_available": lambda: True,
        "is_bf16_supported": lambda including_emulation=True: True,
        "is_current_stream_capturing": lambda: False,
        "is_initialized": lambda: True,
        "manual_seed_all": lambda seed: None,
        "max_memory_allocated": lambda device=None: 1 << 20,
        "memory_allocated": lambda device=None: 0,
        "reset_peak_memory_stats": lambda device=None: None,
        "set_device": lambda device: None,
        "set_rng_state": _set_rng_state,
        "set_rng_state_all": lambda states: torch.set_rng_state(states[0]),
        "set_stream": _set_stream,
        "stream": _stream,
        "synchronize": lambda device=None: None,
    }


def install() -> None:
    """Make torch see one GPU from now on, in this process and on this thread."""
    for name, value in stand_ins().items():
        setattr(torch.cuda, name, value)
    torch.version.cuda = torch.version.cuda or "0"
    sys.modules["pynvml"] = management_library()
    OnCpu().__enter__()


def management_library(*, slices: bool = False, known: str = f"GPU-{UUID}") -> ModuleType:
    """A stand-in for NVML with one GPU.

    Args:
        slices: whether the board is divided.
        known: the identity that it answers to.
    """
    nvml = ModuleType("pynvml")
    error = type("NVMLError", (Exception,), {})
    used = iter(range(10_000, sys.maxsize, 250))

    def handle(identity: str) -> str:
        if identity != known:
            raise error("Not Found")
        return identity

    initialised: list[bool] = []

    def driver() -> str:
        if not initialised:
            raise error("Uninitialized")
        return "0"

    answers: dict[str, Callable[..., Any]] = {
        "nvmlInit": lambda: initialised.append(True),
        "nvmlDeviceGetHandleByUUID": handle,
        "nvmlDeviceIsMigDeviceHandle": lambda handle: int(handle.startswith("MIG")),
        "nvmlDeviceGetMigMode": lambda handle: [int(slices), int(slices)],
        "nvmlDeviceGetTotalEnergyConsumption": lambda handle: next(used),
        "nvmlDeviceGetUtilizationRates": lambda handle: SimpleNamespace(gpu=50),
        "nvmlDeviceGetMemoryInfo": lambda handle: SimpleNamespace(used=10**9),
        "nvmlSystemGetDriverVersion": driver,
    }
    for name, answer in {"NVMLError": error, **answers}.items():
        setattr(nvml, name, answer)
    return nvml
