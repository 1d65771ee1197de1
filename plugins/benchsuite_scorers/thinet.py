"""ThiNet: keep what the layers that read the units need."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from benchsuite import Scorer, Unsupported

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from benchsuite import CoupledGroup, ScoringContext
    from benchsuite_scorers._reader import Reader


class ThiNet(Scorer):
    """The order of removal if each time the unit is removed that changes the next layers' outputs least.

    Each unit's contribution to the output of every layer that reads it is computed for sampled entries (a
    place and a unit of the output); in each greedy step the unit is removed that increases the squared sum of
    all removed contributions least, summed over samples, entries and reading layers. Each layer's sampled
    entries stand for all of its output. Units that are coupled are one unit. The score is the number of units
    removed before it.

    Cost: one forward pass per batch and coupled group, and the reading layers once; the greedy search works
    on a (units x units) matrix in double precision. It fails to see what the network does with the outputs
    that change, and that a layer normalisation has other means once units are gone. Units that reach the
    network past the layers known to read them are skipped.

    The scale is "layer": a place in an order says nothing about other layers.

    Source: Luo et al. 2017, algorithm 1 (without the rescaling of what is kept); the sum over several reading
    layers is ours, the paper's networks have one.
    """

    name = "thinet"
    scale = "layer"
    coupled = True
    places: Annotated[int, Field(ge=1)] = 10
    """Number of sampled entries of each reading layer's output, per sample."""

    def score(self, context: ScoringContext) -> dict[str, Tensor]:
        """Return the place of each unit in the order of removal."""
        positions, skipped = {}, {}
        for group in context.groups:
            try:
                positions[group.name] = removal_order(self._products(context, group))
            except Unsupported as reason:
                skipped[group.name] = str(reason)
        return context.spread(positions, skipped)

    def _products(self, context: ScoringContext, group: CoupledGroup) -> Tensor:
        """Return the (size, size) matrix of products of contributions, summed over samples and entries."""
        import torch

        from benchsuite import without_padding
        from benchsuite_scorers._completeness import check_readers
        from benchsuite_scorers._coupled import reader_gates
        from benchsuite_scorers._reader import Reader, inputs_of

        check_readers(context, group)
        readers = [Reader(gate, group.size) for gate in reader_gates(context, group).gates]
        modules = [reader.module for reader in readers]
        products = torch.zeros(group.size, group.size, dtype=torch.float64, device=context.device)
        with torch.no_grad():
            for inputs, _ in context.batches():
                entered, _ = inputs_of(context.model, modules, inputs)
                for reader in readers:
                    for values in entered[reader.module]:
                        read = without_padding(reader.module, values, inputs)
                        flat = self._sampled(reader, read, context.generator)
                        products += flat @ flat.T
        return products

    def _sampled(self, reader: Reader, values: Tensor, generator: torch.Generator) -> Tensor:
        """Return (positions, rows x places) contributions, weighted to stand for all entries."""
        import torch

        sampled: Tensor | None = None
        width, found = 0, []
        for contribution in reader.contributions(values):
            rows = contribution.flatten(1)
            if sampled is None:
                width = rows.shape[1]
                drawn = torch.randint(width, (len(rows), self.places), generator=generator)
                sampled = drawn.to(rows.device)
            found.append(rows.gather(1, sampled).flatten())
        return torch.stack(found).double() * math.sqrt(width / self.places)


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
