"""Preservation of the gradient flow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from benchsuite import Scorer
from benchsuite_scorers._curvature import hessian_products
from benchsuite_scorers._passes import BatchNorm, Passes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from benchsuite import ScoringContext


class Grasp(Scorer):
    """w x (H g): how much the gradient's squared norm would decrease without the weight.

    H is the Hessian and g the gradient of the mean loss, whose logits are divided by `temperature`, as in the
    authors' code. Weights with high scores are kept; a negative score means that the gradient grows without
    the weight. Unit: the sum over the unit's weights. Scores are changes of one gradient's norm, and the
    paper ranks all weights of the network together, so those of different layers are compared as they are.
    The authors' networks are at initialisation and in training mode, where batch norms use the batch's own
    mean and variance.

    Cost: one backward pass per batch, and one more that differentiates the backward pass. Designed for
    untrained networks; it fails on trained ones, whose gradient is small and mostly noise.

    Source: Wang et al. 2020 (GraSP), equation 8, with the opposite sign; the temperature of 200 and the
    training mode are those of the authors' code.
    """

    name = "grasp"
    granularity = "both"
    scale = "network"
    temperature: Annotated[float, Field(gt=0)] = 200.0
    """What the logits are divided by."""
    batch_norm: BatchNorm = "auto"
    """Whether batch norms use running statistics or the batch's own; "auto": the latter at init."""

    def score(self, context: ScoringContext) -> dict[str, Tensor]:
        """Return the product of each weight with the Hessian applied to the gradient."""
        passes = Passes.of(context, self.temperature, self.batch_norm)
        along = {name: value.unsqueeze(0) for name, value in passes.mean_gradient(context).items()}
        products = hessian_products(context, along, passes)
        return {layer.name: layer.weight * products[layer.name][0] for layer in context.layers}

    def gradient_statistics(self) -> Sequence[str]:
        """Return the one statistic that it reads of a trained network, if the logits stay as they are."""
        return ("mean-gradient",) if self.temperature == 1 and self.batch_norm != "train" else ()
