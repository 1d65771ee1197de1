"""First-order Taylor expansion of the loss in a unit's parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchsuite import Scorer
from benchsuite_scorers._parameters import parameter_names

if TYPE_CHECKING:
    from torch import Tensor

    from benchsuite import ScoringContext


class TaylorWeight(Scorer):
    """The squared first-order change of the loss when a unit's parameters go to zero.

    Unit: mean over batches of (sum of g w over the unit's parameters)^2, where g is the gradient of the
    batch's mean loss. The unit's parameters are its weights and bias, and the scale and shift of the batch
    normalisation that follows. Weight: mean over batches of (g w)^2.

    Cost: one backward pass per batch. A batch's gradients average over its samples, so the
    scores depend on the batch size. It fails at a minimum where gradients vanish though the loss is curved.

    Source: Molchanov et al. 2019.
    """

    name = "taylor-weight"
    granularity = "both"

    def score(self, context: ScoringContext) -> dict[str, Tensor]:
        """Return the mean over batches of the squared first-order change."""
        import torch

        by_unit = context.granularity == "unit"
        totals: dict[str, Tensor] = {}
        batches = 0
        parameters = {name: value.detach() for name, value in context.model.named_parameters()}
        for gradients in context.gradients():
            batches += 1
            for layer in context.layers:
                products = [parameters[key] * gradients[key] for key in parameter_names(layer, parameters)]
                change = products[0]
                if by_unit:
                    change = torch.stack(
                        [product.reshape(layer.units, -1).sum(1) for product in products]
                    ).sum(0)
                totals[layer.name] = totals.get(layer.name, 0) + change**2
        return {name: total / batches for name, total in totals.items()}
