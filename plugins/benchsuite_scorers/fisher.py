"""Fisher information of a unit's or weight's presence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from benchsuite import Scorer
from benchsuite_scorers._sample_gradients import sample_gradients

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from benchsuite import ScoringContext


class Fisher(Scorer):
    """Half the mean over samples of the squared derivative of the sample's own loss at a gate.

    An estimate of the increase of the loss without the unit, with the Fisher information in place of the
    Hessian. Unit: 1/2 mean over samples of (sum over positions of a g_a)^2, where a is what the layers that
    read the unit get of it, behind its norm, activation and pooling, and g_a the gradient of the sample's own
    loss. What surgery removes together counts together: the sums of all readers and of all coupled units are
    added before the square, so coupled units share one score. Weight: 1/2 mean over samples of (g_n w)^2.

    Theis et al. and Liu et al. also divide by what the removal saves, in FLOPs or memory. That is left out:
    here the budget counts it.

    Scores are changes of one loss, so those of different layers are compared as they are. Cost: one shared
    backward pass per batch for units. For single weights, a gradient for each sample: about as many backward
    passes as there are batches, but memory for `chunk` times the network's gradients. It fails if the network
    is not near a minimum of the loss, since the Fisher information is then not the Hessian; where a norm over
    channels lies between a unit and its readers, which surgery makes anew and a gate does not; and it skips
    groups whose readers' inputs cannot be seen.

    Source: Theis et al. 2018, section 2 (weights, and maps behind their ReLU); Liu et al. 2021 (group Fisher
    pruning) for coupled units.
    """

    name = "fisher"
    granularity = "both"
    scale = "network"
    coupled = True
    absolute = True
    chunk: Annotated[int, Field(ge=1)] = 16
    """For single weights: number of samples whose gradients are in memory at once."""

    def score(self, context: ScoringContext) -> dict[str, Tensor]:
        """Return half the mean squared derivative."""
        if context.granularity == "unit":
            squares = context.gradient_statistic("squared-gate")
            return context.spread({name: square / 2 for name, square in squares.items()}, context.ungated)
        names = {layer.name: f"{layer.name}.weight" for layer in context.layers}
        totals: dict[str, Tensor] = {}
        for gradients in sample_gradients(context, names.values(), self.chunk):
            for layer in context.layers:
                term = ((gradients[names[layer.name]] * layer.weight) ** 2).sum(0)
                totals[layer.name] = totals.get(layer.name, 0) + term
        return {name: total / (2 * context.samples) for name, total in totals.items()}

    def gradient_statistics(self) -> Sequence[str]:
        """Return the one statistic that it reads for units."""
        return ("squared-gate",)
