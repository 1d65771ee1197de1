"""Single weights with the layer's mean as threshold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from benchsuite import Scorer, Unsupported

if TYPE_CHECKING:
    from torch import Tensor

    from benchsuite import ScoringContext


class MeanThreshold(Scorer):
    """abs(w), or w; its native rule removes the weights of a layer whose score is below the layer's mean.

    The study takes "the mean average over of weight" as the threshold and removes what is lower. With
    `mean = "absolute"` the scores are magnitudes: the rule removes 58% of weights that are normally
    distributed, and more of those of a trained network, most of which are small. With `mean = "signed"` the
    scores are the weights with their signs: the rule removes about half, which is what the study reports
    (45.00 and 49.43%), but it takes the most negative weights first, whatever they do.

    The sum of abs(w) over a unit is `magnitude-l1` to the last bit, and that of w is `weight-sum`, so "all"
    does not name it where units are pruned. Cost: one pass over the weights. It fails where magnitude fails,
    for example before a normalisation, and with its rule one cannot choose how much to remove.

    Source: the study "The Pruning Methods for feed-forward network and Convolutional Neural Network", section
    2.2, after Han et al. 2015. The study's other reading, whole units by the sum of their weights, is the
    rule of `weight-sum`.
    """

    name = "mean-threshold"
    granularity = "weight"
    data_free = True
    mean: Literal["absolute", "signed"] = "absolute"
    """Of which numbers the mean is taken: magnitudes, or weights with their signs."""

    def score(self, context: ScoringContext) -> dict[str, Tensor]:
        """Return abs(w), or w."""
        weights = {layer.name: layer.weight for layer in context.layers}
        return {name: w.abs() for name, w in weights.items()} if self.mean == "absolute" else weights

    def native(self, scores: dict[str, Tensor], context: ScoringContext) -> dict[str, Tensor]:
        """Keep the weights that reach the layer's mean; raises `Unsupported` for units."""
        if context.granularity == "unit":
            raise Unsupported(f"the native rule of {self.name} removes single weights, not units")
        # In double precision the mean of equal weights is no larger than they are.
        return {name: score.double() >= score.double().mean() for name, score in scores.items()}
