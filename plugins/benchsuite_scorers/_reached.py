"""Layers that a criterion cannot score."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container

    from benchsuite import ScoringContext


def skip_unreached(context: ScoringContext, scores: Container[str]) -> None:
    """Skip the layers without a score that were not skipped before: the forward pass does not reach them."""
    for layer in context.layers:
        if layer.name not in scores and layer.name not in context.skipped:
            context.skip(layer, "the network's forward pass does not reach it")
