"""Distance from a layer's geometric median."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchsuite import Scorer

if TYPE_CHECKING:
    from torch import Tensor

    from benchsuite import ScoringContext


class Fpgm(Scorer):
    """The sum of a unit's Euclidean distances to all units of its layer, on the raw weights.

    A unit near the geometric median can be replaced by the others; a duplicate is near its twin, though far
    from the rest. The bias is not used. Cost: a product of the weight matrix with itself, in double
    precision. It fails if norms differ widely, since all small units are then near the median.

    Source: He et al. 2019 (filter pruning via geometric median).
    """

    name = "fpgm"
    data_free = True

    def score(self, context: ScoringContext) -> dict[str, Tensor]:
        """Return the sum of distances by unit."""
        import torch

        scores = {}
        for layer in context.layers:
            units = layer.weight.flatten(1).double()
            distances: Tensor = torch.cdist(units, units, compute_mode="use_mm_for_euclid_dist")
            scores[layer.name] = distances.sum(1)
        return scores
