"""Connection sensitivity."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchsuite import Scorer
from benchsuite_scorers._curvature import mean_gradient

if TYPE_CHECKING:
    from torch import Tensor

    from benchsuite import ScoringContext


class Snip(Scorer):
    """abs(g w), divided by its sum over all scored weights, where g is the gradient of the mean loss.

    Unit: the sum over the unit's weights. Cost: one backward pass per batch. Made for networks before
    training; it fails on a trained one, whose gradient is small and mostly noise.

    Source: Lee et al. 2019 (SNIP).
    """

    name = "snip"
    granularity = "both"

    def score(self, context: ScoringContext) -> dict[str, Tensor]:
        """Return the normalised sensitivity of each weight."""
        import torch

        gradient = mean_gradient(context)
        scores = {layer.name: (gradient[layer.name] * layer.weight).abs() for layer in context.layers}
        total = torch.stack([score.sum() for score in scores.values()]).sum().clamp_min(1e-30)
        return {name: score / total for name, score in scores.items()}
