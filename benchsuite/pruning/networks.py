"""A network while it is pruned, in one cut or in several: really smaller, or masked."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from benchsuite.errors import BenchsuiteError, Collapsed, Unsupported
from benchsuite.metrics.cost import Cost, measure_cost
from benchsuite.pruning.masks import WeightMasks, WeightSelection, select_weights
from benchsuite.pruning.native import merge_units, positions_to_remove
from benchsuite.pruning.selection import (
    UnitSelection,
    group_scores,
    normalised,
    select_units,
    selection_of,
)
from benchsuite.pruning.surgery import check_surgery, remove_units
from benchsuite.pruning.two_four import select_two_four

if TYPE_CHECKING:
    from torch import nn

    from benchsuite.layers import CoupledGroup, Layer
    from benchsuite.pruning.graph import PruningGraph
    from benchsuite.pruning.settings import PruningSettings

Vary = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
"""What a control makes of scores: those of a layer or group as one dimension, in any order."""

Merges = Mapping[str, Sequence[Sequence[int]]]
"""By layer, pairs (removed unit, kept unit) whose outgoing weights are added up before the cut."""

_HALF = 0.5
"""The sparsity of the scope 2:4."""

_GONE = float("-inf")
"""The score of what earlier cuts removed: it goes first, so that every cut keeps those before it."""


class PrunedNetwork(Protocol):
    """A network while it is pruned. Sparsities are always fractions of the dense network's budget.

    Attributes:
        model: the network as it is now; recovery trains it in place.
        after_step: what training has to call after every step, if anything.
        removed: by coupled group of the dense network, the removed positions; empty for masks.
        metrics: of the last cut: achieved sparsities, ties, surgery.
        cost: of the network as it is now.
    """

    model: nn.Module
    after_step: Callable[[], None] | None
    removed: dict[str, tuple[int, ...]]
    metrics: dict[str, float]
    cost: Cost

    @property
    def layers(self) -> Sequence[Layer]:
        """What a scorer shall score now."""
        ...

    @property
    def groups(self) -> Sequence[CoupledGroup]:
        """How those layers hang together."""
        ...

    def cut(self, scores: Mapping[str, Tensor], sparsity: float, vary: Vary) -> None:
        """Prune up to a sparsity by the scores of the network as it is now."""
        ...

    def cut_by_rule(self, keep: Mapping[str, Tensor], merges: Merges) -> None:
        """Prune what the criterion's own rule does not keep, after adding up what the rule merges."""
        ...

    def take_weights(self, dense: nn.Module) -> None:
        """Go on with the weights of another dense network, pruned in the same places."""
        ...


