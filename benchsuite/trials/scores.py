"""The stage that all trials of one criterion share: its scores of a dense model. "If it exists, return"."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, cast

from benchsuite.contracts.covered_imports import covered_imports
from benchsuite.contracts.layers import removable_units
from benchsuite.errors import BenchsuiteError, Unsupported, UsageError
from benchsuite.scoring.check import ScoringResult, check_data_free, of_removable_units, run_scorer
from benchsuite.scoring.context import ScoringContext
from benchsuite.scoring.sampled_network import Sampling
from benchsuite.scoring.stability import stability
from benchsuite.scoring.tables import TableStore
from benchsuite.store.keys import derived_seed
from benchsuite.store.stages import Stage, StageDamaged, content_digest, load_tensors, save_tensors
from benchsuite.trials.dense_model import DenseModel, load_dense
from benchsuite.trials.facts import SCORES, ScoreFacts
from benchsuite.trials.reported import keep_tables
from benchsuite.trials.training_trace import load_trace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from torch import Tensor, nn

    from benchsuite.contracts.layers import CoupledGroup, Layer
    from benchsuite.contracts.plugin import PluginChoice
    from benchsuite.plan.dense_task import DenseTask
    from benchsuite.plan.score_task import ScoreTask
    from benchsuite.pruning.graph import PruningGraph
    from benchsuite.pruning.settings import Restriction
    from benchsuite.scoring.scorer import Scorer
    from benchsuite.training import DeviceDataset, DeviceSplit, TrainingTrace
    from benchsuite.trials.worker_context import WorkerContext


@dataclass(frozen=True, eq=False)
class ScoredModel:
    """A dense model with one scorer's scores, at the suite's granularity.

    Attributes:
        dense: the model.
        scores: by layer.
        native: by layer, what the criterion's own rule keeps, if it was asked for.
        facts: what the scoring stage noted.
        content: what identifies the scores; see `content_digest`.
    """

    dense: DenseModel
    scores: dict[str, Tensor]
    native: dict[str, Tensor]
    facts: ScoreFacts
    content: str


def score_dense(worker: WorkerContext, task: ScoreTask) -> ScoredModel:
    """The scores of a task, from its stage if that exists; the dense model must be there."""
    dense = load_dense(worker, task.dense, at_init=task.at_init)
    scorer = create_scorer(worker, task.scorer)
    if task.granularity == "weight" and scorer.granularity == "unit":
        raise Unsupported(f"{task.scorer.label} scores whole units; it has no scores for single weights")
    graph = graph_of(task.dense, task.restriction, dense)
    if task.granularity == "unit":
        graph.require_units()
    else:
        graph.require_weights()
    trace = load_trace(worker, task.dense, task.trace) if task.trace is not None else None
    folded = dense.form.folded
    if trace is not None and folded:
        raise Unsupported(
            f"{task.scorer.label} reads what was recorded of the training, but in training "
            f"{', '.join(folded)} was computed by {', '.join(dict.fromkeys(folded.values()))}"
        )
    trace = trace and trace.changed(dense.form.state)
    facts = score_stage(worker, task, dense).get(lambda: _score(worker, task, dense, trace), worker.tell)
    return _scored(worker, task, dense, facts)


def load_scores(worker: WorkerContext, task: ScoreTask, dense: DenseModel) -> ScoredModel:
    """The scores of a task from its stage, without the scorer; the stage must be complete.

    Raises:
        StageDamaged: it is not there, or its files are not what the scoring left.
    """
    facts = score_stage(worker, task, dense).read()
    if facts is None:
        raise StageDamaged(f"{worker.folder(task.key)} holds no scores; run again")
    return _scored(worker, task, dense, facts)


def score_stage(worker: WorkerContext, task: ScoreTask, dense: DenseModel) -> Stage[ScoreFacts]:
    """The stage of a task's scores."""
    return Stage(worker.folder(task.key), ScoreFacts, [SCORES], made_from=dense.content)


def _scored(worker: WorkerContext, task: ScoreTask, dense: DenseModel, facts: ScoreFacts) -> ScoredModel:
    folder = worker.folder(task.key)
    tensors = load_tensors(folder / SCORES)
    scores = {name.removeprefix("score/"): t for name, t in tensors.items() if name.startswith("score/")}
    native = {name.removeprefix("keep/"): t for name, t in tensors.items() if name.startswith("keep/")}
    graph = graph_of(task.dense, task.restriction, dense)
    layers = graph.layers if task.granularity == "unit" else graph.weight_layers
    expected = {
        each.name: (each.units,) if task.granularity == "unit" else each.weight.shape for each in layers
    }
    for name, score in scores.items():
        if name not in expected or score.shape != expected[name] or not score.isfinite().all():
            raise StageDamaged(f"{folder / SCORES} has no scores of this network ({name[:80]!r})")
    return ScoredModel(dense, scores, native, facts, content_digest(folder) or "")


def graph_of(task: DenseTask, restriction: Restriction, dense: DenseModel) -> PruningGraph:
    """The prunable parts of a dense model of which something is scored, or may be removed.

    Raises:
        UsageError: the suite names a layer that the network does not have.
    """
    try:
        return dense.graph.restricted(restriction)
    except UsageError as error:
        raise UsageError(f"{task.model.label}: {error}") from error


def tables_folder(worker: WorkerContext, task: ScoreTask) -> Path:
    """Where the shared tables of a task's network are."""
    return worker.folder(task.dense.key) / ("tables-at-init" if task.at_init else "tables")


