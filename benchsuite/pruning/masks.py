"""Removing single weights: which ones, and keeping them at zero."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from benchsuite.errors import Collapsed, Unsupported
from benchsuite.pruning.group_scores import normalised

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from benchsuite.pruning.graph import PruningGraph
    from benchsuite.pruning.settings import PruningSettings


@dataclass(frozen=True, eq=False)
class WeightSelection:
    """Which weights are kept.

    Attributes:
        keep: by layer name, True where a weight is kept, shaped as the layer's weight, on the CPU; layers
            without scores are absent and not pruned.
        ties: number of weights with the score at the cut (with the scope "protected" also at the floor of a
            layer), if the cut falls among equal scores.
        params_removed: removed fraction of the network's parameters.
        macs_removed: removed fraction of the network's multiply-accumulates.
    """

    keep: dict[str, Tensor]
    ties: int
    params_removed: float
    macs_removed: float


def select_weights(
    graph: PruningGraph,
    scores: Mapping[str, Tensor],
    settings: PruningSettings,
    sparsity: float,
    seed: int,
    *,
    of_scored: bool = False,
) -> WeightSelection:
    """Choose the weights to remove so that the removed share of the budget is nearest to the target.

    The scopes are those of unit pruning, with a layer's weights instead of a group's positions; "row" is
    "layer" with the weights of one unit, a row of the weight as a matrix, instead (Sun et al. 2023 compare
    there). With the budget "macs" a weight counts as often as it is multiplied for one sample.

    Args:
        graph: the network's pruning graph.
        scores: by layer name, one score per weight, shaped as the layer's weight; layers that are absent are
            not pruned. The output layer may be included.
        settings: scope, budget, floor, and how to normalise.
        sparsity: fraction of the budget to remove, in [0, 1).
        seed: decides the order of equal scores.
        of_scored: whether the sparsity is a fraction of the weights that have scores, in place of a budget.

    Raises:
        Collapsed: the selection would remove every weight of a layer.
        Unsupported: the budget is "units", or the scope cannot reach the sparsity.
    """
    if settings.budget == "units" and not of_scored:
        raise Unsupported(
            'weights are removed one by one: the budget must be "params" or "macs", not "units"'
        )
    names = [layer.name for layer in graph.weight_layers if layer.name in scores]
    if not names:
        raise Unsupported("the criterion gives no scores for any layer")
    for layer in graph.weight_layers:
        if layer.name in scores and scores[layer.name].shape != layer.weight.shape:
            given = tuple(scores[layer.name].shape)
            raise ValueError(
                f"scores of {layer.name} have shape {given}; its weight has {tuple(layer.weight.shape)}"
            )
    values = [normalised(scores[name], settings.normalise).cpu().flatten() for name in names]
    macs = torch.tensor([graph.weight_macs[name] for name in names], dtype=torch.int64)
    dense_params, dense_macs = graph.cost_model.cost(graph.cost_model.counts({}))
    price = torch.ones_like(macs) if of_scored or settings.budget == "params" else macs
    total = dense_params if settings.budget == "params" else dense_macs
    if of_scored:
        total = sum(len(value) for value in values)

    units = [len(scores[name]) for name in names]
    order = _ordered(values, units, settings, seed)
    gone = price[order.layers].cumsum(0)
    count = _nearest_prefix(gone, sparsity * total)
    if count == len(gone) and sparsity * total - float(gone[-1]) > float(price.max()):
        raise Unsupported(
            f"the scope {settings.scope} can remove at most {float(gone[-1]) / total:.1%} of the "
            f"{'weights' if of_scored else settings.budget}, not {sparsity:.1%}"
        )
    removed = torch.bincount(order.layers[:count], minlength=len(names))
    empty = [name for name, value, n in zip(names, values, removed.tolist(), strict=True) if n == len(value)]
    if empty:
        raise Collapsed(f"the scope {settings.scope} would take every weight of {', '.join(empty[:5])}")
    keep = torch.ones(sum(len(value) for value in values), dtype=torch.bool)
    keep[order.weights[:count]] = False
    parts = keep.split([len(value) for value in values])
    ties = order.ties(count)
    if settings.scope == "protected":
        ties = _protected_ties(values, parts, order, count)
    return WeightSelection(
        keep={name: part.view(scores[name].shape) for name, part in zip(names, parts, strict=True)},
        ties=ties,
        params_removed=int(removed.sum()) / dense_params,
        macs_removed=int((removed * macs).sum()) / dense_macs,
    )


def _protected_ties(values: list[Tensor], keep: Sequence[Tensor], order: _Order, count: int) -> int:
    """Number of weights whose fate the seeded order decided: at the cut, and at the floor of each layer."""
    falls_among_equals = 0 < count < len(order.scores) and bool(
        order.scores[count - 1] == order.scores[count]
    )
    cut = order.scores[count] if falls_among_equals else torch.tensor(math.nan)
    above_floor = torch.zeros(sum(len(value) for value in values), dtype=torch.bool)
    above_floor[order.weights] = True
    total = 0
    sizes = [len(value) for value in values]
    for value, kept, open_ in zip(values, keep, above_floor.split(sizes), strict=True):
        on_both_sides = value[kept].unique()
        on_both_sides = on_both_sides[torch.isin(on_both_sides, value[~kept])]
        at_floor = torch.isin(value, on_both_sides)
        at_cut = value == cut  # which of equal weights the floor keeps, the seed decides too
        total += int((at_floor | (at_cut & (open_ & at_cut).any())).sum())
    return total


@dataclass(frozen=True, eq=False)
class _Order:
    """Weights in their order of removal, as tensors of the same length.

    Attributes:
        weights: indices over all layers together.
        layers: the layer's number.
        scores: normalised.
        parts: the number of the layer or row that has its own cut; 0 for all where there is one cut.
    """

    weights: Tensor
    layers: Tensor
    scores: Tensor
    parts: Tensor

    def ties(self, count: int) -> int:
        """Number of weights with the score at their part's cut, where it falls among equal scores."""
        sizes = torch.bincount(self.parts)
        removed = torch.bincount(self.parts[:count], minlength=len(sizes))
        by_part = torch.sort(self.parts, stable=True).indices
        scores, cut = self.scores[by_part], sizes.cumsum(0) - sizes + removed
        inside = (removed > 0) & (removed < sizes)
        first_kept, last_gone = scores[cut.clamp(max=len(scores) - 1)], scores[(cut - 1).clamp(min=0)]
        tied = inside & (first_kept == last_gone)
        return int((tied[self.parts] & (self.scores == first_kept[self.parts])).sum())


