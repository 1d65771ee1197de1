"""The rank of the activation maps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchsuite import Scorer
from benchsuite_scorers._reached import skip_unreached

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from benchsuite import ScoringContext


class HRank(Scorer):
    """The mean over samples of the matrix rank of a unit's activation map.

    Maps of higher rank contain more information. Read after the non-linearity. Cost: one shared forward pass,
    and a decomposition of each map, batched. It fails for linear layers, whose maps are single numbers: there
    it is the share of samples in which the unit is not zero, which is the same for all units after a sigmoid.
    On small maps most units have equal scores.

    Source: Lin et al. 2020.
    """

    name = "hrank"

    def score(self, context: ScoringContext) -> dict[str, Tensor]:
        """Return the mean rank by unit."""
        scores = {name: table.mean(0) for name, table in context.activations("rank").items()}
        skip_unreached(context, scores)
        return scores

    def reductions(self) -> Sequence[str]:
        """Return the one table it reads."""
        return ("rank",)
