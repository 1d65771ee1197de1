"""One trial as a straight line: prune, recover, measure; on a dense model and scores that trials share."""

from __future__ import annotations

import copy
import csv
import io
import json
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from benchsuite import devices
from benchsuite.dense import (
    Bench,
    Dense,
    build_model,
    curve,
    evaluation_metrics,
    finite_or_none,
    rewind_step,
)
from benchsuite.errors import Unsupported
from benchsuite.interpretability import dissect_pruned
from benchsuite.keys import content_key, derived_seed
from benchsuite.metrics.accuracy import Evaluation, evaluate
from benchsuite.metrics.confusion import confusion_csv, confusion_svg
from benchsuite.metrics.energy import measure_energy
from benchsuite.metrics.latency import Latency, measure_latency
from benchsuite.metrics.sparse_kernels import device_has_sparse_kernels
from benchsuite.pruned import keep_pruned, load_pruned
from benchsuite.pruning.networks import MaskedNetwork, PrunedNetwork, SmallerNetwork
from benchsuite.pruning.rounds import geometric_rounds, rounds_of_share
from benchsuite.pruning.signature import architecture_signature
from benchsuite.scored import Scored, score_network
from benchsuite.scoring.controls import reversed_scores, shuffled_scores
from benchsuite.store import TrialRecord, write_atomically
from benchsuite.training import TrainingLog, train

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchsuite.metrics.cost import Cost
    from benchsuite.pruning.graph import PruningGraph
    from benchsuite.tasks import DenseTask, ScheduleSettings, Trial


def run_trial(bench: Bench, trial: Trial, scored: Scored) -> TrialRecord:
    """Prune the dense model as the trial says, recover, measure, and keep what came of it.

    Raises:
        Collapsed: a layer would lose all its units or weights.
        Unsupported: the budget cannot be met, or the surgery or the schedule cannot serve this network.
        BenchsuiteError: a check failed, or training diverged.
    """
    started = time.perf_counter()
    dense = scored.dense
    network, rounds = prune(bench, trial, scored)
    prune_seconds = time.perf_counter() - started
    before = copy.deepcopy(network.model)
    recovery = recover(bench, trial, dense, network, last=True)
    if rounds:
        rounds.append(_round(dense, network, recovery))
    # The test split is read here and nowhere else: nothing above can have been chosen on it.
    evaluation_before = evaluate(before, dense.data.test, dense.data.classes)
    evaluation = evaluate(network.model, dense.data.test, dense.data.classes)
    interpretability = dissect_pruned(bench, trial, dense, network.model, network.removed)
    file_bytes = _keep(bench, trial, network, evaluation, dense, recovery)
    metrics = {
        **evaluation_metrics(evaluation, "accuracy", dense.data.classes),
        "accuracy/top1_before_recovery": evaluation_before.top1,
        "accuracy/top1_dense": dense.top1,
        **network.metrics,
        **interpretability,
        **_cost_metrics(network.cost, dense.cost),
        "cost/file_bytes": file_bytes,
        "cost/file_bytes_dense": dense.facts["file_bytes"],
        "time/train_s": dense.facts["train_seconds"],
        "time/score_s": scored.facts["seconds"],
        "time/prune_s": prune_seconds,
        "time/recover_s": recovery.seconds,
        "time/trial_s": time.perf_counter() - started,
        "memory/score_peak_mb": scored.facts["peak_memory_mb"],
        "scoring/ties": scored.facts["ties"],
    }
    if rounds:
        _keep_rounds(bench, trial, rounds)
    return TrialRecord(
        key=trial.key,
        axes=trial.axes,
        status="done",
        metrics={name: float(value) for name, value in metrics.items()},
        provenance=provenance(bench, trial, dense) | _uncounted(network.cost),
        settings=dict(trial.shared),
        stages={**trial.stages, "architecture": _architecture(trial, dense.graph, network.removed)},
    )


