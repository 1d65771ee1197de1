"""The Shapley value of a unit among the units of its layer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from benchsuite import Scorer, Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import torch
    from torch import Tensor

    from benchsuite import CoupledGroup, ScoringContext

    Payoffs = Callable[[Tensor], Tensor]
    """Takes coalitions (n, units) as bool and returns their payoffs (n,)."""


FEWEST = 20
"""Permutations below which no standard error is given: with 5, values were up to 9.8 of them off."""


@dataclass(frozen=True, eq=False)
class ShapleyEstimate:
    """Shapley values of one coupled group.

    Attributes:
        values: (positions,), float64.
        standard_error: (positions,), of sampled values; zero where nothing is sampled; None from fewer than
            20 permutations.
        coalitions: how many payoffs were computed.
    """

    values: Tensor
    standard_error: Tensor | None
    coalitions: int


class Shapley(Scorer):
    """What a unit adds to the accuracy, averaged over all orders in which the layer's units could be added.

    The payoff of a coalition is the accuracy on the context's samples with the layer's other units off. Units
    that are coupled are one player, on or off in all their layers. Small layers are computed exactly from the
    power set; for larger ones permutations are sampled, or only coalitions up to a size are counted.

    Cost: 2^units, or `permutations` x units, runs of the part of the network that depends on the units; where
    one layer reads them and they act apart there, only of the part after that layer. It fails to consider
    that several layers are pruned together. A standard error is given from 20 permutations on; sampling stops
    by what was sampled, so that it is a little too small.

    The scale is "network": every value is a difference of the whole network's accuracy, and a layer's values
    sum to the accuracy minus that with the layer off. So they have one unit, and are small in wide layers
    because one of many units matters less. That sum may be zero or negative, beside a skip connection for
    instance, so that dividing by a layer's mean would turn its ranking round. None of this
    holds for the method "coalitions", whose weights do not sum to 1 and become smaller with the number of
    units: its values are compared as they are too, which favours the units of narrow layers, so use the scope
    "layer" with it.

    Source: Adamczewski and Park 2019, eqs. 1 and 2.
    """

    name = "shapley"
    scale = "network"
    coupled = True
    imports = ("scipy.stats",)
    method: Literal["auto", "exact", "coalitions", "permutations"] = "auto"
    """auto: exact up to `exact_units`, otherwise permutations. coalitions: eq. 2 over small ones only."""
    exact_units: Annotated[int, Field(ge=0, le=25)] = 10
    """Largest layer for which "auto" uses the power set; the paper does so up to 25 units."""
    coalition_size: Annotated[int, Field(ge=1)] = 2
    """Units in the largest coalitions of the method "coalitions"."""
    permutations: Annotated[int, Field(ge=2)] = 200
    """Largest number of permutations that are sampled."""
    stable: Annotated[float, Field(ge=0, le=1)] = 0.99
    """Sampling stops when Kendall's tau between the ranking and the one of the round before is at least this
    in two consecutive rounds; with 1 it hardly ever stops early."""
    off: Literal["zeroed", "removed"] = "zeroed"
    """zeroed: a unit's weights and bias are zero, and the scale and shift of its normalisation; what follows
    still acts on that. removed: nothing reaches the layers that read it, as after surgery."""

    def score(self, context: ScoringContext) -> dict[str, Tensor]:
        """Return the Shapley value by unit."""
        found, skipped = {}, {}
        for group in context.groups:
            try:
                found[group.name] = self.estimate(context, group)
            except Unsupported as reason:
                skipped[group.name] = str(reason)
        _report(context, found)
        return context.spread({name: each.values for name, each in found.items()}, skipped)

    def estimate(self, context: ScoringContext, group: CoupledGroup) -> ShapleyEstimate:
        """Return one coupled group's Shapley values with their standard error.

        Raises:
            Unsupported: the group cannot be scored with these parameters.
        """
        from benchsuite_scorers._coalitions import CoalitionGame

        game = CoalitionGame(context, group, self.off)
        method = self.method
        if method == "auto":
            method = "exact" if group.size <= self.exact_units else "permutations"
        if method == "exact":
            if group.size > 25:
                raise Unsupported(f"its power set of {group.size} units is too large; 25 units are the most")
            return exact_values(game.payoffs, group.size)
        if method == "coalitions":
            return limited_values(game.payoffs, group.size, self.coalition_size)
        return sampled_values(game.payoffs, group.size, self.permutations, self.stable, context.generator)


def _report(context: ScoringContext, found: Mapping[str, ShapleyEstimate]) -> None:
    """Say of each group's positions the value and how sure it is, and how many payoffs all of them took."""
    if not found:
        return
    unknown = float("nan")
    context.report("coalitions", sum(each.coalitions for each in found.values()))
    rows: list[dict[str, str | float]] = []
    for name, each in found.items():
        errors = [unknown] * len(each.values) if each.standard_error is None else each.standard_error.tolist()
        rows += [
            {"group": name, "position": number, "value": value, "standard_error": error}
            for number, (value, error) in enumerate(zip(each.values.tolist(), errors, strict=True))
        ]
    context.report("values", rows)
    largest = [float(each.standard_error.max()) for each in found.values() if each.standard_error is not None]
    if largest:
        context.report("largest_standard_error", max(largest))


