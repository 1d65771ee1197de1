"""A network of which some layers lose units, and others have weights held at zero."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import nn

from benchsuite.pruning.copying import copy_of
from benchsuite.pruning.layer_targets import layers_apart
from benchsuite.pruning.masked import MaskedNetwork
from benchsuite.pruning.smaller import SmallerNetwork
from benchsuite.pruning.surgery import remove_units
from benchsuite.store import metric_names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from benchsuite.metrics.cost import Cost
    from benchsuite.pruning.graph import PruningGraph
    from benchsuite.pruning.layer_targets import TargetedLayers
    from benchsuite.pruning.settings import PruningSettings


class _MaskedAfterUnits(MaskedNetwork):
    """What is left of a network whose units have gone, with weights held at zero."""

    def follows(self, smaller: SmallerNetwork) -> None:
        """Be the network that comes of what another has left."""
        self._smaller, self.removed = smaller, smaller.removed

    def take_weights(self, dense: nn.Module) -> None:
        """Replace the weights by those of another dense network, pruned in the same places."""
        self._smaller.take_weights(dense)
        super().take_weights(self._smaller.model)


def without_units_and_weights(
    dense: nn.Module,
    graph: PruningGraph,
    dense_cost: Cost,
    settings: PruningSettings,
    seed: int,
    probe: Tensor,
    targets: tuple[Sequence[TargetedLayers], Sequence[TargetedLayers]],
) -> MaskedNetwork:
    """Remove units of some layers, and then hold weights of others at zero, as the target of each says.

    A target of weights is one of those that are left once the units are gone. They are chosen by the scores
    that they have in the dense network.

    Args:
        dense: the dense network; it is not changed.
        graph: its pruning graph.
        dense_cost: its cost.
        settings: those of the trial.
        seed: decides the order of equal scores.
        probe: inputs used to count the cost and to check the surgery.
        targets: those of units, and those of weights.

    Raises:
        UsageError: the network has no such layer, or two targets name one.
        Collapsed: a layer would lose all its units or weights.
        Unsupported: a target cannot be reached.
        BenchsuiteError: the surgery's check or the cost model failed.
    """
    of_units, of_weights = targets
    layers_apart(graph, [each.patterns for each in (*of_units, *of_weights)])
    smaller = SmallerNetwork(dense, graph, dense_cost, settings, seed, probe)
    smaller.cut_layers(of_units)
    left = graph.without(smaller.removed, smaller.model)
    masked = _MaskedAfterUnits(smaller.model, left, dense_cost, settings, seed, probe)
    masked.cut_layers([_of_what_is_left(each, dense, graph, smaller.removed) for each in of_weights])
    masked.follows(smaller)
    units = masked.metrics[metric_names.SPARSITY_UNITS] * left.units / graph.units
    added = {**masked.metrics, metric_names.SPARSITY_UNITS: units}
    masked.metrics = {name: value + added.get(name, 0) for name, value in smaller.metrics.items()}
    return masked


def _of_what_is_left(
    target: TargetedLayers, dense: nn.Module, graph: PruningGraph, removed: Mapping[str, tuple[int, ...]]
) -> TargetedLayers:
    """A target of weights with what is said of the weights that are left."""
    names = [layer.name for layer in graph.weight_layers]
    scores, native = (
        _left({name: each[name] for name in names if name in each}, dense, graph, removed)
        for each in (target.scores, target.native)
    )
    return replace(target, scores=scores, native={name: kept > 0 for name, kept in native.items()})


def _left(
    values: Mapping[str, Tensor],
    dense: nn.Module,
    graph: PruningGraph,
    removed: Mapping[str, tuple[int, ...]],
) -> dict[str, Tensor]:
    """Values of single weights, cut as the weights are: they take their places in a copy of the network."""
    carrier = copy_of(dense)
    for name, value in values.items():
        module = carrier.get_submodule(name)
        module.register_parameter("weight", nn.Parameter(value.to(torch.float64), requires_grad=False))
    smaller = remove_units(carrier, graph, removed)
    return {name: smaller.get_submodule(name).get_parameter("weight").detach() for name in values}