def prune(bench: Bench, trial: Trial, scored: Scored) -> tuple[PrunedNetwork, list[dict[str, float | None]]]:
    """The network after its last cut, and facts of the rounds before it, which have been recovered from."""
    dense = scored.dense
    rounds: list[dict[str, float | None]] = []
    kind = MaskedNetwork if trial.score.granularity == "weight" else SmallerNetwork
    network: PrunedNetwork = kind(
        dense.model, dense.graph, dense.cost, trial.settings, trial.seed_for("ties"), dense.probe
    )
    if trial.sparsity == "native":
        if trial.schedule.name in ("iterative", "rewind") or trial.variant in ("reversed", "shuffled"):
            raise Unsupported(
                "a criterion's own rule decides once, by its own scores: no rounds, no variants"
            )
        network.cut_by_rule(scored.native, scored.facts["merges"])
        return network, rounds
    targets = rounds_of(trial.schedule, trial.sparsity)
    for number, sparsity in enumerate(targets):
        scores = scored.scores
        if number > 0:
            rounds.append(_round(dense, network, recover(bench, trial, dense, network, last=False)))
            task, model = trial.score, network.model.eval()
            scores = score_network(bench, task, dense, model, network.layers, network.groups).scores
        network.cut(scores, sparsity, partial(_variant, trial))
    return network, rounds


def _round(dense: Dense, network: PrunedNetwork, recovery: TrainingLog) -> dict[str, float | None]:
    """What a round came to. Its accuracy is of the validation split: the test split is not for watching."""
    validation = dense.data.validation
    top1 = evaluate(network.model, validation, dense.data.classes).top1 if len(validation) else None
    return {
        "params_nonzero": network.cost.nonzero_params,
        "macs_nonzero": network.cost.nonzero_macs,
        "validation_top1": top1,
        "loss": finite_or_none(recovery.losses[-1]) if recovery.losses else None,
    }


def rounds_of(schedule: ScheduleSettings, sparsity: float) -> list[float]:
    """The sparsity after each round of a schedule."""
    if schedule.name == "iterative":
        return geometric_rounds(sparsity, schedule.rounds)
    if schedule.name == "rewind":
        return rounds_of_share(sparsity, schedule.rewind_share)
    return [sparsity]


def recover(bench: Bench, trial: Trial, dense: Dense, network: PrunedNetwork, *, last: bool) -> TrainingLog:
    """Train a network after a cut.

    One-shot: fine-tuning by the recovery recipe. Iterative: each round has its share of those epochs, so that
    schedules compare at equal cost. Rewind: back to an early step of the dense training, and on from there.
    At init: the dense training. From scratch, in place of the last round: new weights, trained anew.
    """
    task, first_step, seed = trial.dense, 0, trial.seed_for("recover")
    recipe = trial.last_training if last else trial.recovery
    epochs = recipe.epochs
    if trial.variant == "scratch" and last:
        network.take_weights(build_model(bench, task, dense.data, "scratch").to(bench.device).eval())
    elif trial.schedule.name == "rewind":
        first_step, seed = rewind_step(task, dense.data), trial.seed_for("train")
        network.take_weights(_rewound(bench, dense, task, first_step))
    elif trial.schedule.name == "at-init":
        seed = trial.seed_for("train")
    elif trial.schedule.name == "iterative":
        assert trial.sparsity != "native"
        epochs /= len(rounds_of(trial.schedule, trial.sparsity))
    return train(
        network.model,
        dense.data,
        recipe,
        seed=seed,
        device=bench.device,
        epochs=epochs,
        first_step=first_step,
        after_step=network.after_step,
    )


def _rewound(bench: Bench, dense: Dense, task: DenseTask, step: int) -> nn.Module:
    """The dense network with the weights it had after that step of its training."""
    assert dense.trace is not None
    model = build_model(bench, task, dense.data)
    model.load_state_dict(dense.trace.snapshots[step])
    return model.to(bench.device).eval()


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
    # Weights of the 2:4 pattern may run on kernels of their own.
    pattern = ["2:4"] if trial.settings.scope == "2:4" else []
    widths = architecture_signature(graph, removed)
    return content_key(["architecture", trial.dense.model.label, trial.dense.dataset.label, widths, *pattern])


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
        "cost/uncounted_modules": len(cost.unknown_modules),
    }


