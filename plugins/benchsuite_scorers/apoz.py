"""How often a unit is active."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchsuite import Scorer
from benchsuite_scorers._reached import skip_unreached

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from benchsuite import ScoringContext


class Apoz(Scorer):
    """One minus the average percentage of zeros: the fraction of activations that are not zero.

    mean(a != 0) over samples and positions, after the non-linearity. Zero has to mean that the unit is off:
    layers whose non-linearity is not exactly zero for every negative input, near and far, are skipped. So
    ReLU, ReLU6 and a Hardtanh from 0 are served, a Hardtanh from -1, GELU and Hardswish are not. A threshold
    on the score means the same in every layer, but units are ranked within a layer, as in the paper.

    Cost: one shared forward pass. It fails to consider how large the activations are.

    Source: Hu et al. 2016, equation 1.
    """

    name = "apoz"
    absolute = True

    def score(self, context: ScoringContext) -> dict[str, Tensor]:
        """Return the fraction of non-zero activations by unit."""
        scores = {}
        for name, table in context.activations("zero-fraction").items():
            if context.zero_below(name):
                scores[name] = 1 - table.mean(0)
            else:
                function = context.activation_function(name) or "none"
                context.skip(
                    name, f"its activation ({function}) is not exactly zero for negative input, as ReLU is"
                )
        skip_unreached(context, scores)
        return scores

    def reductions(self) -> Sequence[str]:
        """Return the one table it reads."""
        return ("zero-fraction",)
