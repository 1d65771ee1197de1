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
    and a decomposition of each map, batched. It fails where activations have no exact zeros, as after GELU,
    SiLU or a sigmoid: nearly every map then has full rank. A layer all of whose units tie is skipped, and its
    reason says so. For linear layers, whose maps are single numbers, it is the share of samples in which the
    unit is not zero. On small maps most units have equal scores.

    Source: Lin et al. 2020, equation 6.
    """

    name = "hrank"

    def score(self, context: ScoringContext) -> dict[str, Tensor]:
        """Return the mean rank by unit."""
        scores = {}
        for name, table in context.activations("rank").items():
            ranks = table.mean(0)
            if len(ranks) > 1 and bool((ranks == ranks[0]).all()):
                function = context.activation_function(name) or "none"
                context.skip(
                    name,
                    f"all its units have the rank {float(ranks[0]):g}, so none ranks above another "
                    f"(its activation is {function})",
                )
            else:
                scores[name] = ranks
        skip_unreached(context, scores)
        return scores

    def reductions(self) -> Sequence[str]:
        """Return the one table it reads."""
        return ("rank",)
