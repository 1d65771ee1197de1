"""What every network while it is pruned can do and tells, in one cut or in several."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from benchsuite.store import metric_names

if TYPE_CHECKING:
    from torch import nn

    from benchsuite.contracts.layers import CoupledGroup, Layer
    from benchsuite.metrics.cost import Cost
    from benchsuite.pruning.graph import PruningGraph
    from benchsuite.pruning.settings import PruningSettings

Vary = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
"""What a control makes of scores: those of a layer or group as one dimension, in any order."""

Merges = Mapping[str, Sequence[Sequence[int]]]
"""By layer, pairs (removed unit, kept unit) whose outgoing weights are added up before the cut."""

GONE = float("-inf")
"""The score of what earlier cuts removed: it goes first, so that every cut keeps those before it."""


class PrunedNetwork(ABC):
    """A network while it is pruned. Sparsities are always fractions of the dense network's budget.

    Args:
        dense: the dense network; left as it is.
        graph: its pruning graph.
        dense_cost: its cost.
        settings: how units or weights are chosen.
        seed: of the order among equal scores.
        probe: inputs to count the cost with, and to check every surgery.

    Attributes:
        model: the network as it is now; recovery trains it in place.
        after_step: what training has to call after every step, if anything.
        removed: by coupled group of the dense network, the removed positions; empty for masks.
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
        probe: Tensor,
    ) -> None:
        self.model = dense
        self.after_step: Callable[[], None] | None = None
        self.removed: dict[str, tuple[int, ...]] = {}
        self.metrics: dict[str, float] = {}
        self.cost = dense_cost
        self._graph, self._dense_cost = graph, dense_cost
        self._settings, self._seed, self._probe = settings, seed, probe
        self._begin()

    @abstractmethod
    def _begin(self) -> None:
        """Make ready for the first cut; raises `Unsupported` where the settings cannot serve this kind."""

    @property
    @abstractmethod
    def layers(self) -> Sequence[Layer]:
        """What a scorer shall score now."""

    @property
    def groups(self) -> Sequence[CoupledGroup]:
        """How those layers hang together; of no matter for single weights."""
        return self._graph.groups

    @abstractmethod
    def cut(self, scores: Mapping[str, Tensor], sparsity: float, vary: Vary) -> None:
        """Prune up to a sparsity by the scores of the network as it is now."""

    @abstractmethod
    def cut_by_rule(self, keep: Mapping[str, Tensor], merges: Merges) -> None:
        """Prune what the criterion's own rule does not keep, after adding up what the rule merges."""

    @abstractmethod
    def take_weights(self, dense: nn.Module) -> None:
        """Go on with the weights of another dense network, pruned in the same places."""

    def _target(self, sparsity: float) -> float:
        """The target of a cut: where whole units have overshot this round's already, they stay gone."""
        return max(sparsity, self.metrics.get(metric_names.sparsity(self._settings.budget), 0.0))
