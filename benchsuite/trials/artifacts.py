"""What a trial leaves in its folder for people to look at."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING

from benchsuite.drawing.confusion import confusion_csv, confusion_svg
from benchsuite.pruning.rounds import rounds_of
from benchsuite.store.files import write_atomically
from benchsuite.trials.dense_training import curve, finite_or_none
from benchsuite.trials.pruned_model import keep_pruned

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchsuite.metrics.accuracy import Evaluation
    from benchsuite.plan.trial import Trial
    from benchsuite.pruning.networks import PrunedNetwork
    from benchsuite.training import TrainingLog
    from benchsuite.trials.dense_model import DenseModel
    from benchsuite.trials.rounds import Round
    from benchsuite.trials.worker_context import WorkerContext


def keep_trial(
    worker: WorkerContext,
    trial: Trial,
    network: PrunedNetwork,
    evaluation: Evaluation,
    dense: DenseModel,
    recovery: TrainingLog,
) -> int:
    """Keep the trial's network and what a person may want to look at; return the network's size in bytes."""
    file_bytes = keep_pruned(worker, trial, network.model, network.removed, dense.probe)
    files = {
        "recovery.json": json.dumps(curve(recovery), indent=1),
        "layers.csv": _layers_csv(dense, network),
        "confusion.csv": confusion_csv(evaluation.confusion, dense.data.classes),
        "confusion.svg": confusion_svg(evaluation.confusion, dense.data.classes),
    }
    for name, text in files.items():
        write_atomically(worker.folder(trial.key) / name, text)
    return file_bytes


def keep_rounds(worker: WorkerContext, trial: Trial, rounds: Sequence[Round]) -> None:
    """Keep what each round of the trial came to, as far as the test split is not needed for it."""
    assert not isinstance(trial.sparsity, str)
    targets = rounds_of(trial.schedule, trial.sparsity)
    numbered = [
        {
            "round": each.number,
            "sparsity": target,
            "params_nonzero": each.cost.nonzero_params,
            "macs_nonzero": each.cost.nonzero_macs,
            "validation_top1": each.validation_top1,
            "loss": finite_or_none(each.recovery.losses[-1]) if each.recovery.losses else None,
        }
        for target, each in zip(targets, rounds, strict=True)
    ]
    write_atomically(worker.folder(trial.key) / "rounds.json", json.dumps(numbered, indent=1))


def _layers_csv(dense: DenseModel, network: PrunedNetwork) -> str:
    """Units and non-zero weights of each layer, before and after."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["layer", "units_dense", "units", "weights_dense", "weights_nonzero"])
    for layer in dense.graph.weight_layers:
        weight = network.model.get_submodule(layer.name).get_parameter("weight")
        kept = int((weight != 0).sum())
        writer.writerow([layer.name, layer.units, weight.shape[0], layer.weight.numel(), kept])
    return text.getvalue()
