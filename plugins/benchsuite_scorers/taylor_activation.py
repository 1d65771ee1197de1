"""First-order Taylor expansion of the loss in a unit's activations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchsuite import Scorer
from benchsuite_scorers._reached import skip_unreached

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from benchsuite import ScoringContext


class TaylorActivation(Scorer):
    """Mean over samples of abs(mean over positions of a x g_a), divided by the layer's Euclidean norm of it.

    a is the activation after the non-linearity, g_a the gradient of the sample's own loss; the absolute value
    is taken for each sample, so that effects of opposite sign do not cancel. The paper reads feature maps
    there, and so does this: behind norm and non-linearity, where surgery makes the unit zero. A pooling
    behind it changes nothing, since the sum over positions of a x g_a stays the same. Where a non-linearity
    directly follows a residual sum, the map is that of the sum, which is what all coupled units have made of
    it, and its whole gradient counts, skip paths included: the map is seen as a thing of one place, unlike
    the gates of `fisher`. Where a norm follows the sum, as in pre-activation networks, it belongs to what
    reads the sum, and the map of a layer is what it adds. The division is the paper's own, made to compare
    layers, so scores of different layers are compared as they are. The paper's networks have no coupled
    units: here a group's score is the sum of the divided scores of its maps, where a map that several of its
    layers share counts once, since it is one term of the paper's expansion.

    Recurrent layers are skipped: they read their units themselves, and that part of the gradient is not seen.

    Cost: one shared backward pass per batch. It fails where the gradient vanishes but the loss is curved, as
    at a minimum.

    Source: Molchanov et al. 2016, equation 8, and section 2.2 for the division.
    """

    name = "taylor-activation"
    scale = "network"
    coupled = True

    def score(self, context: ScoringContext) -> dict[str, Tensor]:
        """Return the normalised mean absolute first-order change by unit."""
        scores = context.gradient_statistic("activation-change")
        for layer in context.layers:
            if layer.kind == "recurrent":
                context.skip(layer, "it reads its units itself from step to step, where no gradient is seen")
        skip_unreached(context, scores)
        divided = {name: score / score.norm().clamp_min(1e-30) for name, score in scores.items()}
        owners = {name: context.map_owner(name) for name in divided}
        return context.spread(context.sum_over_groups(divided, owners))

    def gradient_statistics(self) -> Sequence[str]:
        """Return the one statistic it reads."""
        return ("activation-change",)
