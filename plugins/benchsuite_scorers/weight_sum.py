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

    The native rule removes the units whose sum is below the mean of the layer's sums, about half of them. The
    study calls the sums scores, deletes the "lowest", and reports 43.12 and 46.57% of the filters without a
    threshold; it says that its method for filters is like that for linear layers, which compares with the
    layer's mean, and this reading is taken. A unit's sum is below the mean sum where its mean weight is
    below that of the layer.

    Source: the filter ranking of the study "The Pruning Methods for feed-forward network and Convolutional
    Neural Network", section 2.2.
    """

    name = "weight-sum"
    data_free = True

    def score(self, context: ScoringContext) -> dict[str, Tensor]:
        """Return the sum of w by unit."""
        return {layer.name: layer.weight.flatten(1).sum(1) for layer in context.layers}

    def native(self, scores: dict[str, Tensor], context: ScoringContext) -> dict[str, Tensor]:  # noqa: ARG002 - scores suffice
        """Keep the units whose sum reaches the layer's mean."""
        # In double precision the mean of equal sums is no larger than they are.
        return {name: score.double() >= score.double().mean() for name, score in scores.items()}
