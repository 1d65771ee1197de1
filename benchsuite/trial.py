"""One trial as a straight line: prune, recover, measure; on a dense model and scores that trials share."""

from __future__ import annotations

import copy
import csv
import io
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

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
from benchsuite.metrics.cost import Cost, measure_cost
from benchsuite.metrics.latency import measure_latency
from benchsuite.plan import Trial, content_key, derived_seed
from benchsuite.pruning.graph import PruningGraph
from benchsuite.pruning.masks import WeightMasks, select_weights
from benchsuite.pruning.selection import group_scores, select_units
from benchsuite.pruning.signature import architecture_signature
from benchsuite.pruning.surgery import check_surgery, remove_units
from benchsuite.scoring.controls import reversed_scores, shuffled_scores
from benchsuite.store import Status, TrialRecord, write_atomically
from benchsuite.training import train


@dataclass(frozen=True, eq=False)
class Pruned:
    """A pruned network before recovery.

    Attributes:
        model: the network, smaller or masked.
        after_step: what keeps masks through training; None where units are really gone.
        removed: by coupled group, the removed positions; empty for masks.
        kept: by layer, units (or weights) kept.
        metrics: of the selection and the surgery.
        cost: of the network as it is now.
        architecture: what networks of the same shape share.
    """

    model: nn.Module
    after_step: Callable[[], None] | None
    removed: dict[str, tuple[int, ...]]
    kept: dict[str, int]
    metrics: dict[str, float]
    cost: Cost
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
    _keep(bench, trial, pruned, evaluation, curve(recovery))
    return TrialRecord(
        key=trial.key,
        axes=trial.axes,
        status="done",
        metrics={name: float(value) for name, value in metrics.items()},
        provenance=provenance(bench, dense),
        settings=settings(trial),
        stages={**trial.stages, "architecture": pruned.architecture},
    )


def prune(trial: Trial, scored: Scored) -> Pruned:
    """The pruned network of a trial, checked, before recovery.

    Raises:
        Collapsed: a layer would lose all its units or weights.
        Unsupported: the budget cannot be met, or the surgery cannot serve this network.
        BenchsuiteError: the surgery's check failed.
    """
    dense = scored.dense
    ties = trial.seed_for("ties")
    example = dense.probe[:1]
    if trial.score.granularity == "weight":
        scores = _variant_of_weights(trial, scored.scores)
        selected = select_weights(dense.graph, scores, trial.settings, trial.sparsity, ties)
        masks = WeightMasks(selected.keep)
        model = copy.deepcopy(dense.model)
        masks.apply_(model)
        cost = measure_cost(model, example)
        return Pruned(
            model=model,
            after_step=lambda: masks.apply_(model),
            removed={},
            kept={name: int(keep.sum()) for name, keep in selected.keep.items()},
            metrics={
                **_cost_metrics(cost, dense.cost),
                "sparsity/units": _silent_units(dense, selected.keep),
                "sparsity/params": 1 - cost.nonzero_params / dense.cost.nonzero_params,
                "sparsity/macs": 1 - cost.nonzero_macs / dense.cost.nonzero_macs,
                "selection/ties": selected.ties,
            },
            cost=cost,
            architecture=_architecture(trial, dense, {}),
        )
    grouped = _variant_of_groups(trial, group_scores(dense.graph, scored.scores, trial.settings))
    selection = select_units(dense.graph, grouped, trial.settings, trial.sparsity, ties)
    model = remove_units(dense.model, dense.graph, selection.removed)
    check = check_surgery(dense.model, model, dense.graph, selection.removed, dense.probe)
    cost = measure_cost(model, example)
    _check_cost_model(cost, selection.params, selection.macs)
    return Pruned(
        model=model,
        after_step=None,
        removed=selection.removed,
        kept={layer.name: int(model.get_submodule(layer.name).weight.shape[0]) for layer in dense.graph.layers},
        metrics={
            **_cost_metrics(cost, dense.cost),
            "sparsity/units": selection.units_removed,
            "sparsity/params": 1 - cost.params / dense.cost.params,
            "sparsity/macs": 1 - cost.macs / dense.cost.macs,
            "selection/ties": selection.ties,
            "surgery/max_difference": check.max_difference,
        },
        cost=cost,
        architecture=_architecture(trial, dense, selection.removed),
    )


def _variant_of_groups(trial: Trial, grouped: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The control's version of group scores: units of a coupled group are turned round or permuted together."""
    return _variant(trial, grouped)


def _variant(trial: Trial, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The scores as a control changes them; layers or groups keep their own values."""
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


def _keep(bench: Bench, trial: Trial, pruned: Pruned, evaluation: Evaluation, recovery: Mapping[str, Any]) -> None:
    """Keep the trial's network and what a person may want to look at."""
    folder = bench.folder(trial.key)
    folder.mkdir(parents=True, exist_ok=True)
    stages.save_tensors(folder / "model.safetensors", pruned.model.state_dict())
    write_atomically(folder / "pruning.json", json.dumps({"axes": trial.axes, "removed": pruned.removed}, indent=1))
    write_atomically(folder / "recovery.json", json.dumps(recovery, indent=1))
    stages.complete(folder, {"architecture": pruned.architecture})


def settings(trial: Trial) -> dict[str, Any]:
    """What the record says beside the axes: how scores were combined, how networks were trained."""
    return {
        "pruning": asdict(trial.settings),
        "training": trial.dense.recipe.model_dump(mode="json"),
        "recovery": trial.recovery.model_dump(mode="json"),
        "scoring": trial.score.scoring.model_dump(mode="json"),
    }


def provenance(bench: Bench, dense: Dense) -> dict[str, Any]:
    """What the worker knows of where the numbers come from."""
    return {
        "device": devices.device_name(bench.device),
        "device_type": bench.device.type,
        "threads": bench.threads,
        "data_digest": dense.facts["data_digest"],
    }


def failed_record(trial: Trial, status: Status, error: str) -> TrialRecord:
    """The record of a trial that ended without a result."""
    return TrialRecord(trial.key, trial.axes, status, settings=settings(trial), stages=trial.stages, error=error)


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
