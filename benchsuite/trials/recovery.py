"""What follows a cut: fine-tuning, or training anew, by the schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchsuite.pruning.rounds import rounds_of
from benchsuite.training import TrainingLog, train
from benchsuite.trials.dense_training import build_model, example
from benchsuite.trials.training_trace import early_step, load_trace
from benchsuite.trials.usable_model import return_class_scores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from benchsuite.plan.dense_task import DenseTask, TraceTask
    from benchsuite.plan.trial import Trial
    from benchsuite.pruning.networks import PrunedNetwork
    from benchsuite.trials.dense_model import DenseModel
    from benchsuite.trials.worker_context import WorkerContext


def recover(
    worker: WorkerContext,
    trial: Trial,
    dense: DenseModel,
    network: PrunedNetwork,
    *,
    before: Sequence[TrainingLog] = (),
    last: bool,
) -> TrainingLog:
    """Train a network after a cut.

    One-shot: fine-tuning by the recovery recipe. Iterative: each round has its share of those epochs, so that
    schedules compare at equal cost, and goes on with the training samples where the round before ended.
    Rewind: back to an early step of the dense training, and on from there. At init: the dense training. From
    scratch, in place of the last round: new weights, trained anew.

    Args:
        worker: where to work.
        trial: which one.
        dense: the dense model.
        network: what is left of it.
        before: the trainings of earlier rounds.
        last: whether this is the last round.
    """
    task, first_step, position, seed = trial.dense, 0, 0, trial.seed_for("recover")
    recipe = trial.last_training if last else trial.recovery
    epochs = recipe.epochs
    if trial.variant == "scratch" and last:
        network.take_weights(_plain(build_model(worker, task, dense.data, "scratch"), worker, dense))
    elif trial.schedule.name == "rewind":
        assert trial.early is not None
        first_step = early_step(task, trial.early, len(dense.data.train))
        seed = trial.seed_for("train")
        network.take_weights(_early(worker, dense, task, trial.early, first_step))
    elif trial.schedule.name == "at-init":
        seed = trial.seed_for("train")
    elif trial.schedule.name == "iterative":
        assert not isinstance(trial.sparsity, str)
        epochs /= len(rounds_of(trial.schedule, trial.sparsity))
        position = sum(log.steps for log in before)
    return train(
        network.model,
        dense.data,
        recipe,
        seed=seed,
        device=worker.device,
        epochs=epochs,
        first_step=first_step,
        position=position,
        after_step=network.after_step,
    )


def _early(
    worker: WorkerContext, dense: DenseModel, task: DenseTask, trace: TraceTask, step: int
) -> nn.Module:
    """The dense network with the weights it had after that step of its training."""
    model = build_model(worker, task, dense.data)
    model.load_state_dict(load_trace(worker, task, trace).snapshots[step])
    return _plain(model, worker, dense)


def _plain(model: nn.Module, worker: WorkerContext, dense: DenseModel) -> nn.Module:
    """The network on the worker's device with plain weights and one output, as the dense model has."""
    model = model.to(worker.device).eval()
    return_class_scores(model, dense.facts.class_scores)
    dense.form.apply(model, example(dense.data))
    return model
