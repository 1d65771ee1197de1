"""What several criteria need to know of a layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container

    from benchsuite import Layer, ScoringContext


def parameter_names(layer: Layer, known: Container[str]) -> list[str]:
    """Return the names of a layer's weight (first), its bias, and its normalisation's scale and shift.

    Each parameter has one row per unit. Those that are not in `known` are left out.
    """
    names = [f"{layer.name}.weight", f"{layer.name}.bias"]
    if layer.norm_name is not None:
        names += [f"{layer.norm_name}.weight", f"{layer.norm_name}.bias"]
    return [name for name in names if name in known]


def skip_unreached(context: ScoringContext, scores: Container[str]) -> None:
    """Skip the layers without a score that were not skipped before: the forward pass does not reach them."""
    for layer in context.layers:
        if layer.name not in scores and layer.name not in context.skipped:
            context.skip(layer, "the network's forward pass does not reach it")