class SmallerNetwork:
    """A network whose units are really removed. See `PrunedNetwork`.

    Args:
        dense: the dense network; left as it is.
        graph: its pruning graph.
        dense_cost: its cost.
        settings: how units are chosen.
        seed: of the order among equal scores.
        probe: inputs for the check of every surgery.

    Raises:
        Unsupported: the scope is one of single weights.
    """

    def __init__(
        self,
        dense: nn.Module,
        graph: PruningGraph,
        dense_cost: Cost,
        settings: PruningSettings,
        seed: int,
        probe: Tensor,
    ) -> None:
        if settings.scope == "2:4":
            raise Unsupported('the scope 2:4 is a pattern of single weights: it needs granularity = "weight"')
        self._dense_graph, self._dense_cost = graph, dense_cost
        self._settings, self._seed, self._probe = settings, seed, probe
        self.model = dense
        self.after_step: Callable[[], None] | None = None
        self.removed: dict[str, tuple[int, ...]] = {}
        self.metrics: dict[str, float] = {}
        self.cost = dense_cost
        self._graph = graph.of(dense)

    @property
    def layers(self) -> Sequence[Layer]:
        """What a scorer shall score now."""
        return self._graph.layers

    @property
    def groups(self) -> Sequence[CoupledGroup]:
        """How those layers hang together."""
        return self._graph.groups

    def cut(self, scores: Mapping[str, Tensor], sparsity: float, vary: Vary) -> None:
        """Remove units up to a sparsity, check the surgery, and check the predicted cost.

        Raises:
            Collapsed: a layer would lose all its units.
            Unsupported: the sparsity cannot be reached, or some group has no scores.
            BenchsuiteError: the surgery's check or the cost model failed.
        """
        graph = self._graph
        current = vary(group_scores(graph, scores, self._settings))
        selection = select_units(
            self._dense_graph,
            self._in_dense(current),
            self._settings,
            _never_back(sparsity, self.metrics, self._settings),
            self._seed,
        )
        new = {name: self._in_current(name, positions) for name, positions in selection.removed.items()}
        new = {name: positions for name, positions in new.items() if positions}
        smaller = remove_units(self.model, graph, new)
        check = check_surgery(self.model, smaller, graph, new, self._probe)
        self._become(smaller, selection, check.max_difference)
        self._graph = graph.without(new, smaller)

    def cut_by_rule(self, keep: Mapping[str, Tensor], merges: Merges) -> None:
        """Remove each position of a group that the rule keeps in none of its layers.

        Raises:
            Collapsed: a layer would lose all its units.
            BenchsuiteError: the surgery's check failed.
        """
        graph = self._dense_graph
        removed = {group.name: positions_to_remove(group, keep) for group in graph.groups}
        merged = merge_units(self.model, graph, merges, removed) if merges else self.model
        selection = selection_of(graph, {name: where for name, where in removed.items() if where})
        smaller = remove_units(merged, graph, selection.removed)
        check = check_surgery(merged, smaller, graph, selection.removed, self._probe)
        self._become(smaller, selection, check.max_difference)
        self._graph = graph.without(selection.removed, smaller)

    def _become(self, smaller: nn.Module, selection: UnitSelection, difference: float) -> None:
        cost = measure_cost(smaller, self._probe[:1])
        if (cost.params, cost.macs) != (selection.params, selection.macs):
            raise BenchsuiteError(
                f"the pruned network has {cost.params} parameters and {cost.macs} MACs, but the selection "
                f"counted on {selection.params} and {selection.macs}: its cost model is wrong here"
            )
        self.model, self.removed, self.cost = smaller, selection.removed, cost
        self.metrics = {
            "sparsity/units": selection.units_removed,
            "sparsity/params": 1 - cost.params / self._dense_cost.params,
            "sparsity/macs": 1 - cost.macs / self._dense_cost.macs,
            "selection/ties": selection.ties,
            "surgery/max_difference": difference,
        }

    def take_weights(self, dense: nn.Module) -> None:
        """Go on with the weights of another dense network, pruned in the same places."""
        self.model = remove_units(dense, self._dense_graph, self.removed)
        self._graph = self._graph.of(self.model)

    def _kept(self, group: CoupledGroup) -> list[int]:
        gone = set(self.removed.get(group.name, ()))
        return [position for position in range(group.size) if position not in gone]

    def _in_dense(self, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Group scores with a place for every position of the dense network."""
        found = {}
        for group in self._dense_graph.groups:
            kept = self._kept(group)
            full = torch.full((group.size,), _GONE, dtype=torch.float64)
            # A group that is down to its last position is no group any more: it has to stay.
            full[kept] = scores.get(group.name, torch.full((len(kept),), -_GONE)).double()
            found[group.name] = full
        return found

    def _in_current(self, name: str, positions: Sequence[int]) -> tuple[int, ...]:
        """Of the dense network's positions, those still there, as positions of the current network."""
        group = next(g for g in self._dense_graph.groups if g.name == name)
        place = {position: number for number, position in enumerate(self._kept(group))}
        return tuple(place[position] for position in positions if position in place)


class MaskedNetwork:
    """A network some of whose weights are held at zero. See `PrunedNetwork`.

    Args:
        dense: the dense network; left as it is.
        graph: its pruning graph.
        dense_cost: its cost.
        settings: how weights are chosen.
        seed: of the order among equal scores.
        probe: inputs to count the cost with.
    """

    def __init__(
        self,
        dense: nn.Module,
        graph: PruningGraph,
        dense_cost: Cost,
        settings: PruningSettings,
        seed: int,
        probe: Tensor,
    ) -> None:
        self._graph, self._dense_cost = graph, dense_cost
        self._settings, self._seed, self._probe = settings, seed, probe
        self.model = copy.deepcopy(dense)
        self.after_step: Callable[[], None] | None = None
        self.removed: dict[str, tuple[int, ...]] = {}
        self.metrics: dict[str, float] = {}
        self.cost = dense_cost
        self._masks = WeightMasks({})

    @property
    def layers(self) -> Sequence[Layer]:
        """What a scorer shall score now."""
        return self._graph.of(self.model).weight_layers

    @property
    def groups(self) -> Sequence[CoupledGroup]:
        """How units hang together; of no matter for single weights."""
        return self._graph.groups

    def cut(self, scores: Mapping[str, Tensor], sparsity: float, vary: Vary) -> None:
        """Mask weights up to a sparsity.

        Raises:
            Collapsed: a layer would lose all its weights.
            Unsupported: the sparsity cannot be reached, or the budget is none of single weights.
        """
        how = self._settings.normalise
        kept = {name: normalised(score[self._kept(name, score)], how) for name, score in scores.items()}
        varied = vary(kept)
        full = {}
        for name, score in scores.items():
            full[name] = torch.full(score.shape, _GONE, dtype=torch.float64)
            full[name][self._kept(name, score)] = varied[name].cpu()
        # Normalised above, over the weights that are left.
        settings = replace(self._settings, normalise="none")
        selection = self._select(full, settings, sparsity)
        # A layer that this round does not score keeps the masks that it has.
        self._mask({**self._masks.keep, **selection.keep}, selection.ties)

    def _select(
        self, scores: Mapping[str, Tensor], settings: PruningSettings, sparsity: float
    ) -> WeightSelection:
        if settings.scope == "2:4":
            if sparsity != _HALF:
                raise Unsupported(
                    f"the scope 2:4 removes half of the weights at once: the sparsity of a cut is 0.5, "
                    f"not {sparsity:g}"
                )
            return select_two_four(self._graph, scores, self._seed)
        target = _never_back(sparsity, self.metrics, settings)
        return select_weights(self._graph, scores, settings, target, self._seed)

    def cut_by_rule(self, keep: Mapping[str, Tensor], merges: Merges) -> None:
        """Mask what the rule does not keep.

        Raises:
            Collapsed: a layer would lose all its weights.
            Unsupported: the rule merges units, or the scope is a rule of its own.
        """
        if self._settings.scope == "2:4":
            raise Unsupported("the scope 2:4 decides itself how much goes: its sparsity is 0.5, not native")
        if any(merges.values()):
            raise Unsupported("units can be merged only where units are removed")
        empty = [name for name, mask in keep.items() if not mask.any()]
        if empty:
            raise Collapsed(f"the rule keeps no weight of {', '.join(empty)}")
        self._mask(dict(keep), 0)

    def _mask(self, keep: dict[str, Tensor], ties: int) -> None:
        self._masks = WeightMasks(keep)
        self.after_step = self._masks.bind(self.model)
        self.cost = measure_cost(self.model, self._probe[:1])
        gone = {name: int((~mask).sum()) for name, mask in keep.items()}
        macs = sum(count * self._graph.weight_macs[name] for name, count in gone.items())
        self.metrics = {
            "sparsity/units": self._silent_units(),
            "sparsity/params": sum(gone.values()) / self._dense_cost.params,
            "sparsity/macs": macs / self._dense_cost.macs,
            "selection/ties": ties,
        }

    def take_weights(self, dense: nn.Module) -> None:
        """Go on with the weights of another dense network, pruned in the same places."""
        self.model = copy.deepcopy(dense)
        self.after_step = self._masks.bind(self.model)

    def _kept(self, name: str, score: Tensor) -> Tensor:
        return self._masks.keep.get(name, torch.ones_like(score, dtype=torch.bool))

    def _silent_units(self) -> float:
        """Share of the prunable units that have no weight left."""
        silent = sum(
            int((~self._masks.keep[layer.name].flatten(1).any(1)).sum())
            for layer in self._graph.layers
            if layer.name in self._masks.keep
        )
        return silent / self._graph.units


def _never_back(sparsity: float, achieved: Mapping[str, float], settings: PruningSettings) -> float:
    """The target of a cut: where whole units have overshot this round's already, what is gone stays gone."""
    return max(sparsity, achieved.get(f"sparsity/{settings.budget}", 0.0))