def create_scorer(worker: WorkerContext, choice: PluginChoice) -> Scorer:
    """An instance of a scorer."""
    return cast("Scorer", worker.create("scorer", choice))


def _score(
    worker: WorkerContext, task: ScoreTask, dense: DenseModel, trace: TrainingTrace | None
) -> ScoreFacts:
    graph = graph_of(task.dense, task.restriction, dense)
    layers = graph.layers if task.granularity == "unit" else graph.weight_layers
    store = TableStore(shared=tables_folder(worker, task))
    scorer = create_scorer(worker, task.scorer)
    worker.check_content("scorer", task.scorer, scorer.fingerprint)
    score = partial(
        score_network,
        *(worker, task, dense.data, dense.model, layers, graph.groups, store, trace),
        target=task.target,
    )
    with covered_imports("scorer", scorer):
        result = score()
        if type(scorer).data_free:
            halves = None
            if len(scored_split(task, dense.data)) > 1 and task.scoring.samples != 1:
                check_data_free(scorer, result, score(half=0))
        else:
            halves = _stability(worker, task, graph, score)
    worker.check_content("scorer", task.scorer, scorer.fingerprint)
    tensors = {f"score/{name}": score for name, score in result.scores.items()}
    tensors |= {f"keep/{name}": keep for name, keep in (result.native or {}).items()}
    folder = worker.folder(task.key)
    save_tensors(folder / SCORES, tensors)
    keep_tables(folder, result.reports.tables)
    return ScoreFacts(
        seconds=result.seconds,
        peak_memory_mb=result.peak_memory_mb,
        ties=result.ties,
        skipped=result.skipped,
        merges=result.merges,
        stability=halves,
        removable={} if task.granularity == "weight" else _partly_removable(graph),
        reported=result.reports.numbers,
    )


def _partly_removable(graph: PruningGraph) -> dict[str, tuple[int, ...]]:
    """By layer whose units cannot all be removed, those that can."""
    removable = removable_units(graph.groups)
    found = {layer.name: removable.get(layer.name, ()) for layer in graph.layers}
    return {layer.name: found[layer.name] for layer in graph.layers if len(found[layer.name]) < layer.units}


def _stability(
    worker: WorkerContext, task: ScoreTask, graph: PruningGraph, score: Callable[..., ScoringResult]
) -> float | None:
    """How stable the scores are over samples; None where a half of the samples is not enough for them.

    Of units only those count that can be removed: the others' scores decide nothing, and may all be 0.
    """
    try:
        first, second = (score(half=half).scores for half in (0, 1))
    except BenchsuiteError as reason:
        worker.tell(f"no stability of the scores, since half of the samples give none: {reason}")
        return None
    if task.granularity == "unit":
        first, second = (of_removable_units(half, graph.groups) for half in (first, second))
    return stability(first, second)


def score_network(
    worker: WorkerContext,
    task: ScoreTask,
    data: DeviceDataset,
    model: nn.Module,
    layers: Sequence[Layer],
    groups: Sequence[CoupledGroup],
    store: TableStore | None = None,
    trace: TrainingTrace | None = None,
    round_number: int = 0,
    target: float | None = None,
    half: Literal[0, 1] | None = None,
) -> ScoringResult:
    """Score the dense network or what earlier rounds have made of it, on the samples that all criteria see.

    Args:
        worker: where to work.
        task: which criterion, and how.
        data: the data set on the device.
        model: the network to score.
        layers: its layers.
        groups: their coupled groups.
        store: where shared activation tables and gradient statistics are; None shares nothing.
        trace: what training recorded, for the dense network.
        round_number: how many cuts the network has had.
        target: the share of the budget that the next cut removes from the network, where the scorer needs it.
        half: score on one half of those samples only.
    """
    scorer = create_scorer(worker, task.scorer)
    split = scored_split(task, data)
    context = ScoringContext(
        model,
        layers,
        split.inputs,
        split.labels,
        **sampling(worker, task, data, groups, half),
        draw=task.draw,
        round_number=round_number,
        target=target,
        store=store,
        reductions=scorer.reductions(),
        statistics=scorer.gradient_statistics(),
        trace=trace,
        at_init=task.at_init,
        stream=task.stream,
    )
    return run_scorer(scorer, context, native=task.native)


def scored_split(task: ScoreTask, data: DeviceDataset) -> DeviceSplit:
    """The split that scorers see.

    Raises:
        Unsupported: it is the validation split, and the data set has none.
    """
    split = data.validation if task.scoring.split == "validation" else data.train
    if len(split) == 0:
        raise Unsupported(
            f"[scoring] split is {task.scoring.split!r}, but the {task.scoring.split} split of "
            f"{task.dense.dataset.label} is empty"
        )
    return split


def sampling(
    worker: WorkerContext,
    task: ScoreTask,
    data: DeviceDataset,
    groups: Sequence[CoupledGroup],
    half: Literal[0, 1] | None,
) -> Sampling:
    """The samples that all criteria see, and how they see them."""
    return Sampling(
        groups=groups,
        normalise=scored_split(task, data).normalise,
        classes=len(data.classes),
        samples=task.scoring.count,
        half=half,
        batch_size=task.scoring.batch_size,
        seed=derived_seed("score", task.dense.dataset.label, task.dense.model.label, task.dense.seed),
        device=worker.device,
        granularity=task.granularity,
    )
