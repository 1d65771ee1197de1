"""Connection sensitivity."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchsuite import Scorer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from benchsuite import ScoringContext


class Snip(Scorer):
    """abs(g w), divided by its sum over all scored weights, where g is the gradient of the mean loss.

    Unit: the sum over the unit's weights. Cost: one shared backward pass per batch. Designed for untrained
    networks; it fails on trained ones, whose gradient is small and mostly noise.

    Source: Lee et al. 2019 (SNIP).
    """

    name = "snip"
    granularity = "both"

    def score(self, context: ScoringContext) -> dict[str, Tensor]:
        """Return the normalised sensitivity of each weight."""
        import torch

        gradient = context.gradient_statistic("mean-gradient")
        scores = {layer.name: (gradient[layer.name] * layer.weight).abs() for layer in context.layers}
        total = torch.stack([score.sum() for score in scores.values()]).sum().clamp_min(1e-30)
        return {name: score / total for name, score in scores.items()}

    def gradient_statistics(self) -> Sequence[str]:
        """Return the one statistic it reads."""
        return ("mean-gradient",)
