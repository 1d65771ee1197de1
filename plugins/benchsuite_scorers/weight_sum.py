"""The signed sum of a unit's weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchsuite import Scorer

if TYPE_CHECKING:
    from torch import Tensor

    from benchsuite import ScoringContext


class WeightSum(Scorer):
    """The signed sum of a unit's weights, without the bias.

    Before a ReLU, a unit with a large negative sum is rarely active. Cost: one pass over the weights. It
    fails if inputs are not positive, or if a following normalisation changes the sign.

    Source: the filter ranking of the study "The Pruning Methods for feed-forward network and Convolutional
    Neural Network", section 2.2.
    """

    name = "weight-sum"
    data_free = True

    def score(self, context: ScoringContext) -> dict[str, Tensor]:
        """Return the sum of w by unit."""
        return {layer.name: layer.weight.flatten(1).sum(1) for layer in context.layers}
