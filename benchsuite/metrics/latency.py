"""How long a pruned network takes for a batch, beside the dense one it was made from."""

from __future__ import annotations

import copy
import gc
import statistics
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from benchsuite.hardware.devices import (
    exact_float32,
    memory_format_for,
    searched_convolutions,
    synchronise,
)
from benchsuite.metrics.sparse_kernels import use_sparse_kernels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor, nn

_WARM_UP_CALLS = 3
_FEWEST_ROUNDS = 7


@dataclass(frozen=True)
class Timing:
    """Durations of single forward passes in milliseconds: the quartiles."""

    lower_ms: float
    median_ms: float
    upper_ms: float


@dataclass(frozen=True)
class Latency:
    """Forward passes of two networks over the same batch, measured in turn.

    Attributes:
        dense: durations of the dense network.
        pruned: durations of the pruned network.
        batch_size: samples per forward pass.
        samples: forward passes timed of each network.
        threads: threads of one operation on the CPU.
        sparse_layers: layers of the pruned network that ran on kernels for the 2:4 pattern.
    """

    dense: Timing
    pruned: Timing
    batch_size: int
    samples: int
    threads: int
    sparse_layers: int = 0

    @property
    def speedup(self) -> float:
        """Median of the dense network over median of the pruned one: above 1 means pruning made it faster."""
        return self.dense.median_ms / self.pruned.median_ms


def measure_latency(
    dense: nn.Module,
    pruned: nn.Module,
    example: Tensor,
    batch_size: int,
    device: torch.device | str,
    *,
    seconds: float = 0.1,
    most_rounds: int = 200,
    sparse_kernels: bool = False,
) -> Latency:
    """Time single forward passes of both networks in evaluation mode, in float32, on the same batch.

    A round times each network once, in an order that alternates, so that drifts of the clock rate meet
    both alike. Rounds go on for about `seconds` after the warm-up, but number at least 7 and at most
    `most_rounds`. The networks are copied, not changed. CUDA events time a GPU, the monotonic clock a CPU.
    On a GPU float32 is exact (no TF32), and convolutions run on the fastest kernels that cuDNN has.

    Args:
        dense: the network before pruning.
        pruned: the network after it.
        example: some normalised inputs, repeated or cut to make the batch.
        batch_size: samples per forward pass.
        device: where to measure; nothing else should run there.
        seconds: time to spend on rounds.
        most_rounds: bound on rounds.
        sparse_kernels: time both in half precision, the pruned one with kernels for the 2:4 pattern, in
            those layers whose kernels run on this batch.
    """
    device = torch.device(device)
    batch = batch_of(example, batch_size, device)
    networks = [prepared(network, device, batch) for network in (dense, pruned)]
    sparse_layers = 0
    if sparse_kernels:
        batch = batch.half()
        networks = [network.half() for network in networks]
        sparse_layers = use_sparse_kernels(networks[1], batch)
    time_call = _time_on_gpu if device.type == "cuda" else _time_on_cpu
    durations: tuple[list[float], list[float]] = ([], [])
    with (
        torch.inference_mode(),
        exact_float32(),
        searched_convolutions(device),
        _no_garbage_collection(),
    ):
        for _ in range(_WARM_UP_CALLS):
            for network in networks:
                network(batch)
        synchronise(device)
        end = time.perf_counter() + seconds
        while len(durations[0]) < _FEWEST_ROUNDS or (
            len(durations[0]) < most_rounds and time.perf_counter() < end
        ):
            order = (0, 1) if len(durations[0]) % 2 == 0 else (1, 0)
            for which in order:
                durations[which].append(time_call(networks[which], batch))
    return Latency(
        dense=_timing(durations[0]),
        pruned=_timing(durations[1]),
        batch_size=batch_size,
        samples=len(durations[0]),
        threads=torch.get_num_threads(),
        sparse_layers=sparse_layers,
    )


def batch_of(example: Tensor, size: int, device: torch.device) -> Tensor:
    """A batch on the device in its fastest layout, of inputs that are repeated or cut to the size."""
    repeats = -(-size // len(example))
    batch = torch.cat([example] * repeats)[:size].to(device)
    return batch.contiguous(memory_format=memory_format_for(example))


def prepared(network: nn.Module, device: torch.device, batch: Tensor) -> nn.Module:
    """A copy of the network on the device, in evaluation mode and in the layout of the batch."""
    network = copy.deepcopy(network).to(device).eval()
    return network.to(memory_format=memory_format_for(batch))


def _time_on_cpu(network: Callable[[Tensor], Tensor], batch: Tensor) -> float:
    start = time.perf_counter_ns()
    network(batch)
    return (time.perf_counter_ns() - start) / 1e6


def _time_on_gpu(network: Callable[[Tensor], Tensor], batch: Tensor) -> float:
    with torch.cuda.device(batch.device):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        network(batch)
        end.record()
        end.synchronize()
    return float(start.elapsed_time(end))


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _timing(durations: list[float]) -> Timing:
    return Timing(*statistics.quantiles(durations, n=4, method="inclusive"))
