"""Parameters and MACs as a function of how many positions of each coupled group are removed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import nn

from benchsuite.contracts.recurrent import RecurrentLayer
from benchsuite.pruning.axes import read_weights

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from benchsuite.metrics.cost import MacCount

Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class CostModel:
    """Exact cost of every network that pruning can make of a dense one, without running it.

    A width is the number of entries left on one axis of one module: linear in the removed positions. A
    term is a constant times the product of two widths: a convolution's weight is kernel x inputs x units.

    Attributes:
        groups: names of the coupled groups, in the order of the columns.
        widths: (widths,) entries of each axis in the dense network; the first is the constant 1.
        per_position: (widths, groups) entries that are removed with one position of a group.
        factors: (terms, 2) the widths that are multiplied.
        params: (terms,) parameters per unit of the product.
        macs: (terms,) multiply-accumulates of one sample per unit of the product.
        fixed_params: parameters that no group affects.
        fixed_macs: multiply-accumulates that no group affects.
    """

    groups: tuple[str, ...]
    widths: Integers
    per_position: Integers
    factors: Integers
    params: Integers
    macs: Integers
    fixed_params: int
    fixed_macs: int

    def cost(self, removed: Integers) -> tuple[int, int]:
        """Parameters and MACs after removing `removed[g]` positions of each group, shape (groups,)."""
        params, macs = self.costs(removed[:, None])
        return int(params[0]), int(macs[0])

    def costs(self, removed: Integers) -> tuple[Integers, Integers]:
        """Parameters (n,) and MACs (n,) for each column of `removed`, (groups, n)."""
        left = self.widths[:, None] - self.per_position @ removed
        products = left[self.factors[:, 0]] * left[self.factors[:, 1]]
        return self.fixed_params + self.params @ products, self.fixed_macs + self.macs @ products

    def after(self, removed: Integers, groups: tuple[str, ...]) -> CostModel:
        """The cost model of the network that is left after a removal, for the groups named."""
        columns = [self.groups.index(group) for group in groups]
        return replace(
            self,
            groups=groups,
            widths=self.widths - self.per_position @ removed,
            per_position=self.per_position[:, columns],
        )

    def counts(self, removed: Mapping[str, int]) -> Integers:
        """Removed positions by group name as the array that `cost` takes."""
        return np.array([removed.get(group, 0) for group in self.groups], np.int64)


@dataclass(frozen=True)
class AxisCut:
    """How many entries of one axis are removed with a position of each group."""

    name: str
    side: str
    size: int
    per_position: Mapping[str, int]


def build_cost_model(
    model: nn.Module, counted: MacCount, groups: tuple[str, ...], cuts: list[AxisCut]
) -> CostModel:
    """The cost model of a network, from the MACs counted in one run.

    Args:
        model: the dense network.
        counted: its MACs.
        groups: names of all coupled groups.
        cuts: every axis that some group cuts.
    """
    widths, columns = [1], [np.zeros(len(groups), np.int64)]
    index: dict[tuple[str, str], int] = {}
    for cut in cuts:
        index[cut.name, cut.side] = len(widths)
        widths.append(cut.size)
        columns.append(np.array([cut.per_position.get(group, 0) for group in groups], np.int64))
    factors: list[tuple[int, int]] = []
    params: list[int] = []
    macs: list[int] = []

    def add(first: int, second: int, parameters: int, multiplications: int) -> None:
        factors.append((first, second))
        params.append(parameters)
        macs.append(multiplications)

    counted_parameters: set[int] = set()

    def share(parameter: Tensor) -> int:
        """1 for a parameter that is met first, 0 for one that another module shares and that was met."""
        first = id(parameter) not in counted_parameters
        counted_parameters.add(id(parameter))
        return int(first)

    modules = {
        name: model.get_submodule(name) for name in {cut.name for cut in cuts if cut.side != "parameter"}
    }
    for name, module in modules.items():
        sides = {side: number for (owner, side), number in index.items() if owner == name}
        if isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
            weight = module.weight
            units, inputs, kernel = weight.shape[0], weight.shape[1], math.prod(weight.shape[2:])
            if isinstance(module, nn.modules.conv._ConvNd) and module.transposed:
                units, inputs = inputs, units
            fixed = (1 if "out" in sides or "grouped" in sides else units) * (1 if "in" in sides else inputs)
            first, second = sides.get("out", sides.get("grouped", 0)), sides.get("in", 0)
            positions = counted.of_module.get(name, 0) // (units * inputs * kernel)
            if rows := sides.get("rows", 0):
                # Computed anew for each channel. Where units and inputs went too, it would be three widths.
                add(first, second, fixed * share(weight), 0)
                add(rows, first or second, 0, fixed * positions // widths[rows])
            else:
                add(first, second, fixed * kernel * share(weight), fixed * kernel * positions)
            if module.bias is not None and first:
                add(first, 0, share(module.bias), 0)
        elif isinstance(module, RecurrentLayer):
            units, reads, gates = module.weight.shape
            fixed = gates * (1 if "out" in sides else units) * (1 if "sequence" in sides else reads)
            steps = counted.of_module.get(name, 0) // module.weight.numel()
            add(sides.get("out", 0), sides.get("sequence", 0), fixed * share(module.weight), fixed * steps)
            if module.bias is not None and "out" in sides:
                add(sides["out"], 0, module.bias[0].numel() * share(module.bias), 0)
        elif "sequence" in sides:
            every = sum(weight.numel() for weight in module.parameters() if weight.ndim > 1)
            steps = counted.of_module.get(name, 0) // every
            reading = [weight for weight, _ in read_weights(module)]
            own = sum(weight.shape[0] * share(weight) for weight in reading)
            add(sides["sequence"], 0, own, sum(weight.shape[0] for weight in reading) * steps)
        elif "channels" in sides:
            size = widths[sides["channels"]]
            own = sum(p.numel() * share(p) for p in module.parameters(recurse=False))
            add(sides["channels"], 0, own // size, 0)
        elif "heads" in sides:
            # All that is no layer inside the attention is done for each head.
            inside = sum(
                counted.of_module.get(f"{name}.{child}" if name else child, 0)
                for child, layer in module.named_modules()
                if isinstance(layer, nn.Linear | nn.modules.conv._ConvNd)
            )
            heads = widths[sides["heads"]]
            add(sides["heads"], 0, 0, (counted.of_module.get(name, 0) - inside) // heads)
    for cut in cuts:
        if cut.side == "parameter":
            parameter = model.get_parameter(cut.name)
            add(index[cut.name, cut.side], 0, parameter.numel() // cut.size, 0)

    found = CostModel(
        groups=groups,
        widths=np.array(widths, np.int64),
        per_position=np.stack(columns),
        factors=np.array(factors, np.int64).reshape(-1, 2),
        params=np.array(params, np.int64),
        macs=np.array(macs, np.int64),
        fixed_params=0,
        fixed_macs=0,
    )
    parameters, multiplications = found.cost(np.zeros(len(groups), np.int64))
    total = sum(p.numel() for p in model.parameters())
    return replace(found, fixed_params=total - parameters, fixed_macs=counted.total - multiplications)
