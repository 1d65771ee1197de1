"""One trial as a straight line: prune, recover, measure; on a dense model and scores that trials share."""

from __future__ import annotations

import copy
import csv
import io
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from benchsuite import devices, stages
from benchsuite.dense import (
    Bench,
    Dense,
    Scored,
    curve,
    evaluation_metrics,
    load_dense,
)
from benchsuite.errors import BenchsuiteError
from benchsuite.metrics.accuracy import Evaluation, evaluate
from benchsuite.metrics.confusion import confusion_csv, confusion_svg
from benchsuite.metrics.cost import Cost, measure_cost
from benchsuite.metrics.latency import measure_latency
from benchsuite.plan import Trial, content_key, derived_seed
from benchsuite.pruning.masks import WeightMasks, select_weights
from benchsuite.pruning.selection import group_scores, select_units
from benchsuite.pruning.signature import architecture_signature
from benchsuite.pruning.surgery import check_surgery, remove_units
from benchsuite.scoring.controls import reversed_scores, shuffled_scores
from benchsuite.store import TrialRecord, write_atomically
from benchsuite.training import TrainingLog, train

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from benchsuite.pruning.graph import PruningGraph


@dataclass(frozen=True, eq=False)
class Pruned:
    """A pruned network before recovery.

    Attributes:
        model: the network, smaller or masked.
        after_step: what keeps masks through training; None where units are really gone.
        removed: by coupled group, the removed positions; empty for masks.
        metrics: of the selection, the surgery and the cost.
        architecture: a key that networks of the same shape share.
    """

    model: nn.Module
    after_step: Callable[[], None] | None
    removed: dict[str, tuple[int, ...]]
    metrics: dict[str, float]
    architecture: str


def run_trial(bench: Bench, trial: Trial, scored: Scored) -> TrialRecord:
    """Prune the dense model as the trial says, recover, measure, and keep what came of it."""
    started = time.perf_counter()
    dense = scored.dense
    pruned = prune(trial, scored)
    prune_seconds = time.perf_counter() - started
    before = copy.deepcopy(pruned.model)
    recovery = train(
        pruned.model,
        dense.data,
        trial.recovery,
        seed=trial.seed_for("recover"),
        device=bench.device,
        after_step=pruned.after_step,
    )
    # The test split is read here and nowhere else: nothing above can have been chosen on it.
    evaluation_before = evaluate(before, dense.data.test, dense.data.classes)
    evaluation = evaluate(pruned.model, dense.data.test, dense.data.classes)
    metrics = {
        **evaluation_metrics(evaluation, "accuracy", dense.data.classes),
        "accuracy/top1_before_recovery": evaluation_before.top1,
        "accuracy/top1_dense": dense.top1,
        **pruned.metrics,
        "time/train_s": dense.facts["train_seconds"],
        "time/score_s": scored.facts["seconds"],
        "time/prune_s": prune_seconds,
        "time/recover_s": recovery.seconds,
        "time/trial_s": time.perf_counter() - started,
        "memory/score_peak_mb": scored.facts["peak_memory_mb"],
        "scoring/ties": scored.facts["ties"],
    }
    _keep(bench, trial, pruned, evaluation, dense, recovery)
    return TrialRecord(
        key=trial.key,
        axes=trial.axes,
        status="done",
        metrics={name: float(value) for name, value in metrics.items()},
        provenance=provenance(bench, trial, dense),
        settings=dict(trial.shared),
        stages={**trial.stages, "architecture": pruned.architecture},
    )


def prune(trial: Trial, scored: Scored) -> Pruned:
    """The pruned network of a trial, checked, before recovery.

    Raises:
        Collapsed: a layer would lose all its units or weights.
        Unsupported: the budget cannot be met, or the surgery cannot serve this network.
        BenchsuiteError: the surgery's check failed.
    """
    if trial.score.granularity == "weight":
        return _masked(trial, scored)
    return _smaller(trial, scored)


def _smaller(trial: Trial, scored: Scored) -> Pruned:
    dense = scored.dense
    grouped = _variant(trial, group_scores(dense.graph, scored.scores, trial.settings))
    selection = select_units(dense.graph, grouped, trial.settings, trial.sparsity, trial.seed_for("ties"))
    model = remove_units(dense.model, dense.graph, selection.removed)
    check = check_surgery(dense.model, model, dense.graph, selection.removed, dense.probe)
    cost = measure_cost(model, dense.probe[:1])
    if (cost.params, cost.macs) != (selection.params, selection.macs):
        raise BenchsuiteError(
            f"the pruned network has {cost.params} parameters and {cost.macs} MACs, but the selection "
            f"counted on {selection.params} and {selection.macs}: its cost model is wrong for this network"
        )
    return Pruned(
        model=model,
        after_step=None,
        removed=selection.removed,
        metrics={
            **_cost_metrics(cost, dense.cost),
            "sparsity/units": selection.units_removed,
            "sparsity/params": 1 - cost.params / dense.cost.params,
            "sparsity/macs": 1 - cost.macs / dense.cost.macs,
            "selection/ties": selection.ties,
            "surgery/max_difference": check.max_difference,
        },
        architecture=_architecture(trial, dense.graph, selection.removed),
    )


