"""Latencies of finished trials beside those of their dense models."""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

from benchsuite.contracts.inputs import TensorMap
from benchsuite.hardware.devices import cpu_threads, searched_convolutions
from benchsuite.metrics.energy import measure_energy
from benchsuite.metrics.latency import Latency, measure_latency
from benchsuite.metrics.sparse_kernels import device_has_sparse_kernels
from benchsuite.pruning.targets import holds_masks
from benchsuite.pruning.transposed import with_layers_of_torch
from benchsuite.store import metric_names
from benchsuite.trials.pruned_model import load_pruned

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from benchsuite.contracts.inputs import Inputs
    from benchsuite.plan.trial import Trial
    from benchsuite.trials.worker_context import WorkerContext


class _Pair(NamedTuple):
    """What is timed: both networks as they are given away, and an input of one sample."""

    dense: nn.Module
    pruned: nn.Module
    example: Inputs


def latency_metrics(worker: WorkerContext, trial: Trial) -> dict[str, float]:
    """Latencies of a finished trial's architecture beside its dense model's, by threads and batch size."""
    with searched_convolutions(worker.device):  # its checks too: see there
        pruned = load_pruned(worker, trial)
    settings = trial.latency
    assert settings is not None
    sparse = trial.settings.scope == "2:4" and device_has_sparse_kernels(worker.device)
    metrics: dict[str, float] = {}
    sparse_layers = 0
    probe = pruned.dense.probe[:1]
    pair = _Pair(
        with_layers_of_torch(pruned.dense.model),
        with_layers_of_torch(pruned.model),
        probe.whole() if isinstance(probe, TensorMap) else probe,
    )
    for threads, size in product(settings.threads, settings.batch_sizes):
        with cpu_threads(threads):
            metrics |= _ordinary(worker, pair, threads, size)
            if sparse:
                layers, found = _on_sparse_kernels(worker, pair, threads, size)
                sparse_layers += layers
                metrics |= found
    if holds_masks(trial.granularity):
        # Masked weights run on dense kernels; only what stands under sparse_half was measured without them.
        metrics[metric_names.SPARSE_KERNELS] = float(sparse_layers > 0)
    if 1 in settings.threads:
        metrics[metric_names.LATENCY_THREADS] = 1.0
    return metrics


def _ordinary(worker: WorkerContext, pair: _Pair, threads: int, size: int) -> dict[str, float]:
    found = measure_latency(*pair, size, worker.device)
    metrics = _timings(partial(metric_names.latency, size, threads), found)
    energy = measure_energy(*pair, found, worker.device)
    if energy is not None:
        metrics |= {
            metric_names.energy(size, threads): energy.pruned_mj,
            metric_names.energy(size, threads, "dense_mj"): energy.dense_mj,
        }
    return metrics


def _on_sparse_kernels(
    worker: WorkerContext, pair: _Pair, threads: int, size: int
) -> tuple[int, dict[str, float]]:
    """How many layers ran on kernels for the 2:4 pattern, and the latencies with them."""
    try:
        half = measure_latency(*pair, size, worker.device, sparse_kernels=True)
    except RuntimeError as error:  # of the kernels: the ordinary latencies stand all the same
        worker.tell(f"no latency on 2:4 kernels at batch size {size}: {error}")
        return 0, {}
    if not half.sparse_layers:
        return 0, {}
    return half.sparse_layers, _timings(partial(metric_names.sparse_half_latency, size, threads), half)


def _timings(name: Callable[[str], str], found: Latency) -> dict[str, float]:
    return {
        name("ms"): found.pruned.median_ms,
        name("lower_ms"): found.pruned.lower_ms,
        name("upper_ms"): found.pruned.upper_ms,
        name("dense_ms"): found.dense.median_ms,
        name("speedup"): found.speedup,
        name("speedup_low"): found.ratio.low,
        name("speedup_high"): found.ratio.high,
        name("speedup_wide"): float(not found.is_settled),
    }
