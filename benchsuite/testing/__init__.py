"""For plugin authors: small contexts to try a scorer on, and the conformance checks for every scorer."""

from __future__ import annotations

from benchsuite.testing.conformance import CHECKS, context_for, simple_layers, tiny_trace
from benchsuite.testing.networks import TinyResidual, tiny_convnet, tiny_mlp, tiny_narrow, tiny_samples

__all__ = [
    "CHECKS",
    "TinyResidual",
    "context_for",
    "simple_layers",
    "tiny_convnet",
    "tiny_mlp",
    "tiny_narrow",
    "tiny_samples",
    "tiny_trace",
]
