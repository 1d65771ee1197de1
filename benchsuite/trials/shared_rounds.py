"""A round of a schedule as a stage, which trials with other sparsities share.

The rounds of "rewind" begin alike whatever sparsity the last one ends at, so what one trial has made of the
network is where another goes on. It is kept as tensors and plain data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchsuite.pruning.networks import NetworkState
from benchsuite.store.keys import content_key
from benchsuite.store.stages import Stage, StageDamaged, content_digest, load_tensors, save_tensors
from benchsuite.trials.facts import MASKS, RECOVERED, PointFacts, RoundFacts, round_stage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor, nn

    from benchsuite.plan.trial import Trial
    from benchsuite.pruning.networks import PrunedNetwork
    from benchsuite.trials.scores import ScoredModel
    from benchsuite.trials.worker_context import WorkerContext


class SharedRound:
    """One round in its stage's folder.

    Args:
        worker: where to work.
        trial: one of those that have the round.
        scored: the dense model with the scores of the first cut.
        earlier: the round before, which must be complete; None for the first.
    """

    def __init__(
        self, worker: WorkerContext, trial: Trial, scored: ScoredModel, earlier: SharedRound | None
    ) -> None:
        self._number: int = 1 if earlier is None else earlier._number + 1
        self._worker = worker
        self._folder = worker.folder(trial.rounds[self._number - 1])
        early = "" if trial.early is None else content_digest(worker.folder(trial.early.key))
        made_from = [scored.dense.content, early, scored.content if earlier is None else earlier.content]
        self._stage = round_stage(self._folder, content_key(made_from))
        self._facts: RoundFacts | None = None

    @property
    def content(self) -> str:
        """What identifies its numbers; the round is complete."""
        return content_digest(self._folder) or ""

    @property
    def facts(self) -> RoundFacts:
        """What `get` has returned."""
        assert self._facts is not None
        return self._facts

    def get(self, make: Callable[[], RoundFacts]) -> RoundFacts:
        """The facts of the round, which is made if it is not there or is damaged.

        Args:
            make: makes it; it leaves the weights with `keep`, and the masks with `keep_masks`.
        """
        self._facts = self._stage.get(make, self._worker.tell)
        return self._facts

    def keep(self, name: str, model: nn.Module) -> None:
        """Leave a network's weights: `CUT` right after the cut, `RECOVERED` after the recovery."""
        save_tensors(self._folder / name, model.state_dict())

    def keep_masks(self, masks: Mapping[str, Tensor]) -> None:
        """Leave what masks keep, if there are any."""
        if masks:
            save_tensors(self._folder / MASKS, masks)

    def model(self, name: str, network: PrunedNetwork) -> nn.Module:
        """A network of the round; `network` is one of those that it was made with."""
        try:
            return network.model_of(load_tensors(self._folder / name), self.facts.removed)
        except (KeyError, IndexError, RuntimeError) as error:
            raise self._unfit(error) from error

    def set(self, network: PrunedNetwork) -> None:
        """Set a network to where the round left it, so that the next one can follow."""
        facts, masks = self.facts, self._folder / MASKS
        state = NetworkState(
            weights=load_tensors(self._folder / RECOVERED),
            keep=load_tensors(masks) if masks.exists() else {},
            removed=facts.removed,
            metrics=facts.metrics,
            cost=facts.cost,
            cuts=facts.cuts,
        )
        try:
            network.set_to(state)
        except (KeyError, IndexError, RuntimeError, AttributeError) as error:
            raise self._unfit(error) from error

    def point(self, key: str, measure: Callable[[], PointFacts]) -> PointFacts:
        """What was measured of the network after the round.

        Args:
            key: of what is measured, and how.
            measure: does it, where no trial has done it yet.
        """
        stage = Stage(self._folder / key, PointFacts, [], made_from=self.content)
        return stage.get(measure, self._worker.tell)

    def _unfit(self, error: Exception) -> StageDamaged:
        return StageDamaged(
            f"{self._folder} holds no round of this network ({error}): delete it, and it is made anew"
        )
