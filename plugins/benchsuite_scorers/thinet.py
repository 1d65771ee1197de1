"""ThiNet: keep what the next layer needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from benchsuite import Scorer

if TYPE_CHECKING:
    from torch import Tensor

    from benchsuite import Layer, ScoringContext


class ThiNet(Scorer):
    """The order of removal if each time the unit is removed that changes the next layer's output least.

    For sampled entries of the next layer's output (a position and a unit of it), each unit's contribution is
    computed once; in each greedy step the unit is removed that increases the squared sum of all removed
    contributions least. The score is the number of units removed before. Cost: one forward pass per batch and
    layer, the next layer once per unit; the greedy search works on a (units x units) matrix in double
    precision. It fails if the next layer is not the only reader of the units, and its scores are only
    comparable within a layer.

    Source: Luo et al. 2017, algorithm 1 (without the rescaling of what is kept).
    """

    name = "thinet"
    places: Annotated[int, Field(ge=1)] = 10
    """Number of sampled entries of the next layer's output, per sample."""

    def score(self, context: ScoringContext) -> dict[str, Tensor]:
        """Return the place of each unit in the order of removal."""
        scores = {}
        for layer in context.layers:
            products = self._products(context, layer)
            if products is None:
                context.skip(layer, "its units do not reach a next layer as channels of their own")
            else:
                scores[layer.name] = removal_order(products)
        return scores

    def _products(self, context: ScoringContext, layer: Layer) -> Tensor | None:
        """Return the (units, units) matrix of products of contributions, summed over samples and entries."""
        import torch

        from benchsuite_scorers._next_layer import connect_next, find_next
        from benchsuite_scorers._partial_forward import PartialForward

        following = find_next(context.model, layer, next(context.batches())[0])
        if following is None:
            return None
        products = torch.zeros(layer.units, layer.units, dtype=torch.float64, device=context.device)
        with torch.no_grad():
            for inputs, _ in context.batches():
                rest = PartialForward(context.model, layer.module, inputs)
                reader = connect_next(following, layer, rest)
                if reader is None:
                    return None
                numbers = torch.arange(layer.units, device=context.device)
                width = reader.contribution(reader.on[:1]).numel()
                shape = (len(inputs), self.places)
                sampled = torch.randint(width, shape, generator=context.generator).to(context.device)
                contributions = torch.stack(
                    [
                        reader.contribution(reader.masked(reader.on, numbers == unit))
                        .flatten(1)
                        .gather(1, sampled)
                        for unit in numbers
                    ]
                )
                flat = contributions.flatten(1).double()
                products += flat @ flat.T
        return products


def removal_order(products: Tensor) -> Tensor:
    """Return for each unit how many are removed before it, from the products of their contributions."""
    import torch

    units = len(products)
    matrix = products.cpu()
    with_removed = torch.zeros(units, dtype=torch.float64)
    own = matrix.diagonal()
    order = torch.zeros(units, dtype=torch.float64)
    left = torch.ones(units, dtype=torch.bool)
    for place in range(units):
        growth = torch.where(left, 2 * with_removed + own, torch.inf)
        unit = int(growth.argmin())
        order[unit] = place
        left[unit] = False
        with_removed += matrix[unit]
    return order
