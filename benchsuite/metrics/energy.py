"""How much energy a pruned network takes for a sample, beside the dense one it was made from."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

import torch

from benchsuite.hardware.devices import exact_float32, searched_convolutions, synchronise
from benchsuite.hardware.nvml import energy_meter
from benchsuite.metrics.latency import batch_of, prepared

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from benchsuite.metrics.latency import Latency

_ORDER = (0, 1, 1, 0)
"""Dense, pruned, pruned, dense: a board that warms up, or slows down, meets both alike."""
_LOOK_SECONDS = 0.005
"""Work between two looks at the counter: what the time of a step of it is known to."""
_SETTLING_SECONDS = 0.3
"""Work before anything counts: power follows the load, and counters follow the power, with some delay."""
_PATIENCE = 4.0
"""How many times the usual seconds to wait for a counter that does not move."""


@dataclass(frozen=True)
class Energy:
    """Millijoules per sample that the whole device used while it did nothing but forward passes."""

    dense_mj: float
    pruned_mj: float


def measure_energy(
    dense: nn.Module,
    pruned: nn.Module,
    example: Tensor,
    latency: Latency,
    device: torch.device | str,
    *,
    seconds: float = 1.0,
) -> Energy | None:
    """Count the energy of forward passes in evaluation mode, in float32; None where the device counts none.

    Each network runs for about `seconds`, in two halves around those of the other. The counters of devices
    move only some times a second, so what counts of a half lies between two steps of the counter: the energy
    from the one to the other, over the samples in between. What the device uses when idle is part of it. On a
    GPU float32 is exact and the kernels are those of `measure_latency`.

    Args:
        dense: the network before pruning.
        pruned: the network after it.
        example: some normalised inputs, repeated or cut to make the batch.
        latency: how long both take, which also says the batch size.
        device: where to measure; nothing else should run there.
        seconds: time to spend on each network, beside that in which the power settles.
    """
    meter = energy_meter(device)
    if meter is None:
        return None
    device = torch.device(device)
    batch = batch_of(example, latency.batch_size, device)
    work = [
        _Work(prepared(network, device, batch), batch, timing.median_ms)
        for network, timing in ((dense, latency.dense), (pruned, latency.pruned))
    ]
    joules, samples = [0.0, 0.0], [0, 0]
    with torch.inference_mode(), exact_float32(), searched_convolutions(device):
        for which in _ORDER:
            counted = _count(work[which], meter, seconds * len(work) / len(_ORDER))
            if counted is None:
                return None
            joules[which] += counted[0]
            samples[which] += counted[1]
    return Energy(*(1000 * used / number for used, number in zip(joules, samples, strict=True)))


class _Work:
    """Forward passes without a pause, as many as take about the time between two looks at the counter."""

    def __init__(self, model: nn.Module, batch: Tensor, milliseconds: float) -> None:
        self._model, self._batch = model, batch
        self._calls = max(1, int(1000 * _LOOK_SECONDS / milliseconds))

    def __call__(self) -> int:
        """Do it; returns how many samples that were."""
        for _ in range(self._calls):
            self._model(self._batch)
        synchronise(self._batch.device)
        return self._calls * len(self._batch)


def _count(work: _Work, meter: Callable[[], float | None], seconds: float) -> tuple[float, int] | None:
    """Joules and samples between two steps of the counter, as soon as they are `seconds` apart.

    None where the counter has stopped to answer, or does not move for very long.
    """
    start = perf_counter()
    while perf_counter() - start < _SETTLING_SECONDS:
        work()
    first = _next_step(work, meter, seconds)
    if first is None:
        return None
    start, last, samples = perf_counter(), first.joules, 0
    while perf_counter() - start < seconds:
        step = _next_step(work, meter, seconds)
        if step is None:
            return None
        last, samples = step.joules, samples + step.samples
    return last - first.joules, samples


@dataclass(frozen=True)
class _Step:
    """What the counter stands at after a step of it, and the samples since one looked last."""

    joules: float
    samples: int


def _next_step(work: _Work, meter: Callable[[], float | None], seconds: float) -> _Step | None:
    """Work until the counter moves."""
    before, samples, start = meter(), 0, perf_counter()
    while before is not None and perf_counter() - start < _PATIENCE * seconds:
        samples += work()
        now = meter()
        if now is None:
            return None
        if now != before:
            return _Step(now, samples)
    return None
