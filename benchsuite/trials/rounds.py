"""The rounds of a schedule that cuts and recovers several times."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from benchsuite.metrics.accuracy import evaluate
from benchsuite.pruning.copying import copy_of
from benchsuite.pruning.rounds import rounds_of
from benchsuite.trials.artifacts import RoundOutcome
from benchsuite.trials.dense_training import finite_or_none
from benchsuite.trials.recovery import recover
from benchsuite.trials.round_scores import score_round

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from torch import nn

    from benchsuite.metrics.cost import Cost
    from benchsuite.plan.trial import Trial
    from benchsuite.pruning.networks import PrunedNetwork
    from benchsuite.training import TrainingLog
    from benchsuite.trials.dense_model import DenseModel
    from benchsuite.trials.scores import ScoredModel
    from benchsuite.trials.worker_context import WorkerContext

Varied = Callable[[int, Mapping[str, Tensor]], dict[str, Tensor]]
"""How a control changes the scores of a cut, given how many cuts there were before."""


@dataclass(frozen=True, eq=False)
class Round:
    """One round: a cut and what follows it.

    Attributes:
        number: counted from 1.
        target: the sparsity that it cuts to.
        before: gives the network right after the cut, on the worker's device.
        after: gives the network after the recovery, likewise.
        removed: by coupled group of the dense network, the removed positions; empty for masks.
        metrics: of the cut: achieved sparsities, ties, surgery.
        cost: of the network after the cut.
        recovery: what the training did.
        outcome: what a person sees of it.
        cut_seconds: duration of scoring and cut.
        seconds: duration of all of it.
    """

    number: int
    target: float
    before: Callable[[], nn.Module]
    after: Callable[[], nn.Module]
    removed: Mapping[str, tuple[int, ...]]
    metrics: Mapping[str, float]
    cost: Cost
    recovery: TrainingLog
    outcome: RoundOutcome
    cut_seconds: float
    seconds: float


def run_rounds(
    worker: WorkerContext, trial: Trial, scored: ScoredModel, network: PrunedNetwork, vary: Varied
) -> list[Round]:
    """Cut and recover, round by round; the network is then that after the last recovery.

    Args:
        worker: where to work.
        trial: what to do; its schedule has rounds.
        scored: the dense model with the scores of the first cut.
        network: the dense network, to be pruned.
        vary: the trial's control.
    """
    assert not isinstance(trial.sparsity, str)
    targets = rounds_of(trial.schedule, trial.sparsity)
    done: list[Round] = []
    for number, target in enumerate(targets, start=1):
        last = number == len(targets)
        done.append(_run_round(worker, trial, scored, network, vary, target, done, last=last))
    return done


def _run_round(
    worker: WorkerContext,
    trial: Trial,
    scored: ScoredModel,
    network: PrunedNetwork,
    vary: Varied,
    target: float,
    earlier: Sequence[Round],
    *,
    last: bool,
) -> Round:
    """One round, after these earlier ones."""
    started = time.perf_counter()
    scores, cuts = scored.scores, len(earlier)
    if cuts > 0:
        share = None if trial.score.target is None else network.share_of_what_is_left(target)
        scores = score_round(worker, trial, scored.dense.data, network, cuts, share)
    network.cut(scores, target, lambda each: vary(cuts, each))
    cut_seconds = time.perf_counter() - started
    before = _kept(network.model, worker.device)
    logs = [each.recovery for each in earlier]
    log = recover(worker, trial, scored.dense, network, before=logs, last=last)
    outcome = _outcome(scored.dense, network, log)
    return Round(
        number=cuts + 1,
        target=target,
        before=before,
        after=_kept(network.model, worker.device),
        removed=network.removed,
        metrics=network.metrics,
        cost=network.cost,
        recovery=log,
        outcome=outcome,
        cut_seconds=cut_seconds,
        seconds=time.perf_counter() - started,
    )


def _kept(model: nn.Module, device: torch.device) -> Callable[[], nn.Module]:
    """Keep a network as it is now in the host's memory; what is returned gives it on the device."""
    kept = copy_of(model).cpu()
    return lambda: copy_of(kept).to(device)


def _outcome(dense: DenseModel, network: PrunedNetwork, recovery: TrainingLog) -> RoundOutcome:
    """What a round came to. Its accuracy is of the validation split: the test split is not for watching."""
    validation = dense.data.validation
    top1 = None
    if len(validation):
        which = "the network after a round"
        top1 = evaluate(network.model, validation, dense.data.classes, network=which).top1
    return RoundOutcome(
        params_nonzero=network.cost.nonzero_params,
        macs_nonzero=network.cost.nonzero_macs,
        validation_top1=top1,
        loss=finite_or_none(recovery.losses[-1]) if recovery.losses else None,
    )