def _masked(trial: Trial, scored: Scored) -> Pruned:
    dense = scored.dense
    scores = _variant(trial, scored.scores)
    selection = select_weights(dense.graph, scores, trial.settings, trial.sparsity, trial.seed_for("ties"))
    model = copy.deepcopy(dense.model)
    after_step = WeightMasks(selection.keep).bind(model)
    cost = measure_cost(model, dense.probe[:1])
    return Pruned(
        model=model,
        after_step=after_step,
        removed={},
        metrics={
            **_cost_metrics(cost, dense.cost),
            "sparsity/units": _silent_units(dense.graph, selection.keep),
            "sparsity/params": selection.params_removed,
            "sparsity/macs": selection.macs_removed,
            "selection/ties": selection.ties,
        },
        architecture=_architecture(trial, dense.graph, {}),
    )


def _variant(trial: Trial, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The scores as a control changes them: each layer or coupled group keeps its own values."""
    if trial.variant == "reversed":
        return reversed_scores(scores)
    if trial.variant == "shuffled":
        seed = derived_seed("shuffle", *_names(trial), trial.draw)
        return shuffled_scores(scores, torch.Generator().manual_seed(seed))
    return dict(scores)


def _names(trial: Trial) -> tuple[str, str, int]:
    return trial.dense.dataset.label, trial.dense.model.label, trial.dense.seed


def _architecture(trial: Trial, graph: PruningGraph, removed: Mapping[str, tuple[int, ...]]) -> str:
    """A key that networks of the same model and the same widths share, whatever their weights."""
    widths = architecture_signature(graph, removed)
    return content_key(["architecture", trial.dense.model.label, trial.dense.dataset.label, widths])


def _cost_metrics(cost: Cost, dense: Cost) -> dict[str, float]:
    return {
        "cost/params": cost.params,
        "cost/params_dense": dense.params,
        "cost/params_nonzero": cost.nonzero_params,
        "cost/macs": cost.macs,
        "cost/macs_dense": dense.macs,
        "cost/macs_nonzero": cost.nonzero_macs,
        "cost/flops": 2 * cost.macs,
        "cost/activation_peak_bytes": cost.peak_activation_bytes,
    }


def _silent_units(graph: PruningGraph, keep: Mapping[str, Tensor]) -> float:
    """Share of the prunable units that have no weight left."""
    layers = [layer.name for layer in graph.layers]
    silent = sum(int((~keep[name].flatten(1).any(1)).sum()) for name in layers if name in keep)
    return silent / sum(layer.units for layer in graph.layers)


def _keep(
    bench: Bench, trial: Trial, pruned: Pruned, evaluation: Evaluation, dense: Dense, recovery: TrainingLog
) -> None:
    """Keep the trial's network, its history, and what a person may want to look at."""
    folder = bench.folder(trial.key)
    stages.save_tensors(folder / "model.safetensors", pruned.model.state_dict())
    history = {"axes": trial.axes, "removed": pruned.removed}
    files = {
        "pruning.json": json.dumps(history, indent=1),
        "recovery.json": json.dumps(curve(recovery), indent=1),
        "layers.csv": _layers_csv(dense, pruned),
        "confusion.csv": confusion_csv(evaluation.confusion, dense.data.classes),
        "confusion.svg": confusion_svg(evaluation.confusion, dense.data.classes),
    }
    for name, text in files.items():
        write_atomically(folder / name, text)


def _layers_csv(dense: Dense, pruned: Pruned) -> str:
    """Units and non-zero weights of each layer, before and after."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["layer", "units_dense", "units", "weights_dense", "weights_nonzero"])
    for layer in dense.graph.weight_layers:
        weight = pruned.model.get_submodule(layer.name).get_parameter("weight")
        kept = int((weight != 0).sum())
        writer.writerow([layer.name, layer.units, weight.shape[0], layer.weight.numel(), kept])
    return text.getvalue()


def provenance(bench: Bench, trial: Trial, dense: Dense) -> dict[str, Any]:
    """What the worker knows of where the numbers come from."""
    return {
        "device": devices.device_name(bench.device),
        "device_type": bench.device.type,
        "threads": bench.threads,
        "data_digest": dense.facts["data_digest"],
        "training_recipe": trial.dense.recipe.model_dump(mode="json"),
        "recovery_recipe": trial.recovery.model_dump(mode="json"),
    }


def latency_metrics(bench: Bench, trial: Trial) -> dict[str, float]:
    """Latencies of a finished trial's architecture beside its dense model's."""
    dense = load_dense(bench, trial.dense)
    history = json.loads((bench.folder(trial.key) / "pruning.json").read_text("utf-8"))
    model = remove_units(dense.model, dense.graph, {name: tuple(p) for name, p in history["removed"].items()})
    metrics: dict[str, float] = {}
    assert trial.latency is not None
    for size in trial.latency.batch_sizes:
        found = measure_latency(dense.model, model, dense.probe[:1], size, bench.device)
        name = f"latency/batch{size}"
        metrics |= {
            f"{name}_ms": found.pruned.median_ms,
            f"{name}_lower_ms": found.pruned.lower_ms,
            f"{name}_upper_ms": found.pruned.upper_ms,
            f"{name}_dense_ms": found.dense.median_ms,
            f"{name}_speedup": found.speedup,
        }
    return {**metrics, "latency/threads": float(bench.threads)}
