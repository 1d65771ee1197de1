"""What is measured alike of a trial's last network and of the network after each of its rounds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchsuite.metrics.accuracy import evaluate
from benchsuite.store import metric_names
from benchsuite.training.recalibration import recalibrated

if TYPE_CHECKING:
    from torch import nn

    from benchsuite.metrics.cost import Cost
    from benchsuite.plan.trial import Trial
    from benchsuite.trials.dense_model import DenseModel


def recalibrated_for(trial: Trial, dense: DenseModel, model: nn.Module) -> nn.Module | None:
    """The network after a cut with statistics estimated anew, where the suite asks for it."""
    if not trial.recalibrate:
        return None
    seed = trial.seed_for("recalibrate")
    return recalibrated(model, dense.data.train, trial.recalibrate, trial.recovery.batch_size, seed)


def before_recovery(dense: DenseModel, model: nn.Module, anew: nn.Module | None) -> dict[str, float]:
    """The accuracy right after a cut, as the network is and with statistics estimated anew."""
    data = dense.data
    evaluation = evaluate(model, data.test, data.classes, network="the network before recovery")
    found = {metric_names.TOP1_BEFORE_RECOVERY: evaluation.top1}
    if anew is not None:
        evaluation = evaluate(anew, data.test, data.classes, network="the recalibrated network")
        found[metric_names.TOP1_RECALIBRATED] = evaluation.top1
    return found


def cost_metrics(cost: Cost, dense: Cost) -> dict[str, float]:
    """A network's cost beside the dense one's."""
    return {
        metric_names.PARAMS: cost.params,
        metric_names.PARAMS_DENSE: dense.params,
        metric_names.PARAMS_NONZERO: cost.nonzero_params,
        metric_names.MACS: cost.macs,
        metric_names.MACS_DENSE: dense.macs,
        metric_names.MACS_NONZERO: cost.nonzero_macs,
        metric_names.FLOPS: 2 * cost.macs,
        metric_names.ACTIVATION_PEAK_BYTES: cost.peak_activation_bytes,
        metric_names.UNCOUNTED_MODULES: len(cost.unknown_modules),
    }
