"""One trial as a straight line: prune, recover, measure; on a dense model and scores that trials share."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from benchsuite.errors import Unsupported, UsageError
from benchsuite.hardware import devices
from benchsuite.metrics.accuracy import Evaluation, evaluate
from benchsuite.pruning.copying import copy_of
from benchsuite.pruning.layer_targets import TargetedLayers
from benchsuite.pruning.networks import MaskedNetwork, PrunedNetwork, SmallerNetwork
from benchsuite.pruning.signature import architecture_signature
from benchsuite.pruning.targets import LAYERS, Threshold
from benchsuite.pruning.threshold import threshold_of
from benchsuite.pruning.units_and_weights import without_units_and_weights
from benchsuite.scoring.controls import reversed_scores, shuffled_scores
from benchsuite.store import metric_names
from benchsuite.store.keys import content_key, derived_seed
from benchsuite.store.record import TrialRecord
from benchsuite.trials.artifacts import keep_rounds, keep_trial
from benchsuite.trials.dense_training import evaluation_metrics
from benchsuite.trials.dissection import dissect_pruned
from benchsuite.trials.evaluations import before_recovery, cost_metrics, recalibrated_for
from benchsuite.trials.measuring import Standing, measure_dense, measure_end, network_to_measure
from benchsuite.trials.recovery import recover
from benchsuite.trials.reported import keep_tables, tables_in
from benchsuite.trials.round_points import round_points
from benchsuite.trials.rounds import run_rounds
from benchsuite.trials.scores import graph_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchsuite.metrics.cost import Cost
    from benchsuite.plan.score_task import ScoreTask
    from benchsuite.plan.trial import Trial, TrialTarget
    from benchsuite.pruning.graph import PruningGraph
    from benchsuite.pruning.settings import PruningSettings
    from benchsuite.trials.dense_model import DenseModel
    from benchsuite.trials.rounds import Round
    from benchsuite.trials.scores import ScoredModel
    from benchsuite.trials.worker_context import WorkerContext


def run_trial(worker: WorkerContext, trial: Trial, scored: Sequence[ScoredModel]) -> TrialRecord:
    """Prune the dense model as the trial says, recover, measure, and keep what came of it.

    Args:
        worker: where to work.
        trial: what to do.
        scored: the dense model with the scores of each of `trial.scores`.

    Raises:
        Collapsed: a layer would lose all its units or weights.
        Unsupported: the budget cannot be met, or the surgery or the schedule cannot serve this network.
        BenchsuiteError: a check failed, or training diverged.
    """
    started = time.perf_counter()
    by_key = {task.key: each for task, each in zip(trial.scores, scored, strict=True)}
    dense, facts = scored[0].dense, [each.facts for each in scored]
    dense.check_unchanged()
    measured = measure_dense(worker, trial, dense)
    began = time.perf_counter()
    network, rounds = prune(worker, trial, by_key)
    if rounds:
        prune_seconds = sum(each.seconds for each in rounds[:-1]) + rounds[-1].cut_seconds
        before, recovery = rounds[-1].before(), rounds[-1].recovery
        anew = _recalibrated(trial, dense, before)
    else:
        prune_seconds = time.perf_counter() - began
        before = copy_of(network.model)
        anew = _recalibrated(trial, dense, before)  # ahead of the recovery, which an error must not waste
        recovery = recover(worker, trial, dense, network, last=True)
    # The test split is read from here on and nowhere else: nothing above can have been chosen on it.
    cut_alone = {} if trial.variant == "scratch" else before_recovery(dense, before, anew)
    evaluation = evaluate(
        network.model, dense.data.test, dense.data.classes, network="the network after recovery"
    )
    interpretability = dissect_pruned(worker, trial, dense, network.model, network.removed)
    last = network_to_measure(dense, network.model, network.removed)
    measured = measure_end(worker, trial, Standing("end", len(rounds) or 1, last), measured)
    file_bytes = keep_trial(worker, trial, network, evaluation, dense, recovery)
    metrics = {
        **evaluation_metrics(evaluation, dense.data.classes),
        **cut_alone,
        metric_names.TOP1_DENSE: dense.top1,
        **network.metrics,
        **interpretability.metrics,
        **measured.metrics,
        **cost_metrics(network.cost, dense.cost),
        metric_names.FILE_BYTES: file_bytes,
        metric_names.FILE_BYTES_DENSE: dense.facts.file_bytes,
        metric_names.TRAIN_SECONDS: dense.facts.train_seconds,
        metric_names.SCORE_SECONDS: sum(each.seconds for each in facts),
        metric_names.PRUNE_SECONDS: prune_seconds,
        metric_names.RECOVER_SECONDS: recovery.seconds,
        metric_names.SCORE_PEAK_MB: max(each.peak_memory_mb for each in facts),
        metric_names.SCORE_TIES: sum(each.ties for each in facts),
    }
    if trial.variant != "shuffled":  # permuted scores rank at random, whatever is true of the criterion's own
        if facts[0].stability is not None:
            metrics[metric_names.STABILITY] = facts[0].stability
        metrics |= {f"{metric_names.REPORTED}{name}": value for name, value in facts[0].reported.items()}
        keep_tables(worker.folder(trial.key), tables_in(worker.folder(trial.score.key)))
    if len(rounds) > 1:
        keep_rounds(worker, trial, rounds)
    points = round_points(worker, trial, dense, rounds, metrics, measured.notes)
    if reused := sum(each.seconds for each in rounds if each.is_reused):
        metrics[metric_names.REUSED_SECONDS] = reused
    metrics[metric_names.TRIAL_SECONDS] = time.perf_counter() - started
    return TrialRecord(
        key=trial.key,
        axes=trial.axes,
        status="done",
        metrics={name: float(value) for name, value in metrics.items()},
        rounds=points,
        provenance={
            **provenance(worker, trial, dense),
            "test_samples": _test_samples(evaluation, dense.data.classes),
            **_uncounted(network.cost),
            **interpretability.notes,
            **({"measured": measured.notes} if measured.notes else {}),
        },
        settings=dict(trial.shared),
        stages={
            **trial.stages,
            "architecture": _architecture(trial, dense, network),
            # So that a stage that is made anew with other numbers is told from the one that was used here.
            "train_content": dense.content,
            **{f"{name}_content": by_key[key].content for name, key in trial.stages_of_scores.items()},
        },
    )


def prune(
    worker: WorkerContext, trial: Trial, by_key: Mapping[str, ScoredModel]
) -> tuple[PrunedNetwork, list[Round]]:
    """The network after its cut; of a schedule with rounds, after the last one's recovery, and the rounds.

    Args:
        worker: where to work.
        trial: what to do.
        by_key: the dense model with the scores of each of the trial's scorings, by key.
    """
    scored = by_key[trial.score.key]
    dense = scored.dense
    start = (
        dense.model,
        graph_of(trial.dense, trial.restriction, dense),
        dense.cost,
        trial.settings,
        trial.seed_for("ties"),
        dense.probe,
    )
    if trial.sparsity == LAYERS:
        return _by_layers(trial, by_key, start), []
    kind = MaskedNetwork if trial.granularity == "weight" else SmallerNetwork
    network: PrunedNetwork = kind(*start)
    if isinstance(trial.sparsity, str):
        _cut_once(trial, scored, network)
    elif trial.schedule.has_rounds:
        return network, run_rounds(worker, trial, scored, network, partial(_variant, trial))
    else:
        network.cut(scored.scores, trial.sparsity, partial(_variant, trial, 0))
    return network, []


def _cut_once(trial: Trial, scored: ScoredModel, network: PrunedNetwork) -> None:
    """Prune by what stands in place of a sparsity, of which there are no parts to reach in rounds."""
    rounds, vary = trial.schedule.has_rounds, partial(_variant, trial, 0)
    if trial.sparsity == "native":
        if rounds or trial.variant in ("reversed", "shuffled"):
            raise Unsupported(
                "a criterion's own rule decides once, by its own scores: no rounds, no variants"
            )
        network.cut_by_rule(scored.native, scored.facts.merges)
    elif (threshold := threshold_of(trial.sparsity)) is not None:
        if rounds:
            raise Unsupported(
                f"a threshold decides in one cut: the schedule {trial.schedule.name} has several"
            )
        _refuse_relative(trial.score, absolute=trial.absolute)
        network.cut_below(scored.scores, threshold, vary)
    else:
        if rounds:
            raise Unsupported(
                f"widths are reached in one cut: the schedule {trial.schedule.name} has several"
            )
        try:
            network.cut_to_widths(scored.scores, trial.widths, vary)
        except UsageError as error:
            raise UsageError(f"{trial.dense.model.label}: {error}") from error


def _by_layers(
    trial: Trial,
    by_key: Mapping[str, ScoredModel],
    start: tuple[nn.Module, PruningGraph, Cost, PruningSettings, int, Tensor],
) -> PrunedNetwork:
    """The network after some layers have lost what the target of each says."""
    if trial.schedule.has_rounds:
        raise Unsupported(
            f"targets of layers are reached in one cut: the schedule {trial.schedule.name} has several"
        )
    found: dict[str, list[TargetedLayers]] = {"unit": [], "weight": []}
    for each in trial.targets:
        found[each.score.granularity].append(_targeted(trial, by_key[each.score.key], each))
    units, weights = found["unit"], found["weight"]
    try:
        if units and weights:
            return without_units_and_weights(*start, (units, weights))
        network = MaskedNetwork(*start) if weights else SmallerNetwork(*start)
        network.cut_layers(weights or units)
    except UsageError as error:
        raise UsageError(f"{trial.dense.model.label}: {error}") from error
    return network


def _targeted(trial: Trial, scored: ScoredModel, target: TrialTarget) -> TargetedLayers:
    """The layers of a target with what its criterion says of them."""
    layers = target.layers
    if layers.target == "native" and not target.own and trial.variant in ("reversed", "shuffled"):
        raise Unsupported("a criterion's own rule decides by its own scores: no variants")
    if isinstance(layers.target, Threshold):
        _refuse_relative(target.score, absolute=target.absolute)
    return TargetedLayers(
        layers.patterns,
        layers.target,
        target.settings,
        scored.scores,
        scored.native,
        scored.facts.merges,
        dict if target.own else partial(_variant, trial, 0, of=layers.patterns),
    )


def _refuse_relative(score: ScoreTask, *, absolute: bool) -> None:
    """Raise `Unsupported` if a threshold means nothing for a criterion."""
    if not absolute:
        raise Unsupported(
            f"the scores of {score.scorer.name} have no fixed zero and unit (absolute = False), so "
            "that a threshold means nothing"
        )


def _recalibrated(trial: Trial, dense: DenseModel, model: nn.Module) -> nn.Module | None:
    """The network after the last cut with statistics estimated anew, where they say something."""
    # The recovery of `scratch` begins with new weights.
    return None if trial.variant == "scratch" else recalibrated_for(trial, dense, model)


def _variant(
    trial: Trial, round_number: int, scores: Mapping[str, Tensor], of: tuple[str, ...] = ()
) -> dict[str, Tensor]:
    """The scores as a control changes them: each layer or coupled group keeps its own values.

    Args:
        trial: with the control.
        round_number: how many cuts there were before.
        scores: of all, or of the layers of one target.
        of: the patterns of these layers; each target draws random numbers of its own.
    """
    if trial.variant == "reversed":
        return reversed_scores(scores)
    if trial.variant == "shuffled":
        later = (round_number,) if round_number else ()
        seed = derived_seed("shuffle", *_names(trial), trial.draw, *later, *of)
        return shuffled_scores(scores, torch.Generator().manual_seed(seed))
    return dict(scores)


def _names(trial: Trial) -> tuple[str, str, int]:
    return trial.dense.dataset.label, trial.dense.model.label, trial.dense.seed


def _architecture(trial: Trial, dense: DenseModel, network: PrunedNetwork) -> str:
    """A key that networks of the same model and the same widths share, whatever their weights."""
    # Weights of the 2:4 pattern may run on kernels of their own.
    pattern = ["2:4", *network.masked] if trial.settings.scope == "2:4" else []
    widths = architecture_signature(dense.graph, network.removed)
    structure = str(dense.model)  # a model may draw its structure by the seed
    return content_key(["architecture", trial.dense.network, structure, widths, *pattern])


def _test_samples(evaluation: Evaluation, classes: Sequence[str]) -> dict[str, int]:
    """The test samples of each class, by which anyone can check accuracies against recalls."""
    return dict(zip(classes, evaluation.confusion.sum(dim=1).tolist(), strict=True))


def _uncounted(cost: Cost) -> dict[str, Any]:
    """Names of the modules whose multiply-accumulates are not known; with some, MACs are a lower bound."""
    return {"uncounted_modules": list(cost.unknown_modules)} if cost.unknown_modules else {}


def provenance(worker: WorkerContext, trial: Trial, dense: DenseModel) -> dict[str, Any]:
    """What the worker knows of where the numbers come from."""
    return {
        "device": devices.device_name(worker.device),
        "device_type": worker.device.type,
        "threads": worker.threads,
        "data_digest": dense.facts.data_digest,
        **({"test_samples_in_train": dense.facts.overlap} if dense.facts.overlap else {}),
        # By weight, what computed it in training: scores, pruning and recovery are of plain weights.
        **({"folded_weights": dict(dense.form.folded)} if dense.form.folded else {}),
        "training_recipe": trial.dense.recipe.model_dump(mode="json"),
        "recovery_recipe": trial.last_training.model_dump(mode="json"),
        # Each criterion may declare these itself.
        "normalise": trial.settings.normalise,
        "aggregate": trial.settings.aggregate,
    }
