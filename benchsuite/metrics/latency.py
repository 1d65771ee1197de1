"""How long a pruned network takes for a batch, beside the dense one it was made from."""

from __future__ import annotations

import copy
import gc
import math
import resource
import statistics
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from benchsuite.contracts.inputs import joined, laid_out, memory_format_of
from benchsuite.hardware.devices import (
    exact_float32,
    searched_convolutions,
    synchronise,
)
from benchsuite.metrics.median_interval import FEWEST, MedianInterval, median_interval
from benchsuite.metrics.sparse_kernels import use_sparse_kernels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor, nn

    from benchsuite.contracts.inputs import Inputs

_WARM_UP_CALLS = 3
_BLOCK_SECONDS = 0.015
_PAIRS_OF_A_BLOCK = 500
_BLOCKS = 10
"""How many there are at least, where time allows; six are made in any case."""
_GROWTH = 1.25
"""Blocks before the next look at the interval, as a factor: many looks stop where it is narrow by chance."""
_SHORTEST_MS = 1e-6
"""What a clock cannot tell from nothing."""
WIDEST = 0.03
"""How wide the interval of a speedup may be, as a fraction of it."""


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
        ratio: of the duration of the dense network to that of the pruned one, over blocks of rounds.
        undisturbed: whether the durations are of rounds that nothing interrupted; else of all rounds.
        batch_size: samples per forward pass.
        samples: forward passes timed of each network.
        threads: threads of one operation on the CPU.
        sparse_layers: layers of the pruned network that ran on kernels for the 2:4 pattern.
    """

    dense: Timing
    pruned: Timing
    ratio: MedianInterval
    undisturbed: bool
    batch_size: int
    samples: int
    threads: int
    sparse_layers: int = 0

    @property
    def speedup(self) -> float:
        """Median ratio of the durations: above 1 means pruning made it faster."""
        return self.ratio.median

    @property
    def is_settled(self) -> bool:
        """Whether the interval of the speedup is as narrow as it should be, from undisturbed rounds."""
        return self.undisturbed and self.ratio.width <= WIDEST


def measure_latency(
    dense: nn.Module,
    pruned: nn.Module,
    example: Inputs,
    batch_size: int,
    device: torch.device | str,
    *,
    seconds: float = 5.0,
    sparse_kernels: bool = False,
) -> Latency:
    """Time single forward passes of both networks in evaluation mode, in float32, on the same batch.

    A round times each network once. Rounds come in pairs, the second in the reverse order, and each pair
    gives one ratio: the geometric mean of its two. Drifts of the clock rate, what programs on other cores
    take of caches and memory, and what one call does to the next meet both networks alike in it; pairs begin
    with each network in turn. A program on the same core does not: it interrupts the longer calls more often.
    So a pair during which the system took the processor away from this process is left out, on a CPU.

    Pairs of 15 ms are a block, whose value is their median. Where a copy is made in less than that, each
    block has new copies of both networks: where they lie in memory moves the durations of small networks by
    some tenths of a percent. Blocks go on, after the warm-up, until the 95% interval of their median is at
    most 3% wide, or for `seconds`; six are made in any case, ten where there is time. Where fewer than six
    blocks then have a pair that was not interrupted, all pairs count, and the speedup is not settled.

    The networks are copied, not changed. CUDA events time a GPU, the monotonic clock a CPU. On a GPU float32
    is exact (no TF32), and convolutions run on the fastest kernels that cuDNN has.

    Args:
        dense: the network before pruning.
        pruned: the network after it.
        example: some normalised inputs, repeated or cut to make the batch.
        batch_size: samples per forward pass.
        device: where to measure; nothing else should run there.
        seconds: most time to spend on blocks.
        sparse_kernels: time both in half precision, the pruned one with kernels for the 2:4 pattern, in
            those layers whose kernels run on this batch.
    """
    device = torch.device(device)
    batch = batch_of(example, batch_size, device)
    with torch.inference_mode(), exact_float32(), searched_convolutions(device), _no_garbage_collection():
        pair = _Pair(dense, pruned, batch, sparse_kernels=sparse_kernels)
        blocks = _blocks(pair, seconds)
    kept = _undisturbed(blocks)
    undisturbed = len(kept) >= FEWEST
    pairs = kept if undisturbed else [block.pairs for block in blocks]
    rounds = [both for block in pairs for two in block for both in two]
    return Latency(
        dense=_timing([dense for dense, _ in rounds]),
        pruned=_timing([pruned for _, pruned in rounds]),
        ratio=_ratio(pairs),
        undisturbed=undisturbed,
        batch_size=batch_size,
        samples=len(rounds),
        threads=torch.get_num_threads(),
        sparse_layers=pair.sparse_layers,
    )


_TwoRounds = tuple[tuple[float, float], tuple[float, float]]
"""Durations (dense, pruned) of a round, and of the next in reverse order."""


@dataclass
class _Block:
    """Pairs of rounds that follow each other.

    Attributes:
        pairs: their durations in milliseconds.
        interrupted: of each, whether the system took the processor away meanwhile.
    """

    pairs: list[_TwoRounds]
    interrupted: list[bool]


class _Pair:
    """Copies of both networks, warm and ready to be timed."""

    def __init__(self, dense: nn.Module, pruned: nn.Module, batch: Inputs, *, sparse_kernels: bool) -> None:
        self._originals = (dense, pruned)
        self._batch = batch
        self._copies: dict[int, nn.Module] = {}
        self._time_call = _time_on_gpu if batch.device.type == "cuda" else _time_on_cpu
        self.sparse_layers = 0
        start = time.perf_counter()
        self._copy(0)
        self._renews = not sparse_kernels and time.perf_counter() - start < _BLOCK_SECONDS
        if sparse_kernels:
            self._batch = batch.to(torch.half)
            self._copies = {which: network.half() for which, network in self._copies.items()}
            self.sparse_layers = use_sparse_kernels(self._copies[1], self._batch)
        self._call(_WARM_UP_CALLS)

    def block(self, number: int) -> _Block:
        """Durations in milliseconds of some pairs of rounds."""
        if number and self._renews:
            self._copy(number % 2)
            self._call(1)
        block = _Block([], [])
        start = time.perf_counter()
        while len(block.pairs) < _PAIRS_OF_A_BLOCK:
            before = self._interruptions()
            block.pairs.append(self._two_rounds(first=(number + len(block.pairs)) % 2))
            block.interrupted.append(self._interruptions() != before)
            if time.perf_counter() - start >= _BLOCK_SECONDS:
                break
        return block

    def _interruptions(self) -> int:
        """How often the system has taken a processor away from this process; no matter to events on a GPU."""
        return 0 if self._batch.device.type == "cuda" else resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw

    def _copy(self, first: int) -> None:
        """Make new copies, the first or the second network's before the other's."""
        self._copies = {}
        for which in (first, 1 - first):
            self._copies[which] = prepared(self._originals[which], self._batch.device, self._batch)

    def _call(self, times: int) -> None:
        for _ in range(times):
            for which in (0, 1):
                self._copies[which](self._batch)
        synchronise(self._batch.device)

    def _two_rounds(self, first: int) -> _TwoRounds:
        """Two rounds, the second in reverse order; what lies before them slows down the first call."""
        order = (first, 1 - first, 1 - first, first)
        one, two, three, four = (self._time_call(self._copies[which], self._batch) for which in order)
        return ((one, two), (four, three)) if first == 0 else ((two, one), (three, four))


def _blocks(pair: _Pair, seconds: float) -> list[_Block]:
    """Durations of both networks, by block."""
    blocks: list[_Block] = []
    start = time.perf_counter()
    next_look = _BLOCKS
    while True:
        blocks.append(pair.block(len(blocks)))
        if len(blocks) < FEWEST:
            continue
        if time.perf_counter() - start >= seconds:
            return blocks
        kept = _undisturbed(blocks)
        if len(kept) >= next_look:
            if _ratio(kept).width <= WIDEST:
                return blocks
            next_look = math.ceil(_GROWTH * len(kept))


def _undisturbed(blocks: Sequence[_Block]) -> list[list[_TwoRounds]]:
    """Of each block that has some, the pairs of rounds that nothing interrupted."""
    kept = [
        [two for two, hit in zip(block.pairs, block.interrupted, strict=True) if not hit] for block in blocks
    ]
    return [pairs for pairs in kept if pairs]


def _ratio(blocks: Sequence[Sequence[_TwoRounds]]) -> MedianInterval:
    """Dense over pruned, with its interval, from the pairs of rounds in each block."""

    def of_pair(first: tuple[float, float], second: tuple[float, float]) -> float:
        dense, pruned = (
            math.sqrt(max(one, _SHORTEST_MS) * max(two, _SHORTEST_MS))
            for one, two in zip(first, second, strict=True)
        )
        return dense / pruned

    return median_interval([statistics.median(of_pair(*two) for two in block) for block in blocks])


def batch_of(example: Inputs, size: int, device: torch.device) -> Inputs:
    """A batch on the device in its fastest layout, of inputs that are repeated or cut to the size."""
    repeats = -(-size // len(example))
    batch: Inputs = laid_out(joined([example] * repeats)[:size].to(device))
    return batch


def prepared(network: nn.Module, device: torch.device, batch: Inputs) -> nn.Module:
    """A copy of the network on the device, in evaluation mode and in the layout of the batch."""
    network = copy.deepcopy(network).to(device).eval()
    return network.to(memory_format=memory_format_of(batch))


def _time_on_cpu(network: Callable[[Inputs], Tensor], batch: Inputs) -> float:
    start = time.perf_counter_ns()
    network(batch)
    return (time.perf_counter_ns() - start) / 1e6


def _time_on_gpu(network: Callable[[Inputs], Tensor], batch: Inputs) -> float:
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
