"""Preservation of the gradient flow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchsuite import Scorer
from benchsuite_scorers._curvature import hessian_products

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from benchsuite import ScoringContext


class Grasp(Scorer):
    """w x (H g): how much the gradient's squared norm would decrease without the weight.

    H is the Hessian and g the gradient of the mean loss. Weights with high scores are kept; a negative score
    means that the gradient grows without the weight. Unit: the sum over the unit's weights. Cost: one shared
    backward pass per batch, and one more that differentiates the backward pass. Designed for untrained
    networks; it fails on trained ones, whose gradient is small and mostly noise.

    Source: Wang et al. 2020 (GraSP), with the opposite sign.
    """

    name = "grasp"
    granularity = "both"

    def score(self, context: ScoringContext) -> dict[str, Tensor]:
        """Return the product of each weight with the Hessian applied to the gradient."""
        gradient = context.gradient_statistic("mean-gradient")
        along = {name: value.unsqueeze(0) for name, value in gradient.items()}
        products = hessian_products(context, along)
        return {layer.name: layer.weight * products[layer.name][0] for layer in context.layers}

    def gradient_statistics(self) -> Sequence[str]:
        """Return the one statistic it reads."""
        return ("mean-gradient",)