def _uncounted(cost: Cost) -> dict[str, Any]:
    """Names of the modules whose multiply-accumulates are not known; with some, MACs are a lower bound."""
    return {"uncounted_modules": list(cost.unknown_modules)} if cost.unknown_modules else {}


def _keep(
    bench: Bench,
    trial: Trial,
    network: PrunedNetwork,
    evaluation: Evaluation,
    dense: Dense,
    recovery: TrainingLog,
) -> int:
    """Keep the trial's network and what a person may want to look at; return the network's size in bytes."""
    file_bytes = keep_pruned(bench, trial, network.model, network.removed, dense.probe)
    files = {
        "recovery.json": json.dumps(curve(recovery), indent=1),
        "layers.csv": _layers_csv(dense, network),
        "confusion.csv": confusion_csv(evaluation.confusion, dense.data.classes),
        "confusion.svg": confusion_svg(evaluation.confusion, dense.data.classes),
    }
    for name, text in files.items():
        write_atomically(bench.folder(trial.key) / name, text)
    return file_bytes


def _keep_rounds(bench: Bench, trial: Trial, rounds: list[dict[str, float | None]]) -> None:
    assert trial.sparsity != "native"
    targets = rounds_of(trial.schedule, trial.sparsity)
    numbered = [
        {"round": number, "sparsity": target, **facts}
        for number, (target, facts) in enumerate(zip(targets, rounds, strict=True), start=1)
    ]
    write_atomically(bench.folder(trial.key) / "rounds.json", json.dumps(numbered, indent=1))


def _layers_csv(dense: Dense, network: PrunedNetwork) -> str:
    """Units and non-zero weights of each layer, before and after."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["layer", "units_dense", "units", "weights_dense", "weights_nonzero"])
    for layer in dense.graph.weight_layers:
        weight = network.model.get_submodule(layer.name).get_parameter("weight")
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
        "recovery_recipe": trial.last_training.model_dump(mode="json"),
    }


def latency_metrics(bench: Bench, trial: Trial) -> dict[str, float]:
    """Latencies of a finished trial's architecture beside its dense model's."""
    pruned = load_pruned(bench, trial)
    dense = pruned.dense
    metrics: dict[str, float] = {}
    assert trial.latency is not None
    sparse = trial.settings.scope == "2:4" and device_has_sparse_kernels(bench.device)
    for size in trial.latency.batch_sizes:
        name, example = f"latency/batch{size}", dense.probe[:1]
        found = measure_latency(dense.model, pruned.model, example, size, bench.device)
        metrics |= _timings(name, found)
        energy = measure_energy(dense.model, pruned.model, example, found, bench.device)
        if energy is not None:
            metrics |= {
                f"energy/batch{size}_mj": energy.pruned_mj,
                f"energy/batch{size}_dense_mj": energy.dense_mj,
            }
        if sparse:
            half = measure_latency(
                dense.model, pruned.model, example, size, bench.device, sparse_kernels=True
            )
            metrics |= _timings(f"latency/sparse_half/batch{size}", half)
    if trial.score.granularity == "weight":
        # Masked weights run on dense kernels; only what stands under sparse_half was measured without them.
        metrics["latency/sparse_kernels"] = float(sparse)
    return {**metrics, "latency/threads": float(bench.threads)}


def _timings(name: str, found: Latency) -> dict[str, float]:
    return {
        f"{name}_ms": found.pruned.median_ms,
        f"{name}_lower_ms": found.pruned.lower_ms,
        f"{name}_upper_ms": found.pruned.upper_ms,
        f"{name}_dense_ms": found.dense.median_ms,
        f"{name}_speedup": found.speedup,
    }
