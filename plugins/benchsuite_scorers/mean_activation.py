"""The mean activation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchsuite import Scorer
from benchsuite_scorers._reached import skip_unreached

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from benchsuite import ScoringContext


class MeanActivation(Scorer):
    """The mean of a unit's activations over samples and positions, after the non-linearity.

    mean(a). Cost: one shared forward pass. It fails if the next layer weights units differently, and for
    activations of both signs, whose mean says little.

    Source: a baseline of Molchanov et al. 2016.
    """

    name = "mean-activation"

    def score(self, context: ScoringContext) -> dict[str, Tensor]:
        """Return the mean activation by unit."""
        scores = {name: table.mean(0) for name, table in context.activations("mean").items()}
        skip_unreached(context, scores)
        return scores

    def reductions(self) -> Sequence[str]:
        """Return the one table it reads."""
        return ("mean",)
