"""Weighted hybrid criterion: norm and dissimilarity."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchsuite import Scorer

if TYPE_CHECKING:
    from torch import Tensor

    from benchsuite import ScoringContext


class Whc(Scorer):
    """norm(w_i) times the sum over j != i of norm(w_j) (1 - abs(cos(w_i, w_j))).

    A unit matters if it is large and different from other large ones. The bias is not used. Cost: a product
    of the weight matrix with itself, in double precision. It fails where scale has no meaning, for example
    before a normalisation.

    Source: Chen et al. 2023 (WHC).
    """

    name = "whc"
    data_free = True

    def score(self, context: ScoringContext) -> dict[str, Tensor]:
        """Return the weighted dissimilarity by unit."""
        scores = {}
        for layer in context.layers:
            units = layer.weight.flatten(1).double()
            norms = units.norm(dim=1)
            # norm_i norm_j (1 - abs(cos)) = norm_i norm_j - abs(w_i w_j); zero units need no special case.
            terms = norms[:, None] * norms - (units @ units.T).abs()
            scores[layer.name] = terms.fill_diagonal_(0).clamp_min(0).sum(1)
        return scores
