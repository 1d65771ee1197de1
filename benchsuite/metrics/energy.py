"""How much energy a pruned network takes for a sample, beside the dense one it was made from."""

from __future__ import annotations

import threading
from bisect import bisect_right
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

import torch

from benchsuite.hardware.devices import exact_float32, searched_convolutions, synchronise
from benchsuite.hardware.nvml import energy_meter
from benchsuite.metrics.latency import batch_of, prepared

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from torch import nn

    from benchsuite.contracts.inputs import Inputs
    from benchsuite.metrics.latency import Latency

_ORDER = (0, 1, 1, 0)
"""Dense, pruned, pruned, dense: a board that warms up, or slows down, meets both alike."""
_CHUNK_SECONDS = 0.01
"""Work between two looks at the clock; in between the samples are taken to be even."""
_POLL_SECONDS = 0.005
"""Between two readings of the counter. A reading itself may take as long, so it is not the work's to wait."""
_SETTLING_SECONDS = 0.3
"""Work before anything counts: power follows the load, and counters follow the power, with some delay."""


@dataclass(frozen=True)
class Energy:
    """Millijoules per sample that the whole device used while it did nothing but forward passes."""

    dense_mj: float
    pruned_mj: float


def measure_energy(
    dense: nn.Module,
    pruned: nn.Module,
    example: Inputs,
    latency: Latency,
    device: torch.device | str,
    *,
    seconds: float = 1.0,
) -> Energy | None:
    """Count the energy of forward passes in evaluation mode, in float32; None where the device counts none.

    Each network runs for `seconds`, in two halves around those of the other. The counters of devices move
    only some times a second, so what counts of a half lies between the first and the last step of the
    counter in it: see `energy_between`. What the device uses when idle is part of it. On a GPU float32 is
    exact and the kernels are those of `measure_latency`.

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
    joules, samples = [0.0, 0.0], [0.0, 0.0]
    with torch.inference_mode(), exact_float32(), searched_convolutions(device), _Steps(meter) as steps:
        for which in _ORDER:
            work[which].for_seconds(_SETTLING_SECONDS)
            progress = work[which].for_seconds(seconds * len(work) / len(_ORDER))
            counted = energy_between(steps.seen(), progress)
            if counted is None:
                return None
            joules[which] += counted[0]
            samples[which] += counted[1]
    return Energy(*(1000 * used / number for used, number in zip(joules, samples, strict=True)))


def energy_between(
    steps: Sequence[tuple[float, float]], progress: Sequence[tuple[float, float]]
) -> tuple[float, float] | None:
    """Joules and samples between the first and the last step of a counter during some work.

    A counter that moves ten times a second and is read at any time is wrong by up to a tenth of a second's
    energy at either end. From step to step it is right, and the samples in between are known from the clock.

    Args:
        steps: when the counter moved, in seconds, and the joules that it showed then.
        progress: how many samples were done at which time, from the beginning of the work to its end; evenly
            in between.

    Returns:
        None where fewer than two steps lie within the work.
    """
    times, done = [time for time, _ in progress], [number for _, number in progress]
    inside = [step for step in steps if times[0] <= step[0] <= times[-1]]
    if len(inside) < 2:
        return None

    def samples(at: float) -> float:
        after = min(max(bisect_right(times, at), 1), len(times) - 1)
        share = (at - times[after - 1]) / (times[after] - times[after - 1])
        return done[after - 1] + share * (done[after] - done[after - 1])

    (first, before), (last, after) = inside[0], inside[-1]
    return after - before, samples(last) - samples(first)


class _Work:
    """Forward passes without a pause."""

    def __init__(self, model: nn.Module, batch: Inputs, milliseconds: float) -> None:
        self._model, self._batch = model, batch
        self._calls = max(1, int(1000 * _CHUNK_SECONDS / milliseconds))

    def for_seconds(self, seconds: float) -> list[tuple[float, float]]:
        """Work for some time; returns when how many samples were done."""
        synchronise(self._batch.device)
        progress = [(perf_counter(), 0.0)]
        while progress[-1][0] - progress[0][0] < seconds:
            for _ in range(self._calls):
                self._model(self._batch)
            synchronise(self._batch.device)
            progress.append((perf_counter(), progress[-1][1] + self._calls * len(self._batch)))
        return progress


class _Steps:
    """Watches a counter from a thread of its own while the block runs: reading it takes milliseconds."""

    def __init__(self, meter: Callable[[], float | None]) -> None:
        self._meter = meter
        self._seen: list[tuple[float, float]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def seen(self) -> list[tuple[float, float]]:
        """When the counter has moved so far, and the joules that it showed then."""
        return list(self._seen)

    def _watch(self) -> None:
        before = self._meter()
        while before is not None and not self._over.wait(_POLL_SECONDS):
            now = self._meter()
            if now is None:
                return  # the device has stopped to count
            if now != before:
                self._seen.append((perf_counter(), now))
            before = now

    def __enter__(self) -> _Steps:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()
