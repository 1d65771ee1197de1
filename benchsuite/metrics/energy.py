"""How much energy a pruned network takes for a sample, beside the dense one it was made from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from benchsuite.devices import energy_meter, synchronise
from benchsuite.metrics.latency import batch_of, prepared

if TYPE_CHECKING:
    from torch import Tensor, nn

    from benchsuite.metrics.latency import Latency

_MOST_CALLS = 100_000


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

    Each network runs as many batches as take about `seconds`, one after the other without a pause, since
    the counters of devices move only some times a second. What the device uses when idle is part of it.

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
    found = []
    for network, timing in ((dense, latency.dense), (pruned, latency.pruned)):
        calls = min(_MOST_CALLS, math.ceil(1000 * seconds / timing.median_ms))
        model = prepared(network, device, batch)
        with torch.inference_mode():
            model(batch)
            synchronise(device)
            before = meter()
            for _ in range(calls):
                model(batch)
            synchronise(device)
        found.append(1000 * (meter() - before) / (calls * latency.batch_size))
    return Energy(*found)
