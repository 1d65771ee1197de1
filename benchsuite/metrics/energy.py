"""How much energy a pruned network takes for a sample, beside the dense one it was made from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from benchsuite.hardware.devices import exact_float32, searched_convolutions, synchronise
from benchsuite.hardware.nvml import energy_meter
from benchsuite.metrics.latency import batch_of, prepared

if TYPE_CHECKING:
    from torch import Tensor, nn

    from benchsuite.metrics.latency import Latency

_MOST_CALLS = 100_000
_ORDER = (0, 1, 1, 0)
"""Dense, pruned, pruned, dense: a board that warms up, or slows down, meets both alike."""


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

    Each network runs as many batches as take about `seconds`, in two halves around those of the other and
    each half without a pause, since the counters of devices move only some times a second. On a GPU
    float32 is exact and the kernels are those of `measure_latency`. What the device uses when idle is part
    of it.

    Args:
        dense: the network before pruning.
        pruned: the network after it.
        example: some normalised inputs, repeated or cut to make the batch.
        latency: how long both take, which also says the batch size.
        device: where to measure; nothing else should run there.
        seconds: time to spend on each network.
    """
    meter = energy_meter(device)
    if meter is None:
        return None
    device = torch.device(device)
    batch = batch_of(example, latency.batch_size, device)
    models = [prepared(network, device, batch) for network in (dense, pruned)]
    halves = len(_ORDER) // len(models)
    calls = [
        min(_MOST_CALLS, math.ceil(1000 * seconds / halves / timing.median_ms))
        for timing in (latency.dense, latency.pruned)
    ]
    joules = [0.0, 0.0]
    with torch.inference_mode(), exact_float32(), searched_convolutions(device):
        for model in models:
            model(batch)
        for which in _ORDER:
            synchronise(device)
            before = meter()
            for _ in range(calls[which]):
                models[which](batch)
            synchronise(device)
            after = meter()
            if before is None or after is None:
                return None  # the device has stopped to count
            joules[which] += after - before
    samples = [halves * number * latency.batch_size for number in calls]
    return Energy(*(1000 * used / number for used, number in zip(joules, samples, strict=True)))
