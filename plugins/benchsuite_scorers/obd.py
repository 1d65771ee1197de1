"""Second-order Taylor expansion of the loss with a diagonal Hessian."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from benchsuite import Scorer
from benchsuite_scorers._curvature import hessian_diagonal

if TYPE_CHECKING:
    from torch import Tensor

    from benchsuite import ScoringContext


class Obd(Scorer):
    """Half h w^2, where h is the diagonal of the Hessian of the mean loss.

    The increase of the loss near a minimum, if weights did not interact. h is estimated with Hutchinson's
    method: the mean of v x (H v) over draws v of random signs. Unit: the sum over the unit's weights. Away
    from a minimum h can be negative. Cost: per batch, `probes` passes that differentiate the backward pass,
    done together. It fails if weights interact, as in twin units, and with few probes the estimate is noisy.

    Source: LeCun et al. 1990 (optimal brain damage); Hutchinson 1989 for the estimate.
    """

    name = "obd"
    granularity = "both"
    probes: Annotated[int, Field(ge=1)] = 8
    """Number of draws of random signs."""

    def score(self, context: ScoringContext) -> dict[str, Tensor]:
        """Return half the estimated curvature times the squared weight."""
        import torch

        signs = {
            layer.name: torch.randint(
                0,
                2,
                (self.probes, *layer.weight.shape),
                generator=context.generator,
                dtype=layer.weight.dtype,
            )
            .mul_(2)
            .sub_(1)
            .to(context.device)
            for layer in context.layers
        }
        diagonal = hessian_diagonal(context, signs)
        return {layer.name: 0.5 * diagonal[layer.name] * layer.weight**2 for layer in context.layers}
