"""Second-order Taylor expansion of the loss with a diagonal Hessian."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from benchsuite import Scorer
from benchsuite_scorers._curvature import batch_products

if TYPE_CHECKING:
    from torch import Tensor

    from benchsuite import ScoringContext

_ENOUGH = 0.1
_TOGETHER = 32
"""How many samples share a draw: the errors of several draws average out over the samples."""
_AT_ONCE = 2**23
"""How many numbers of vectors are worked on at once, beyond `fewest` vectors."""


class Obd(Scorer):
    """Half h w^2, where h is the diagonal of the Hessian of the mean loss.

    The increase of the loss near a minimum, if weights did not interact. h w^2 is estimated with Hutchinson's
    method: the mean of v x (H v) over draws of v, the weights with random signs (the error of signs alone is
    never smaller in sum), drawn anew for every 32 samples, over which errors average out. Unit: the sum over
    the unit's weights. There are draws until the median standard error of the scores is at most a tenth of
    their standard deviation over the network, at least `fewest` and at most `probes` for each sample. Scores
    are changes of one loss, so those of different layers are compared as they are.

    Cost: per draw a pass over the samples that differentiates the backward pass, several draws at once;
    memory for some copies of the weights. It fails if weights interact, as in twin units, away from a
    minimum, where h can be negative, and where `probes` draws leave more noise than differences.

    Source: LeCun et al. 1990 (optimal brain damage), equation 5; Hutchinson 1989 for the estimate.
    """

    name = "obd"
    granularity = "both"
    scale = "network"
    absolute = True
    probes: Annotated[int, Field(ge=2)] = 256
    """The most draws of random signs for each sample."""
    fewest: Annotated[int, Field(ge=2)] = 8
    """The fewest draws."""

    def score(self, context: ScoringContext) -> dict[str, Tensor]:
        """Return half the estimated curvature times the squared weight."""
        import torch

        sizes = {layer.name: self._size(context, layer.weight) for layer in context.layers}
        mean = torch.zeros(sum(sizes.values()), dtype=torch.float64, device=context.device)
        squares = torch.zeros_like(mean)
        drawn = 0
        while drawn < self.probes and (drawn < self.fewest or not precise(mean, squares, drawn)):
            values = self._draws(context, self._next(context, drawn))
            # The mean of all draws and the sum of squares around it, of the draws before and of the new ones.
            count, new = len(values), values.mean(0)
            squares += ((values - new) ** 2).sum(0) + (new - mean) ** 2 * drawn * count / (drawn + count)
            mean += (new - mean) * count / (drawn + count)
            drawn += count
        parts = mean.split(list(sizes.values()))
        return {
            layer.name: part.reshape(self._shape(context, layer.weight)).to(layer.weight.dtype)
            for layer, part in zip(context.layers, parts, strict=True)
        }

    def _next(self, context: ScoringContext, drawn: int) -> int:
        """How many draws to make at once: as many as there are, where they fit."""
        weights = sum(layer.weight.numel() for layer in context.layers)
        fitting = max(self.fewest, _AT_ONCE // weights)
        return min(max(drawn, self.fewest), fitting, self.probes - drawn)

    def _draws(self, context: ScoringContext, count: int) -> Tensor:
        """Return (draws, scores): the estimates of each draw, all layers in a row."""
        import torch

        def draw() -> dict[str, Tensor]:
            vectors = {}
            for layer in context.layers:
                bits = torch.randint(0, 2, (count, *layer.weight.shape), generator=context.generator)
                vectors[layer.name] = bits.mul_(2).sub_(1).to(layer.weight) * layer.weight
            return vectors

        total = torch.zeros((), dtype=torch.float64, device=context.device)
        for vectors, products in batch_products(context, draw, batch_size=_TOGETHER):
            parts = [
                (vectors[layer.name] * products[layer.name])
                .reshape(count, self._size(context, layer.weight), -1)
                .double()
                .sum(-1)
                for layer in context.layers
            ]
            total = total + 0.5 * torch.cat(parts, 1)
        return total

    @staticmethod
    def _shape(context: ScoringContext, weight: Tensor) -> tuple[int, ...]:
        return tuple(weight.shape) if context.granularity == "weight" else (len(weight),)

    def _size(self, context: ScoringContext, weight: Tensor) -> int:
        return math.prod(self._shape(context, weight))


def precise(mean: Tensor, squares: Tensor, draws: int) -> bool:
    """Whether the median standard error is below a tenth of the standard deviation of the scores.

    Args:
        mean: the scores.
        squares: the sum of the squared differences of the draws from it.
        draws: how many there were.
    """
    errors = (squares / (draws * (draws - 1))).sqrt()
    return float(errors.median()) <= _ENOUGH * float(mean.std(correction=0))
