"""A network that is pruned by holding weights at zero."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from benchsuite.errors import Unsupported
from benchsuite.metrics.cost import measure_cost
from benchsuite.pruning.base import GONE, Merges, PrunedNetwork, Vary
from benchsuite.pruning.collapse import refuse_lost_weights
from benchsuite.pruning.copying import copy_of
from benchsuite.pruning.group_scores import normalised
from benchsuite.pruning.layer_targets import layers_apart, weights_that_stay
from benchsuite.pruning.masks import WeightMasks, WeightSelection, select_weights
from benchsuite.pruning.threshold import weights_from
from benchsuite.pruning.transposed import with_layers_of_torch
from benchsuite.pruning.two_four import select_two_four
from benchsuite.store import metric_names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchsuite.contracts.layers import Layer
    from benchsuite.pruning.layer_targets import TargetedLayers
    from benchsuite.pruning.settings import PruningSettings

_HALF = 0.5
"""The sparsity of the scope 2:4."""


class MaskedNetwork(PrunedNetwork):
    """A network some of whose weights are held at zero. See `PrunedNetwork`."""

    def _begin(self) -> None:
        self.model = copy_of(self.model)
        self._masks = WeightMasks({})

    @property
    def layers(self) -> Sequence[Layer]:
        """The layers to score now."""
        return self._graph.of(self.model).weight_layers

    def cut(self, scores: Mapping[str, Tensor], sparsity: float, vary: Vary) -> None:
        """Mask weights up to a sparsity.

        Raises:
            Collapsed: a layer would lose all its weights.
            Unsupported: the sparsity cannot be reached, or the budget does not apply to single weights.
        """
        how = self._settings.normalise
        kept = {name: normalised(score[self._kept(name, score)], how) for name, score in scores.items()}
        varied = vary(kept)
        full = {}
        for name, score in scores.items():
            full[name] = torch.full(score.shape, GONE, dtype=torch.float64)
            full[name][self._kept(name, score)] = varied[name].cpu()
        # The scores were normalised above, over the weights that are left.
        settings = replace(self._settings, normalise="none")
        selection = self._select(full, settings, sparsity)
        # A layer without scores in this round keeps its masks.
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
            return select_two_four(self._graph, scores, self._tie_seed())
        return select_weights(self._graph, scores, settings, self._target(sparsity), self._tie_seed())

    def cut_to_widths(self, *_: object) -> None:
        """Raise `Unsupported`: widths are numbers of units."""
        raise Unsupported('widths are numbers of units: they need granularity = "unit"')

    def cut_below(self, scores: Mapping[str, Tensor], threshold: float, vary: Vary) -> None:
        """Mask the weights that score less than a threshold.

        Raises:
            Collapsed: a layer would keep less than 1% of its weights.
            Unsupported: the scope already decides how many weights to remove.
        """
        if self._settings.scope == "2:4":
            raise Unsupported("the scope 2:4 decides itself how much goes: its sparsity is 0.5, no threshold")
        self._mask(weights_from(vary(scores), threshold), 0)

    def cut_layers(self, targets: Sequence[TargetedLayers]) -> None:
        """Mask weights of some layers, as the target of each says.

        Raises:
            UsageError: the network has no such layer, or two targets name one.
            Collapsed: a layer would lose all its weights.
            Unsupported: a target cannot be reached.
        """
        keep: dict[str, Tensor] = {}
        ties, seed = 0, self._tie_seed()
        parts = layers_apart(self._graph, [each.patterns for each in targets])
        for each, part in zip(targets, parts, strict=True):
            stay, tied = weights_that_stay(part, each, seed)
            keep, ties = {**keep, **stay}, ties + tied
        self._mask(keep, ties)

    def cut_by_rule(self, keep: Mapping[str, Tensor], merges: Merges) -> None:
        """Mask what the rule does not keep.

        Raises:
            Collapsed: a layer would keep less than 1% of its weights.
            Unsupported: the rule merges units, or the scope already decides which weights to remove.
        """
        if self._settings.scope == "2:4":
            raise Unsupported("the scope 2:4 decides itself how much goes: its sparsity is 0.5, not native")
        if any(merges.values()):
            raise Unsupported("units can be merged only where units are removed")
        refuse_lost_weights(keep)
        self._mask(dict(keep), 0)

    def _mask(self, keep: dict[str, Tensor], ties: int) -> None:
        self._continue_with(keep)
        self.cost = measure_cost(with_layers_of_torch(self.model), self._probe[:1])
        self._check_zeros_arrive()
        gone = {name: int((~mask).sum()) for name, mask in keep.items()}
        macs = sum(count * self._graph.weight_macs[name] for name, count in gone.items())
        self.metrics = {
            metric_names.SPARSITY_UNITS: self._silent_units(),
            metric_names.SPARSITY_PARAMS: sum(gone.values()) / self._dense_cost.params,
            metric_names.SPARSITY_MACS: macs / self._dense_cost.macs,
            metric_names.SELECTION_TIES: ties,
        }

    def _check_zeros_arrive(self) -> None:
        """Raise `Unsupported` unless every zero of a masked weight saves the multiplications that it should.

        Where a layer computes its weight anew in its forward pass, as weight standardisation does, what is
        masked is no zero in what multiplies.
        """
        owed = sum(self._owed(name, self.model) for name in self._masks.keep)
        if self.cost.macs - self.cost.nonzero_macs >= owed:
            return
        lost = [name for name in self._masks.keep if not self._arrives(name)]
        raise Unsupported(
            f"zeros in the weight of {', '.join(lost[:3]) or 'a layer'} do not reach what multiplies: the "
            "forward pass makes other weights of it; fold that into the weight, or prune units"
        )

    def _arrives(self, name: str) -> bool:
        """Whether zeros in the weight of one layer alone save what they should."""
        alone = copy.deepcopy(self.model)
        for other in self._masks.keep:
            nn.init.ones_(alone.get_submodule(other).get_parameter("weight"))
        before = measure_cost(alone, self._probe[:1]).nonzero_macs
        WeightMasks({name: self._masks.keep[name]}).apply_(alone)
        return before - measure_cost(alone, self._probe[:1]).nonzero_macs >= self._owed(name, alone)

    def _owed(self, name: str, model: nn.Module) -> int:
        """Multiplications of one sample by the zeros in a layer's weight."""
        weight = model.get_submodule(name).get_parameter("weight")
        return int((weight == 0).sum()) * self._graph.weight_macs[name]

    def take_weights(self, dense: nn.Module) -> None:
        """Replace the weights by those of another dense network, pruned in the same places."""
        self.model = copy_of(dense)
        self.after_step = self._masks.bind(self.model)

    @property
    def keep(self) -> Mapping[str, Tensor]:
        """See `PrunedNetwork.keep`."""
        return dict(self._masks.keep)

    def model_of(self, weights: Mapping[str, Tensor], removed: Mapping[str, tuple[int, ...]]) -> nn.Module:
        """See `PrunedNetwork.model_of`; no position of it is removed."""
        if removed:
            raise KeyError(f"positions of {', '.join(removed)} are removed, where weights are masked")
        model = copy_of(self._dense)
        model.load_state_dict(dict(weights))
        return model

    def _continue_with(self, keep: Mapping[str, Tensor]) -> None:
        self._masks = WeightMasks(keep)
        self.masked = tuple(sorted(name for name, mask in keep.items() if not mask.all()))
        self.after_step = self._masks.bind(self.model)

    def _kept(self, name: str, score: Tensor) -> Tensor:
        return self._masks.keep.get(name, torch.ones_like(score, dtype=torch.bool))

    def _silent_units(self) -> float:
        """Share of the prunable units that have no weight left; 0 where no unit can be removed."""
        silent = sum(
            int((~self._masks.keep[layer.name].flatten(1).any(1)).sum())
            for layer in self._graph.layers
            if layer.name in self._masks.keep
        )
        return silent / max(self._graph.units, 1)
