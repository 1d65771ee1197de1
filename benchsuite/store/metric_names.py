"""The names of metrics, the same in records, MLflow, tables and pages.

A name is `group/what`; what was measured on the dense network ends in `_dense`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

ACCURACY, COST, SPARSITY = "accuracy/", "cost/", "sparsity/"
LATENCY, ENERGY, TIME = "latency/", "energy/", "time/"
INTERPRETABILITY, ROUNDS, SYSTEM = "interpretability/", "rounds/", "system/"
REPORTED, MEASURED = "reported/", "measured/"
"""Groups; names begin with them."""

TOP1 = "accuracy/top1"
TOP1_BEFORE_RECOVERY = "accuracy/top1_before_recovery"
TOP1_RECALIBRATED = "accuracy/top1_recalibrated"
"""Before recovery, with batch normalisation's statistics estimated anew."""
TOP1_DENSE = "accuracy/top1_dense"
TOP = "accuracy/top"
"""What all top-k accuracies begin with."""
LOSS = "accuracy/loss"
CLASS = "accuracy/class/"
"""Recall of a class, whose name follows."""

PARAMS, PARAMS_DENSE, PARAMS_NONZERO = "cost/params", "cost/params_dense", "cost/params_nonzero"
MACS, MACS_DENSE, MACS_NONZERO = "cost/macs", "cost/macs_dense", "cost/macs_nonzero"
FLOPS = "cost/flops"
ACTIVATION_PEAK_BYTES = "cost/activation_peak_bytes"
UNCOUNTED_MODULES = "cost/uncounted_modules"
FILE_BYTES, FILE_BYTES_DENSE = "cost/file_bytes", "cost/file_bytes_dense"

SPARSITY_UNITS, SPARSITY_PARAMS, SPARSITY_MACS = "sparsity/units", "sparsity/params", "sparsity/macs"

TRAIN_SECONDS, SCORE_SECONDS, PRUNE_SECONDS = "time/train_s", "time/score_s", "time/prune_s"
RECOVER_SECONDS, TRIAL_SECONDS = "time/recover_s", "time/trial_s"
REUSED_SECONDS = "time/reused_s"
"""Of pruning and recovery, what rounds took that were there already."""
SCORE_PEAK_MB = "memory/score_peak_mb"

SCORE_TIES, STABILITY = "scoring/ties", "scoring/stability"
SELECTION_TIES = "selection/ties"
SURGERY_DIFFERENCE = "surgery/max_difference"

LATENCY_THREADS = "latency/threads"
"""CPU threads of those latencies whose names say none."""
SPARSE_KERNELS = "latency/sparse_kernels"

DETECTORS = "interpretability/detectors"
UNITS = "interpretability/units"
NULL_DETECTORS = "interpretability/null_detectors"

TRAINING_LOSS = "training/loss"
LEARNING_RATE = "training/learning_rate"


def is_wide(metrics: Mapping[str, float], speedup: str) -> bool:
    """Whether the 95% interval of this speedup is wider than it should be."""
    return bool(metrics.get(f"{speedup}_wide"))


def sparsity(budget: str) -> str:
    """The achieved sparsity of a budget: units, params or macs."""
    return f"{SPARSITY}{budget}"


def cost(budget: str, of: str = "") -> str:
    """The params or macs of the network as it is; `of` is "dense" or "nonzero" for those."""
    return f"{COST}{budget}_{of}" if of else f"{COST}{budget}"


def latency(batch_size: int, threads: int, what: str) -> str:
    """A latency at a batch size and with so many CPU threads, which the name leaves out where it is one.

    `what` is ms, lower_ms, upper_ms, dense_ms, speedup, or speedup_low, _high and _wide: the ends of the
    speedup's 95% interval, and 1 where that is wider than it should be.
    """
    return f"{LATENCY}{_setting(batch_size, threads)}_{what}"


def sparse_half_latency(batch_size: int, threads: int, what: str) -> str:
    """The same in half precision, the pruned network with kernels for the 2:4 pattern."""
    return f"{LATENCY}sparse_half/{_setting(batch_size, threads)}_{what}"


def energy(batch_size: int, threads: int = 1, what: str = "mj") -> str:
    """The energy of a sample at a batch size and with so many threads; `what` is mj or dense_mj."""
    return f"{ENERGY}{_setting(batch_size, threads)}_{what}"


def _setting(batch_size: int, threads: int) -> str:
    return f"batch{batch_size}" if threads == 1 else f"batch{batch_size}_threads{threads}"


def measured(metric: str, quantity: str) -> str:
    """What a metric plugin measured, by what the suite calls it."""
    return f"{MEASURED}{metric}/{quantity}"


def class_recall(name: str) -> str:
    """The recall of a class."""
    return f"{CLASS}{name}"
