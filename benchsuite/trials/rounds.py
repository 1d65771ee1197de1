"""The rounds of a schedule that cuts and recovers several times."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor

from benchsuite.metrics.accuracy import evaluate
from benchsuite.pruning.copying import copy_of
from benchsuite.pruning.rounds import rounds_of
from benchsuite.training import TrainingLog
from benchsuite.trials.facts import CUT, RECOVERED, RecoveryFacts, RoundFacts
from benchsuite.trials.recovery import recover
from benchsuite.trials.round_scores import score_round
from benchsuite.trials.shared_rounds import SharedRound

if TYPE_CHECKING:
    import torch
    from torch import nn

    from benchsuite.metrics.cost import Cost
    from benchsuite.plan.trial import Trial
    from benchsuite.pruning.networks import PrunedNetwork
    from benchsuite.trials.scores import ScoredModel
    from benchsuite.trials.worker_context import WorkerContext

Varied = Callable[[int, Mapping[str, Tensor]], dict[str, Tensor]]
"""How a control changes the scores of a cut, given how many cuts there were before."""


@dataclass(frozen=True, eq=False)
class Round:
    """One round: a cut and what follows it.

    Attributes:
        number: counted from 1.
        before: gives the network right after the cut, on the worker's device.
        after: gives the network after the recovery, likewise.
        removed: by coupled group of the dense network, the removed positions; empty for masks.
        metrics: of the cut: achieved sparsities, ties, surgery.
        cost: of the network after the cut.
        recovery: what the training did.
        validation_top1: accuracy on the validation split; None where it is empty.
        cut_seconds: duration of scoring and cut.
        seconds: duration of all of it.
        shared: its stage, where trials with other sparsities may share it.
        is_reused: whether it was there already, by another trial or an earlier attempt.
    """

    number: int
    before: Callable[[], nn.Module]
    after: Callable[[], nn.Module]
    removed: Mapping[str, tuple[int, ...]]
    metrics: Mapping[str, float]
    cost: Cost
    recovery: TrainingLog
    validation_top1: float | None
    cut_seconds: float
    seconds: float
    shared: SharedRound | None = None
    is_reused: bool = False


def run_rounds(
    worker: WorkerContext, trial: Trial, scored: ScoredModel, network: PrunedNetwork, vary: Varied
) -> list[Round]:
    """Cut and recover, round by round; the network is then that after the last recovery.

    Rounds that another trial has made are taken from their stages.

    Args:
        worker: where to work.
        trial: what to do; its schedule has rounds.
        scored: the dense model with the scores of the first cut.
        network: the dense network, to be pruned.
        vary: the trial's control.
    """
    assert not isinstance(trial.sparsity, str)
    course = _Course(worker, trial, scored, network, vary, rounds_of(trial.schedule, trial.sparsity))
    for number in range(1, len(course.targets) + 1):
        if number <= len(trial.rounds):
            course.share(number)
        else:
            course.make(number)
    course.catch_up()
    return course.done


@dataclass(eq=False)
class _Course:
    """A trial between its rounds.

    The network stays behind where rounds come from their stages: it is set to one only to go on from there.
    """

    worker: WorkerContext
    trial: Trial
    scored: ScoredModel
    network: PrunedNetwork
    vary: Varied
    targets: list[float]
    done: list[Round] = field(default_factory=list)

    def catch_up(self) -> None:
        """Set the network to where the last round left it."""
        if self.network.cuts < len(self.done):
            shared = self.done[-1].shared
            assert shared is not None
            shared.set(self.network)

    def make(self, number: int) -> None:
        """Do the next round, and keep its networks in the host's memory."""
        networks: dict[str, nn.Module] = {}

        def keep(name: str, model: nn.Module) -> None:
            networks[name] = copy_of(model).cpu()

        facts, device = self._do(number, keep), self.worker.device
        before = partial(_on_device, networks[CUT], device)
        self._add(number, facts, before, partial(_on_device, networks[RECOVERED], device))

    def share(self, number: int) -> None:
        """Take the next round from its stage, where it is made if no other trial has made it."""
        earlier = self.done[-1].shared if self.done else None
        shared = SharedRound(self.worker, self.trial, self.scored, earlier)
        made: list[RoundFacts] = []

        def make() -> RoundFacts:
            made.append(self._do(number, shared.keep))
            shared.keep_masks(self.network.keep)
            return made[0]

        facts = shared.get(make)
        before = partial(shared.model, CUT, self.network)
        after = partial(shared.model, RECOVERED, self.network)
        self._add(number, facts, before, after, shared, is_reused=not made)

    def _do(self, number: int, keep: Callable[[str, nn.Module], None]) -> RoundFacts:
        """Cut and recover; `keep` is given the network after each."""
        trial, network, dense = self.trial, self.network, self.scored.dense
        self.catch_up()
        started = time.perf_counter()
        target, scores, cuts = self.targets[number - 1], self.scored.scores, number - 1
        if cuts > 0:
            share = None if trial.score.target is None else network.share_of_what_is_left(target)
            scores = score_round(self.worker, trial, dense.data, network, cuts, share)
        network.cut(scores, target, partial(self.vary, cuts))
        cut_seconds = time.perf_counter() - started
        keep(CUT, network.model)
        before, last = [each.recovery for each in self.done], number == len(self.targets)
        log = recover(self.worker, trial, dense, network, before=before, last=last)
        keep(RECOVERED, network.model)
        top1, validation = None, dense.data.validation
        if len(validation):  # the test split is not for watching
            which = "the network after a round"
            top1 = evaluate(network.model, validation, dense.data.classes, network=which).top1
        return RoundFacts(
            cuts=network.cuts,
            removed=dict(network.removed),
            metrics=network.metrics,
            cost=network.cost,
            recovery=RecoveryFacts(**{name: getattr(log, name) for name in RecoveryFacts.model_fields}),
            validation_top1=top1,
            cut_seconds=cut_seconds,
            seconds=time.perf_counter() - started,
        )

    def _add(
        self,
        number: int,
        facts: RoundFacts,
        before: Callable[[], nn.Module],
        after: Callable[[], nn.Module],
        shared: SharedRound | None = None,
        *,
        is_reused: bool = False,
    ) -> None:
        self.done.append(
            Round(
                number=number,
                before=before,
                after=after,
                removed=facts.removed,
                metrics=facts.metrics,
                cost=facts.cost,
                recovery=TrainingLog(**facts.recovery.model_dump()),
                validation_top1=facts.validation_top1,
                cut_seconds=facts.cut_seconds,
                seconds=facts.seconds,
                shared=shared,
                is_reused=is_reused,
            )
        )


def _on_device(kept: nn.Module, device: torch.device) -> nn.Module:
    return copy_of(kept).to(device)
