"""The spread of the activations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchsuite import Scorer
from benchsuite_scorers._reached import skip_unreached

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from benchsuite import ScoringContext


class ActivationStd(Scorer):
    """The standard deviation of a unit's activations over samples and positions, after the non-linearity.

    sqrt(mean((a - mean(a))^2)): a unit that hardly varies can be replaced by a constant. The variance over
    everything is the mean of the samples' variances plus the variance of their means. Cost: one shared
    forward pass. It fails if the next layer weights units differently, since it counts a scale that the next
    weights undo.

    Source: a baseline of Molchanov et al. 2016.
    """

    name = "activation-std"

    def score(self, context: ScoringContext) -> dict[str, Tensor]:
        """Return the standard deviation by unit."""
        means, variances = context.activations("mean"), context.activations("variance")
        scores = {
            name: (variances[name].double().mean(0) + means[name].double().var(0, correction=0)).sqrt()
            for name in means
        }
        skip_unreached(context, scores)
        return scores

    def reductions(self) -> Sequence[str]:
        """Return the two tables it reads."""
        return ("mean", "variance")
