"""The control that every criterion must beat."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchsuite import Scorer

if TYPE_CHECKING:
    from torch import Tensor

    from benchsuite import ScoringContext


class Random(Scorer):
    """Scores drawn uniformly from [0, 1): one per weight, or one per unit at unit granularity.

    Every draw for a dense model is different; a ranking uses their mean. Cost: none. It uses no information,
    so a criterion that does not beat it fails.

    Source: the control of Blalock et al. 2020.
    """

    name = "random"
    granularity = "both"
    draws = 3
    absolute = True
    data_free = True

    def score(self, context: ScoringContext) -> dict[str, Tensor]:
        """Return uniform draws from the context's generator."""
        import torch

        return {
            layer.name: torch.rand(
                layer.weight.shape if context.granularity == "weight" else (layer.units,),
                generator=context.generator,
            )
            for layer in context.layers
        }
