"""A network that is pruned by removing units."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from benchsuite.errors import BenchsuiteError, Unsupported
from benchsuite.metrics.cost import measure_cost
from benchsuite.pruning.base import GONE, Merges, PrunedNetwork, Vary
from benchsuite.pruning.collapse import refuse_lost_units
from benchsuite.pruning.group_scores import group_scores
from benchsuite.pruning.layer_targets import layers_apart, units_that_go
from benchsuite.pruning.native import merge_units, positions_to_remove
from benchsuite.pruning.selection import UnitSelection, select_units, selection_of
from benchsuite.pruning.settings import WEIGHT_SCOPES
from benchsuite.pruning.surgery import check_surgery, remove_units
from benchsuite.pruning.threshold import positions_below
from benchsuite.pruning.transposed import with_layers_of_torch
from benchsuite.pruning.widths import select_widths
from benchsuite.store import metric_names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import nn

    from benchsuite.contracts.layers import CoupledGroup, Layer
    from benchsuite.pruning.layer_targets import TargetedLayers


class SmallerNetwork(PrunedNetwork):
    """A network whose units are removed, not only masked. See `PrunedNetwork`.

    Raises:
        Unsupported: the scope is for single weights, or no unit can be removed.
    """

    def _begin(self) -> None:
        if self._settings.scope in WEIGHT_SCOPES:
            raise Unsupported(
                f'the scope {self._settings.scope} is one of single weights: it needs granularity = "weight"'
            )
        self._graph.require_units()
        self._dense_graph = self._graph
        self._graph = self._graph.of(self.model)

    @property
    def layers(self) -> Sequence[Layer]:
        """The layers to score now."""
        return self._graph.layers

    def cut(self, scores: Mapping[str, Tensor], sparsity: float, vary: Vary) -> None:
        """Remove units up to a sparsity, check the surgery, and check the predicted cost.

        Raises:
            Collapsed: a layer would lose all its units.
            Unsupported: the sparsity cannot be reached, or some group has no scores.
            BenchsuiteError: the surgery's check or the cost model failed.
        """
        current = self._in_dense(vary(group_scores(self._graph, scores, self._settings)))
        target, seed = self._target(sparsity), self._tie_seed()
        self._remove(select_units(self._dense_graph, current, self._settings, target, seed))

    def cut_to_widths(self, scores: Mapping[str, Tensor], widths: Mapping[str, int], vary: Vary) -> None:
        """Remove units so that each named layer keeps so many, with the checks of `cut`.

        Raises:
            UsageError: the network has no such layer, or too few units in it.
            Unsupported: a layer cannot have the width, or some group has no scores.
            BenchsuiteError: the surgery's check or the cost model failed.
        """
        graph = self._graph
        named = {graph.shared.get(name, name) for name in widths}
        groups = tuple(each for each in graph.groups if named & {member.layer for member in each.members})
        # What stays whole needs no scores.
        some = replace(graph, groups=groups)
        current = self._in_dense(vary(group_scores(some, scores, self._settings)))
        self._remove(select_widths(self._dense_graph, current, self._settings, widths, self._tie_seed()))

    def cut_below(self, scores: Mapping[str, Tensor], threshold: float, vary: Vary) -> None:
        """Remove the positions of groups that score less than a threshold, with the checks of `cut`.

        Raises:
            Collapsed: a layer would keep less than 1% of its units.
            Unsupported: some group has no scores.
            BenchsuiteError: the surgery's check or the cost model failed.
        """
        current = self._in_dense(vary(group_scores(self._graph, scores, self._settings)))
        below = positions_below(self._dense_graph, current, threshold)
        self._remove(selection_of(self._dense_graph, below))

    def _remove(self, selection: UnitSelection) -> None:
        """Remove what is selected and is still there."""
        graph = self._graph
        new = {name: self._in_current(name, positions) for name, positions in selection.removed.items()}
        new = {name: positions for name, positions in new.items() if positions}
        smaller = remove_units(self.model, graph, new)
        check = check_surgery(self.model, smaller, graph, new, self._probe)
        self._become(smaller, selection, check.max_difference)
        self._graph = graph.without(new, smaller)

    def cut_layers(self, targets: Sequence[TargetedLayers]) -> None:
        """Remove units of some layers, as the target of each says, with the checks of `cut`.

        Raises:
            UsageError: the network has no such layer, or two targets name one.
            Collapsed: a layer would lose all its units.
            Unsupported: a target cannot be reached, or some group has no scores.
            BenchsuiteError: the surgery's check or the cost model failed.
        """
        graph, seed = self._dense_graph, self._tie_seed()
        removed: dict[str, tuple[int, ...]] = {}
        merges: dict[str, Sequence[Sequence[int]]] = {}
        ties = 0
        parts = layers_apart(graph, [each.patterns for each in targets])
        for each, part in zip(targets, parts, strict=True):
            gone, tied = units_that_go(part, each, seed)
            removed, ties = {**removed, **gone}, ties + tied
            if each.target == "native":
                names = {layer.name for layer in part.layers}
                merges |= {name: pairs for name, pairs in each.merges.items() if name in names}
        self._remove_at_once(removed, merges, ties)

    def cut_by_rule(self, keep: Mapping[str, Tensor], merges: Merges) -> None:
        """Remove each position of a group that the rule keeps in no layer of the group.

        Raises:
            Collapsed: a layer would keep less than 1% of its units.
            BenchsuiteError: the surgery's check failed.
        """
        removed = {group.name: positions_to_remove(group, keep) for group in self._dense_graph.groups}
        refuse_lost_units(self._dense_graph.groups, removed)
        self._remove_at_once(removed, merges)

    def _remove_at_once(self, removed: Mapping[str, tuple[int, ...]], merges: Merges, ties: int = 0) -> None:
        """Remove positions of the dense network, after merging the units that a rule merges."""
        graph = self._dense_graph
        merged = merge_units(self.model, graph, merges, removed) if merges else self.model
        selection = selection_of(graph, {name: where for name, where in removed.items() if where}, ties)
        smaller = remove_units(merged, graph, selection.removed)
        check = check_surgery(merged, smaller, graph, selection.removed, self._probe)
        self._become(smaller, selection, check.max_difference)
        self._graph = graph.without(selection.removed, smaller)

    def _become(self, smaller: nn.Module, selection: UnitSelection, difference: float) -> None:
        cost = measure_cost(with_layers_of_torch(smaller), self._probe[:1])
        if (cost.params, cost.macs) != (selection.params, selection.macs):
            raise BenchsuiteError(
                f"the pruned network has {cost.params} parameters and {cost.macs} MACs, but the selection "
                f"counted on {selection.params} and {selection.macs}: its cost model is wrong here"
            )
        self.model, self.removed, self.cost = smaller, selection.removed, cost
        self.metrics = {
            metric_names.SPARSITY_UNITS: selection.units_removed,
            metric_names.SPARSITY_PARAMS: 1 - cost.params / self._dense_cost.params,
            metric_names.SPARSITY_MACS: 1 - cost.macs / self._dense_cost.macs,
            metric_names.SELECTION_TIES: selection.ties,
            metric_names.SURGERY_DIFFERENCE: difference,
        }

    def take_weights(self, dense: nn.Module) -> None:
        """Replace the weights by those of another dense network, pruned in the same places."""
        self.model = remove_units(dense, self._dense_graph, self.removed)
        self._graph = self._graph.of(self.model)

    @property
    def keep(self) -> Mapping[str, Tensor]:
        """See `PrunedNetwork.keep`."""
        return {}

    def model_of(self, weights: Mapping[str, Tensor], removed: Mapping[str, tuple[int, ...]]) -> nn.Module:
        """See `PrunedNetwork.model_of`."""
        model = remove_units(self._dense, self._dense_graph, removed)
        model.load_state_dict(dict(weights))
        return model

    def _continue_with(self, keep: Mapping[str, Tensor]) -> None:
        if keep:
            raise KeyError(f"weights of {', '.join(keep)} are masked, where units are removed")
        self._graph = self._dense_graph.without(self.removed, self.model)

    def _kept(self, group: CoupledGroup) -> list[int]:
        gone = set(self.removed.get(group.name, ()))
        return [position for position in range(group.size) if position not in gone]

    def _in_dense(self, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Group scores with an entry for every position of the dense network."""
        found = {}
        for group in self._dense_graph.groups:
            kept = self._kept(group)
            full = torch.full((group.size,), GONE, dtype=torch.float64)
            # A group that has only one position left is no longer a group: the position must be kept.
            full[kept] = scores.get(group.name, torch.full((len(kept),), -GONE)).double()
            found[group.name] = full
        return found

    def _in_current(self, name: str, positions: Sequence[int]) -> tuple[int, ...]:
        """Of the dense network's positions, those still there, as positions of the current network."""
        group = next(g for g in self._dense_graph.groups if g.name == name)
        place = {position: number for number, position in enumerate(self._kept(group))}
        return tuple(place[position] for position in positions if position in place)
