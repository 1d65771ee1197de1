"""The stage that all trials of one criterion share: its scores of a dense model. "If it exists, return"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchsuite import stages
from benchsuite.dense import Bench, Dense, load_dense
from benchsuite.errors import Unsupported
from benchsuite.keys import derived_seed
from benchsuite.scoring.check import ScoringResult, run_scorer
from benchsuite.scoring.context import ScoringContext
from benchsuite.scoring.tables import TableStore

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor, nn

    from benchsuite.layers import CoupledGroup, Layer
    from benchsuite.tasks import ScoreTask
    from benchsuite.training import TrainingTrace


@dataclass(frozen=True, eq=False)
class Scored:
    """A dense model with one scorer's scores, at the suite's granularity.

    Attributes:
        dense: the model.
        scores: by layer.
        native: by layer, what the criterion's own rule keeps, if it was asked for.
        facts: what the scoring stage noted.
    """

    dense: Dense
    scores: dict[str, Tensor]
    native: dict[str, Tensor]
    facts: dict[str, Any]


def score_dense(bench: Bench, task: ScoreTask) -> Scored:
    """The scores of a task, from its stage if that exists; the dense model must be there."""
    dense = load_dense(bench, task.dense, at_init=task.at_init)
    scorer = task.scorer.scorer(bench.registry)
    if task.granularity == "weight" and scorer.granularity == "unit":
        raise Unsupported(f"{task.scorer.label} scores whole units; it has no scores for single weights")
    folder = bench.folder(task.key)
    with stages.stage(folder) as facts:
        if facts is None:
            facts = _score(bench, task, dense, folder)
    tensors = stages.load_tensors(folder / "scores.safetensors")
    scores = {name.removeprefix("score/"): t for name, t in tensors.items() if name.startswith("score/")}
    native = {name.removeprefix("keep/"): t for name, t in tensors.items() if name.startswith("keep/")}
    return Scored(dense, scores, native, facts)


def _score(bench: Bench, task: ScoreTask, dense: Dense, folder: Path) -> dict[str, Any]:
    layers = dense.graph.layers if task.granularity == "unit" else dense.graph.weight_layers
    store = TableStore(bench.folder(task.dense.key) / ("tables-at-init" if task.at_init else "tables"))
    result = score_network(bench, task, dense, dense.model, layers, dense.graph.groups, store, dense.trace)
    tensors = {f"score/{name}": score for name, score in result.scores.items()}
    tensors |= {f"keep/{name}": keep for name, keep in (result.native or {}).items()}
    stages.save_tensors(folder / "scores.safetensors", tensors)
    facts = {
        "seconds": result.seconds,
        "peak_memory_mb": result.peak_memory_mb,
        "ties": result.ties,
        "skipped": result.skipped,
        "merges": result.merges,
    }
    stages.complete(folder, facts)
    return facts


def score_network(
    bench: Bench,
    task: ScoreTask,
    dense: Dense,
    model: nn.Module,
    layers: Sequence[Layer],
    groups: Sequence[CoupledGroup],
    store: TableStore | None = None,
    trace: TrainingTrace | None = None,
) -> ScoringResult:
    """Score the dense network or what earlier rounds have made of it, on the samples that all criteria see.

    Args:
        bench: where to work.
        task: which criterion, and how.
        dense: the dense network's data.
        model: the network to score.
        layers: its layers.
        groups: how they hang together.
        store: where activation tables and gradient statistics are shared; None shares nothing.
        trace: what training recorded, for the dense network.
    """
    split = dense.data.train
    # What the suite's other scorers will ask for is worth computing only where they will find it.
    asking = [task.scorer] if store is None else bench.workplace.scorers
    scorers = [ref.scorer(bench.registry) for ref in asking]
    seed = derived_seed("score", task.dense.dataset.label, task.dense.model.label, task.dense.seed)
    context = ScoringContext(
        model,
        layers,
        split.inputs,
        split.labels,
        groups=groups,
        normalise=split.normalise,
        classes=len(dense.data.classes),
        samples=task.scoring.samples,
        batch_size=task.scoring.batch_size,
        seed=seed,
        draw=task.draw,
        device=bench.device,
        granularity=task.granularity,
        store=store,
        reductions=[reduction for scorer in scorers for reduction in scorer.reductions()],
        statistics=[statistic for scorer in scorers for statistic in scorer.gradient_statistics()],
        trace=trace,
    )
    return run_scorer(task.scorer.scorer(bench.registry), context, native=task.native)
