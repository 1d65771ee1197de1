"""Magnitude in the Euclidean norm."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchsuite import Scorer

if TYPE_CHECKING:
    from torch import Tensor

    from benchsuite import ScoringContext


class MagnitudeL2(Scorer):
    """The Euclidean norm of a unit's weights (not its square); the absolute value of a single weight.

    The bias is not used. Cost: one pass over the weights. It fails where scale has no meaning, for example
    before a normalisation.

    Source: Han et al. 2015 (weights); Li et al. 2016 (filters).
    """

    name = "magnitude-l2"
    granularity = "both"
    data_free = True

    def score(self, context: ScoringContext) -> dict[str, Tensor]:
        """Return the norm of each unit's weights, or abs(w) at weight granularity."""
        if context.granularity == "weight":
            return {layer.name: layer.weight.abs() for layer in context.layers}
        return {layer.name: layer.weight.flatten(1).norm(dim=1) for layer in context.layers}
