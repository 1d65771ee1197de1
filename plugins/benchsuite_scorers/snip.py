"""Connection sensitivity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from benchsuite import Scorer
from benchsuite_scorers._passes import BatchNorm, Passes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from benchsuite import ScoringContext


class Snip(Scorer):
    """abs(g w), divided by its sum over all scored weights, where g is the gradient of the mean loss.

    Unit: the sum over the unit's weights. The paper ranks all weights of the network together after this
    division, so scores of different layers are compared as they are. Its authors' networks are at
    initialisation and in training mode, where batch norms use the batch's own mean and variance; with running
    statistics, which have seen nothing then, the order is another one.

    Cost: one backward pass per batch, shared on trained networks. Designed for untrained networks; it fails
    on trained ones, whose gradient is small and mostly noise.

    Source: Lee et al. 2019 (SNIP), equation 5.
    """

    name = "snip"
    granularity = "both"
    scale = "network"
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """What the logits are divided by."""
    batch_norm: BatchNorm = "auto"
    """Whether batch norms use running statistics or the batch's own; "auto": the latter at init."""

    def score(self, context: ScoringContext) -> dict[str, Tensor]:
        """Return the normalised sensitivity of each weight."""
        import torch

        gradient = Passes.of(context, self.temperature, self.batch_norm).mean_gradient(context)
        scores = {layer.name: (gradient[layer.name] * layer.weight).abs() for layer in context.layers}
        total = torch.stack([score.sum() for score in scores.values()]).sum().clamp_min(1e-30)
        return {name: score / total for name, score in scores.items()}

    def gradient_statistics(self) -> Sequence[str]:
        """Return the one statistic that it reads of a trained network."""
        return ("mean-gradient",) if self.temperature == 1 and self.batch_norm != "train" else ()
