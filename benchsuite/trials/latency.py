"""Latencies of finished trials beside those of their dense models."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from benchsuite.metrics.energy import measure_energy
from benchsuite.metrics.latency import Latency, measure_latency
from benchsuite.metrics.sparse_kernels import device_has_sparse_kernels
from benchsuite.store import metric_names
from benchsuite.trials.pruned_model import load_pruned

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchsuite.plan.trial import Trial
    from benchsuite.trials.worker_context import WorkerContext


def latency_metrics(worker: WorkerContext, trial: Trial) -> dict[str, float]:
    """Latencies of a finished trial's architecture beside its dense model's."""
    pruned = load_pruned(worker, trial)
    dense = pruned.dense
    metrics: dict[str, float] = {}
    assert trial.latency is not None
    sparse = trial.settings.scope == "2:4" and device_has_sparse_kernels(worker.device)
    for size in trial.latency.batch_sizes:
        example = dense.probe[:1]
        found = measure_latency(dense.model, pruned.model, example, size, worker.device)
        metrics |= _timings(partial(metric_names.latency, size), found)
        energy = measure_energy(dense.model, pruned.model, example, found, worker.device)
        if energy is not None:
            metrics |= {
                metric_names.energy(size): energy.pruned_mj,
                metric_names.energy(size, "dense_mj"): energy.dense_mj,
            }
    sparse_layers = 0
    for size in trial.latency.batch_sizes if sparse else ():
        try:
            half = measure_latency(
                dense.model, pruned.model, dense.probe[:1], size, worker.device, sparse_kernels=True
            )
        except RuntimeError as error:  # of the kernels: the ordinary latencies stand all the same
            worker.tell(f"no latency on 2:4 kernels at batch size {size}: {error}")
            continue
        sparse_layers += half.sparse_layers
        if half.sparse_layers:
            metrics |= _timings(partial(metric_names.sparse_half_latency, size), half)
    if trial.score.granularity == "weight":
        # Masked weights run on dense kernels; only what stands under sparse_half was measured without them.
        metrics[metric_names.SPARSE_KERNELS] = float(sparse_layers > 0)
    return {**metrics, metric_names.LATENCY_THREADS: float(worker.threads)}


def _timings(name: Callable[[str], str], found: Latency) -> dict[str, float]:
    return {
        name("ms"): found.pruned.median_ms,
        name("lower_ms"): found.pruned.lower_ms,
        name("upper_ms"): found.pruned.upper_ms,
        name("dense_ms"): found.dense.median_ms,
        name("speedup"): found.speedup,
    }
