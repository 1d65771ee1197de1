"""The common interface of networks that are being pruned, in one cut or in several."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from benchsuite.store import metric_names
from benchsuite.store.keys import derived_seed

if TYPE_CHECKING:
    from torch import nn

    from benchsuite.contracts.inputs import Inputs
    from benchsuite.contracts.layers import CoupledGroup, Layer
    from benchsuite.metrics.cost import Cost
    from benchsuite.pruning.graph import PruningGraph
    from benchsuite.pruning.layer_targets import TargetedLayers
    from benchsuite.pruning.settings import PruningSettings

Vary = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
"""How a control changes the scores of a layer or group, given as one dimension in any order."""

Merges = Mapping[str, Sequence[Sequence[int]]]
"""By layer, pairs (removed unit, kept unit): the first's outgoing weights are added to the second's."""

GONE = float("-inf")
"""The score of what earlier cuts removed: it is the lowest, so that every cut includes the earlier ones."""


@dataclass(frozen=True, eq=False)
class NetworkState:
    """Where a network that is being pruned stands after a cut, as data.

    Attributes:
        weights: its parameters and buffers by name.
        keep: by layer, True where a weight is kept; empty where units are removed.
        removed: see `PrunedNetwork`.
        metrics: likewise.
        cost: likewise.
        cuts: how many cuts it has had.
    """

    weights: Mapping[str, Tensor]
    keep: Mapping[str, Tensor]
    removed: Mapping[str, tuple[int, ...]]
    metrics: Mapping[str, float]
    cost: Cost
    cuts: int


class PrunedNetwork(ABC):
    """A network that is being pruned; sparsities are always fractions of the dense network's budget.

    Args:
        dense: the dense network; it is not changed.
        graph: its pruning graph.
        dense_cost: its cost.
        settings: how units or weights are chosen.
        seed: decides the order of equal scores.
        probe: inputs used to count the cost and to check every surgery.

    Attributes:
        model: the network as it is now; recovery trains it in place.
        after_step: a function that training has to call after every step, if any.
        removed: by coupled group of the dense network, the removed positions; empty for masks.
        masked: names of the layers with weights held at zero.
        metrics: of the last cut: achieved sparsities, ties, surgery.
        cost: of the network as it is now.
    """

    def __init__(
        self,
        dense: nn.Module,
        graph: PruningGraph,
        dense_cost: Cost,
        settings: PruningSettings,
        seed: int,
        probe: Inputs,
    ) -> None:
        self.model = dense
        self.after_step: Callable[[], None] | None = None
        self.removed: dict[str, tuple[int, ...]] = {}
        self.masked: tuple[str, ...] = ()
        self.metrics: dict[str, float] = {}
        self.cost = dense_cost
        self._graph, self._dense_cost = graph, dense_cost
        self._settings, self._seed, self._probe = settings, seed, probe
        self._dense, self._cuts = dense, 0
        self._begin()

    @abstractmethod
    def _begin(self) -> None:
        """Prepare the first cut; raises `Unsupported` if the settings do not fit this kind of pruning."""

    @property
    @abstractmethod
    def layers(self) -> Sequence[Layer]:
        """The layers to score now."""

    @property
    def groups(self) -> Sequence[CoupledGroup]:
        """How those layers are coupled; not used for single weights."""
        return self._graph.groups

    @abstractmethod
    def cut(self, scores: Mapping[str, Tensor], sparsity: float, vary: Vary) -> None:
        """Prune to a sparsity by the scores of the current network."""

    @abstractmethod
    def cut_to_widths(self, scores: Mapping[str, Tensor], widths: Mapping[str, int], vary: Vary) -> None:
        """Prune, in one cut, so that each named layer keeps so many units; other layers stay whole."""

    @abstractmethod
    def cut_below(self, scores: Mapping[str, Tensor], threshold: float, vary: Vary) -> None:
        """Prune, in one cut, what scores less than a threshold."""

    @abstractmethod
    def cut_layers(self, targets: Sequence[TargetedLayers]) -> None:
        """Prune, in one cut, some layers, each as its target says; all other layers stay whole."""

    @abstractmethod
    def cut_by_rule(self, keep: Mapping[str, Tensor], merges: Merges) -> None:
        """Prune what the criterion's own rule does not keep, after merging the units that the rule merges."""

    @abstractmethod
    def take_weights(self, dense: nn.Module) -> None:
        """Replace the weights by those of another dense network, pruned in the same places."""

    def set_to(self, state: NetworkState) -> None:
        """Go to where this or an equal network stood; what follows is what followed there.

        Raises:
            RuntimeError, KeyError, IndexError: the state is not that of such a network.
        """
        self.model = self.model_of(state.weights, state.removed)
        self.removed, self.metrics, self.cost = dict(state.removed), dict(state.metrics), state.cost
        self._cuts = state.cuts
        self._continue_with(state.keep)

    @property
    def cuts(self) -> int:
        """How many cuts it has had."""
        return self._cuts

    @abstractmethod
    def model_of(self, weights: Mapping[str, Tensor], removed: Mapping[str, tuple[int, ...]]) -> nn.Module:
        """A network with these weights, made from the dense one without these positions.

        Raises:
            RuntimeError, KeyError, IndexError: the weights or positions are not those of such a network.
        """

    @property
    @abstractmethod
    def keep(self) -> Mapping[str, Tensor]:
        """By layer, True where a weight is kept; empty where units are removed."""

    @abstractmethod
    def _continue_with(self, keep: Mapping[str, Tensor]) -> None:
        """Prepare the next cut of the network as it is now."""

    def share_of_what_is_left(self, sparsity: float) -> float:
        """What share of the budget of the network as it is a cut to a sparsity of the dense one removes."""
        gone = self.metrics.get(metric_names.sparsity(self._settings.budget), 0.0)
        return max(0.0, (sparsity - gone) / (1 - gone))

    def _tie_seed(self) -> int:
        """The seed of the order among equal scores, another one for each cut."""
        self._cuts += 1
        return self._seed if self._cuts == 1 else derived_seed("cut", self._seed, self._cuts)

    def _target(self, sparsity: float) -> float:
        """The target of a cut; if earlier rounds have already removed more, that stays removed."""
        return max(sparsity, self.metrics.get(metric_names.sparsity(self._settings.budget), 0.0))
