"""How often a unit is active."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchsuite import Scorer
from benchsuite_scorers._reached import skip_unreached

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from benchsuite import ScoringContext

# torch calls ReLU6 a hardtanh.
_ZERO_AT_REST = frozenset({"relu", "relu6", "hardtanh", "threshold", "clamp", "clamp_min", "hardswish"})


class Apoz(Scorer):
    """One minus the average percentage of zeros: the fraction of activations that are not zero.

    mean(a != 0) over samples and positions, after the non-linearity. Layers whose non-linearity has no exact
    zeros cannot be scored. Cost: one shared forward pass. It fails to consider how large the activations are.

    Source: Hu et al. 2016.
    """

    name = "apoz"

    def score(self, context: ScoringContext) -> dict[str, Tensor]:
        """Return the fraction of non-zero activations by unit."""
        scores = {}
        for name, table in context.activations("zero-fraction").items():
            function = context.activation_function(name)
            if function in _ZERO_AT_REST:
                scores[name] = 1 - table.mean(0)
            else:
                context.skip(
                    name, f"its activation ({function or 'none'}) is not one with exact zeros, as ReLU is"
                )
        skip_unreached(context, scores)
        return scores

    def reductions(self) -> Sequence[str]:
        """Return the one table it reads."""
        return ("zero-fraction",)
