"""Scores of what earlier rounds of a schedule have made of a network, from a process of their own.

A trial prunes, trains and measures; the code of a scorer, which may be a stranger's, does not run where it
does. So the network travels: the trial's process leaves it in a file, a scorer's reads it and leaves scores.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchsuite.contracts.covered_imports import covered_imports
from benchsuite.plan.score_task import RoundTask
from benchsuite.store.stages import load_tensors, save_tensors
from benchsuite.training import on_device
from benchsuite.trials.data import load_data
from benchsuite.trials.handing_over import hand_over, handed_over
from benchsuite.trials.scores import create_scorer, score_network

if TYPE_CHECKING:
    from torch import Tensor

    from benchsuite.plan.trial import Trial
    from benchsuite.pruning.networks import PrunedNetwork
    from benchsuite.training import DeviceDataset
    from benchsuite.trials.worker_context import WorkerContext

_NETWORK, _SCORES = "round.pt", "round-scores.safetensors"


def score_round(
    worker: WorkerContext,
    trial: Trial,
    data: DeviceDataset,
    network: PrunedNetwork,
    number: int,
    target: float | None,
) -> dict[str, Tensor]:
    """The scores of the network as it is now, by layer.

    Args:
        worker: where to work; one that cannot start processes runs the scorer itself.
        trial: whose round it is.
        data: the data set on the device.
        network: what earlier rounds have made.
        number: how many cuts it has had.
        target: see `RoundTask`.
    """
    task = RoundTask(trial.score, trial.key, number, target)
    model = network.model.eval()
    if worker.apart is None:
        return score_network(
            worker,
            task.score,
            data,
            model,
            network.layers,
            network.groups,
            round_number=number,
            target=target,
        ).scores
    folder = worker.folder(trial.key)
    try:
        hand_over(folder / _NETWORK, (model, network.layers, network.groups))
        worker.apart(task)
        return load_tensors(folder / _SCORES)
    finally:
        for name in (_NETWORK, _SCORES):
            (folder / name).unlink(missing_ok=True)


def answer_round(worker: WorkerContext, task: RoundTask) -> None:
    """Score the network that a trial has left, and leave the scores beside it."""
    folder = worker.folder(task.trial)
    dense = task.score.dense
    dataset, _ = load_data(worker, dense.dataset, dense.data_key)
    model, layers, groups = handed_over(folder / _NETWORK, worker.device)
    with covered_imports("scorer", create_scorer(worker, task.score.scorer)):
        result = score_network(
            worker,
            task.score,
            on_device(dataset, worker.device),
            model,
            layers,
            groups,
            round_number=task.number,
            target=task.target,
        )
    save_tensors(folder / _SCORES, result.scores)
