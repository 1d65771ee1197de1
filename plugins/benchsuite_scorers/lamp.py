"""Layer-adaptive magnitude."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchsuite import Scorer

if TYPE_CHECKING:
    from torch import Tensor

    from benchsuite import ScoringContext


class Lamp(Scorer):
    """w^2 over the sum of v^2 over all weights v of the layer with abs(v) >= abs(w).

    It makes magnitudes of different layers comparable, so that one global ranking gives each layer a
    sensible sparsity; within a layer the order is that of magnitude. Meant for the scope "global": the paper
    ranks all layers together by this score, so it is compared over layers as it is. Each weight is measured
    against its own layer, so the sum over a unit's weights says nothing of the unit. Equal
    magnitudes get equal scores. Computed in double precision. Cost: sorting the weights. It fails where
    magnitude fails, for example before a normalisation.

    Source: Lee et al. 2021.
    """

    name = "lamp"
    granularity = "weight"
    scale = "network"
    data_free = True

    def score(self, context: ScoringContext) -> dict[str, Tensor]:
        """Return the layer-adaptive magnitude of each weight."""
        return {layer.name: lamp(layer.weight) for layer in context.layers}


def lamp(weight: Tensor) -> Tensor:
    """Return each weight's score, in its shape; 0 for zero weights."""
    import torch

    squares = weight.flatten().double() ** 2
    ascending = squares.sort().values
    # At the first of equal squares, the sum includes all squares that are at least as large.
    at_least = ascending.flip(0).cumsum(0).flip(0)
    total = at_least[torch.searchsorted(ascending, squares)]
    return torch.where(squares > 0, squares / total, 0.0).reshape(weight.shape)