def _ordered(values: list[Tensor], units: list[int], settings: PruningSettings, seed: int) -> _Order:
    """All weights in their order of removal.

    Args:
        values: by layer, the scores, one dimension.
        units: by layer, how many units its weights belong to.
        settings: the scope, and the floor.
        seed: decides the order of equal keys.
    """
    generator = torch.Generator().manual_seed(seed)
    weights, layers, parts, keys, offset = [], [], [], [], 0
    for number, (value, rows) in enumerate(zip(values, units, strict=True)):
        size = len(value)
        ascending = torch.arange(size)
        key, part = value, torch.zeros_like(ascending)
        if settings.scope != "global":
            ascending = _ascending(value, generator)
        if settings.scope == "protected":
            ascending = ascending[: size - max(1, math.ceil(settings.floor * size - 1e-9))]
            key, part = value[ascending], torch.zeros_like(ascending)
        elif settings.scope == "layer":
            key, part = torch.arange(1, size + 1, dtype=torch.float64) / size, torch.full_like(part, number)
        elif settings.scope == "row":
            width = size // rows
            ascending = ascending[torch.sort(ascending // width, stable=True).indices]
            key = (torch.arange(1, width + 1, dtype=torch.float64) / width).repeat(rows)
            part = ascending // width + sum(units[:number])
        if settings.scope in ("layer", "row"):
            # What earlier cuts removed goes first.
            key = torch.where(value[ascending].isneginf(), -torch.inf, key)
        weights.append(ascending + offset)
        layers.append(torch.full_like(ascending, number))
        parts.append(part)
        keys.append(key)
        offset += size
    order = _ascending(torch.cat(keys), generator)
    chosen = torch.cat(weights)[order]
    return _Order(
        weights=chosen,
        layers=torch.cat(layers)[order],
        scores=torch.cat(values)[chosen],
        parts=torch.cat(parts)[order],
    )


def _ascending(values: Tensor, generator: torch.Generator) -> Tensor:
    """Indices in ascending order of value, equal values in random order."""
    shuffled = torch.randperm(len(values), generator=generator)
    return shuffled[torch.sort(values[shuffled], stable=True).indices]


def _nearest_prefix(gone: Tensor, target: float) -> int:
    """How many to remove so that the removed amount is nearest to the target."""
    if target <= 0 or not len(gone):
        return 0
    count = int(torch.searchsorted(gone, torch.tensor(math.ceil(target)))) + 1
    if count > len(gone):
        return len(gone)
    before = float(gone[count - 2]) if count > 1 else 0.0
    return count - 1 if target - before <= float(gone[count - 1]) - target else count


class WeightMasks:
    """Masks that keep removed weights at exactly zero.

    `bind` returns the function to call after every optimiser step: one in-place multiplication on tensors
    whose memory does not move, so that it can be part of a CUDA graph.
    """

    def __init__(self, keep: Mapping[str, Tensor]) -> None:
        self.keep = {name: mask.bool() for name, mask in keep.items()}
        self._factors: dict[tuple[str, torch.device, torch.dtype], Tensor] = {}

    def apply_(self, model: nn.Module) -> None:
        """Set the removed weights of the network to zero, in place."""
        weights = {name: model.get_submodule(name).get_parameter("weight") for name in self.keep}
        if not weights:
            return
        factors = [self._factor(name, weight) for name, weight in weights.items()]
        with torch.no_grad():
            torch._foreach_mul_(list(weights.values()), factors)

    def bind(self, model: nn.Module) -> Callable[[], None]:
        """Apply the masks now and return a function that applies them again."""
        self.apply_(model)
        return partial(self.apply_, model)

    def _factor(self, name: str, weight: Tensor) -> Tensor:
        key = (name, weight.device, weight.dtype)
        if key not in self._factors:
            self._factors[key] = self.keep[name].to(weight.device, weight.dtype)
        return self._factors[key]
