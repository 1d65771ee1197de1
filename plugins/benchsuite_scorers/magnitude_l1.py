"""Magnitude as the sum of absolute weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchsuite import Scorer

if TYPE_CHECKING:
    from torch import Tensor

    from benchsuite import ScoringContext


class MagnitudeL1(Scorer):
    """The sum of the absolute values of a unit's weights; the absolute value of a single weight.

    The bias is not used. Cost: one pass over the weights. It fails where scale has no meaning, for example
    before a normalisation.

    Source: Han et al. 2015 (weights); Li et al. 2016 (filters).
    """

    name = "magnitude-l1"
    granularity = "both"
    data_free = True

    def score(self, context: ScoringContext) -> dict[str, Tensor]:
        """Return abs(w), summed over a unit's weights at unit granularity."""
        return {layer.name: layer.weight.abs() for layer in context.layers}
