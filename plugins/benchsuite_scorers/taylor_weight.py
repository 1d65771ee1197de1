"""First-order Taylor expansion of the loss in a unit's parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchsuite import Scorer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from benchsuite import ScoringContext


class TaylorWeight(Scorer):
    """The squared first-order change of the loss when a unit's parameters go to zero.

    Unit: mean over batches of (sum of g w over the unit's parameters)^2, where g is the gradient of the
    batch's mean loss. The unit's parameters are its weights and bias, and the scale and shift of the batch
    normalisation that follows. Weight: mean over batches of (g w)^2.

    Cost: one shared backward pass per batch. A batch's gradients average over its samples, so the
    scores depend on the batch size. It fails at a minimum, where gradients vanish but the loss is curved.

    Source: Molchanov et al. 2019.
    """

    name = "taylor-weight"
    granularity = "both"

    def score(self, context: ScoringContext) -> dict[str, Tensor]:
        """Return the mean over batches of the squared first-order change."""
        return context.gradient_statistic("squared-change")

    def gradient_statistics(self) -> Sequence[str]:
        """Return the one statistic it reads."""
        return ("squared-change",)