def exact_values(payoffs: Payoffs, units: int) -> ShapleyEstimate:
    """Return the values over the power set (Adamczewski and Park 2019, eq. 2)."""
    import torch

    bits = 2 ** torch.arange(units)
    chunk = 2**16
    codes = torch.arange(2**units)
    found = torch.cat([payoffs((part[:, None] & bits) != 0) for part in codes.split(chunk)])
    sizes = torch.zeros(2**units, dtype=torch.int64)
    for bit in bits:
        sizes += (codes & bit) != 0
    # The weight of a coalition without the unit, by size: size! (units - size - 1)! / units!
    weights = torch.tensor(
        [1 / (units * math.comb(units - 1, size)) for size in range(units)], dtype=torch.float64
    )
    values = torch.empty(units, dtype=torch.float64)
    for unit in range(units):
        without = codes[(codes & bits[unit]) == 0]
        values[unit] = (weights[sizes[without]] * (found[without + bits[unit]] - found[without])).sum()
    return ShapleyEstimate(values, torch.zeros_like(values), 2**units)


def limited_values(payoffs: Payoffs, units: int, largest: int) -> ShapleyEstimate:
    """Return the part of eq. 2 whose coalitions, with the unit, have at most `largest` units.

    Raises:
        Unsupported: there are more than 2^22 such coalitions.
    """
    import itertools

    import torch

    largest = min(largest, units)
    count = sum(math.comb(units, size) for size in range(largest + 1))
    if count > 2**22:
        raise Unsupported(f"{count} coalitions of up to {largest} of {units} units are too many")
    chosen = [c for size in range(largest + 1) for c in itertools.combinations(range(units), size)]
    places = {coalition: place for place, coalition in enumerate(chosen)}
    masks = torch.zeros(len(chosen), units, dtype=torch.bool)
    for place, coalition in enumerate(chosen):
        masks[place, list(coalition)] = True
    found = payoffs(masks).tolist()
    values = [0.0] * units
    for coalition, place in places.items():
        for position, unit in enumerate(coalition):
            others = coalition[:position] + coalition[position + 1 :]
            weight = 1 / (units * math.comb(units - 1, len(others)))
            values[unit] += weight * (found[place] - found[places[others]])
    estimate = torch.tensor(values, dtype=torch.float64)
    return ShapleyEstimate(estimate, torch.zeros_like(estimate), len(chosen))


def sampled_values(
    payoffs: Payoffs, units: int, most: int, stable: float, generator: torch.Generator, size: int = 20
) -> ShapleyEstimate:
    """Return the mean over random orders of what a unit adds, with its standard error (eq. 1, sampled).

    The standard error is None if fewer than 20 orders were drawn.

    Orders are drawn in rounds of `size`; sampling ends after `most` orders, or when the ranking was stable
    (Kendall's tau of at least `stable`) for two rounds.
    """
    import torch
    from scipy.stats import kendalltau

    ends = payoffs(torch.tensor([[False] * units, [True] * units]))
    added = torch.empty(0, units, dtype=torch.float64)
    calm = 0
    while len(added) < most and calm < 2:
        number = min(size, most - len(added))
        orders = torch.stack([torch.randperm(units, generator=generator) for _ in range(number)])
        places = orders.argsort(1)
        # Row k of an order's steps holds the units before place k; the first and the last are known.
        steps = places[:, None, :] < torch.arange(1, units)[None, :, None]
        inner = payoffs(steps.reshape(-1, units)).reshape(number, units - 1)
        walk = torch.cat([ends[0].expand(number, 1), inner, ends[1].expand(number, 1)], 1)
        before = added.mean(0)
        added = torch.cat([added, walk.diff(dim=1).gather(1, places)])
        if len(added) > number and units > 1:
            tau = kendalltau(before.numpy(), added.mean(0).numpy()).statistic
            calm = calm + 1 if tau >= stable else 0
    error = added.std(0) / math.sqrt(len(added)) if len(added) >= FEWEST else None
    return ShapleyEstimate(added.mean(0), error, len(added) * (units - 1) + 2)
