"""What a network came to after each round of a schedule, by the names that the record's own metrics have."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from benchsuite.metrics.accuracy import evaluate
from benchsuite.store import metric_names
from benchsuite.trials.dense_training import evaluation_metrics
from benchsuite.trials.dissection import dissect_round
from benchsuite.trials.evaluations import before_recovery, cost_metrics, recalibrated_for
from benchsuite.trials.facts import PointFacts
from benchsuite.trials.measuring import Standing, after_each_round, measure_after_round, network_to_measure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchsuite.plan.trial import Trial
    from benchsuite.trials.dense_model import DenseModel
    from benchsuite.trials.rounds import Round
    from benchsuite.trials.worker_context import WorkerContext

_NAMES = frozenset(
    {
        metric_names.TOP1,
        metric_names.LOSS,
        metric_names.TOP1_BEFORE_RECOVERY,
        metric_names.TOP1_RECALIBRATED,
        metric_names.PARAMS,
        metric_names.PARAMS_NONZERO,
        metric_names.MACS,
        metric_names.MACS_NONZERO,
        metric_names.FLOPS,
        metric_names.SELECTION_TIES,
        metric_names.SURGERY_DIFFERENCE,
    }
)


def round_points(
    worker: WorkerContext,
    trial: Trial,
    dense: DenseModel,
    rounds: Sequence[Round],
    metrics: Mapping[str, float],
    notes: Mapping[str, dict[str, Any]],
) -> tuple[dict[str, float], ...]:
    """The numbers after each round of a trial, by name; none for a schedule without rounds.

    It reads the test split, so every decision of the trial must be made.

    Args:
        worker: where to work.
        trial: whose rounds.
        dense: the dense model.
        rounds: all of them.
        metrics: the record's own, from which those after the last round are taken.
        notes: of the metric plugins, by what records call them; here is noted which ones measured nothing.
    """
    if not rounds:
        return ()
    own = _of_a_round(trial, metrics)
    # A plugin is told whether it is a trial's end, and may measure something else there than after a round.
    if (last := rounds[-1].shared) is not None and not after_each_round(trial):
        last.point(trial.point, lambda: PointFacts(point=own))  # for the trials that go on from here
    earlier = [_point(worker, trial, dense, each) for each in rounds[:-1]]
    for each in earlier:
        for called, reason in each.unsupported.items():
            notes[called].setdefault("unsupported", reason)
    return (*(each.point for each in earlier), own)


def _point(worker: WorkerContext, trial: Trial, dense: DenseModel, each: Round) -> PointFacts:
    measure = partial(measure_round, worker, trial, dense, each)
    return measure() if each.shared is None else each.shared.point(trial.point, measure)


def measure_round(worker: WorkerContext, trial: Trial, dense: DenseModel, each: Round) -> PointFacts:
    """The numbers after a round that is not the trial's last."""
    data = dense.data
    before, after = each.before(), each.after()
    network = network_to_measure(dense, after, each.removed)
    which = f"the network after round {each.number}"
    evaluation = evaluate(after, data.test, data.classes, network=which)
    by_plugins = measure_after_round(worker, trial, Standing("round", each.number, network))
    point = _of_a_round(
        trial,
        {
            **evaluation_metrics(evaluation, data.classes),
            **before_recovery(dense, before, recalibrated_for(trial, dense, before)),
            **each.metrics,
            **cost_metrics(each.cost, dense.cost),
            **dissect_round(worker, trial, dense, after, each.removed),
            **by_plugins.metrics,
        },
    )
    reasons = {called: str(note["unsupported"]) for called, note in by_plugins.notes.items()}
    return PointFacts(point=point, unsupported=reasons)


def _of_a_round(trial: Trial, metrics: Mapping[str, float]) -> dict[str, float]:
    """Those of a record's metrics that are measured after each round; what is the dense network's is not."""
    groups = [metric_names.SPARSITY, *after_each_round(trial)]
    if trial.dissection is not None and trial.dissection.each_round:
        groups.append(metric_names.INTERPRETABILITY)
    return {
        name: float(value)
        for name, value in metrics.items()
        if name in _NAMES or (name.startswith(tuple(groups)) and not name.endswith("_dense"))
    }
