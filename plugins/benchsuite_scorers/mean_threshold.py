"""Magnitude with the layer's mean as threshold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchsuite import Scorer, Unsupported

if TYPE_CHECKING:
    from torch import Tensor

    from benchsuite import ScoringContext


class MeanThreshold(Scorer):
    """abs(w); its native rule removes the weights whose abs(w) is below the layer's mean abs(w).

    The order is that of magnitude; the rule decides how much is removed in each layer (about half of it, for
    weights of any scale). The sum over a unit's weights is `magnitude-l1` to the last bit, so "all" does not
    name it where units are pruned. Cost: one pass over the weights. It fails where magnitude fails, for
    example before a normalisation, and with its rule one cannot choose how much to remove.

    Source: the study "The Pruning Methods for feed-forward network and Convolutional Neural Network", section
    2.2, after Han et al. 2015.
    """

    name = "mean-threshold"
    granularity = "weight"
    data_free = True

    def score(self, context: ScoringContext) -> dict[str, Tensor]:
        """Return abs(w)."""
        return {layer.name: layer.weight.abs() for layer in context.layers}

    def native(self, scores: dict[str, Tensor], context: ScoringContext) -> dict[str, Tensor]:
        """Keep the weights that reach the layer's mean; raises `Unsupported` for units."""
        if context.granularity == "unit":
            raise Unsupported(f"the native rule of {self.name} removes single weights, not units")
        return {name: score >= score.mean() for name, score in scores.items()}
