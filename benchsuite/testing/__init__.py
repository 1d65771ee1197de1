"""For plugin authors: small contexts to try a scorer or metric on, and the conformance checks for both."""

from __future__ import annotations

from benchsuite.testing.conformance import CHECKS, context_for, simple_layers, tiny_trace
from benchsuite.testing.metric_conformance import METRIC_CHECKS, metric_context_for
from benchsuite.testing.networks import TinyResidual, tiny_convnet, tiny_mlp, tiny_narrow, tiny_samples

__all__ = [
    "CHECKS",
    "METRIC_CHECKS",
    "TinyResidual",
    "context_for",
    "metric_context_for",
    "simple_layers",
    "tiny_convnet",
    "tiny_mlp",
    "tiny_narrow",
    "tiny_samples",
    "tiny_trace",
]
