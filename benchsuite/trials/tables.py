"""What the criteria of one dense model share: activation tables and gradient statistics, filled by the host.

No scorer of a stranger is loaded where this runs, so that none can change what the others read. What a scorer
asks for beyond what is announced here, it computes for itself.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from benchsuite.errors import BenchsuiteError, Unsupported
from benchsuite.hardware import devices
from benchsuite.hardware.kernels import trusted_gradients
from benchsuite.scoring.gradients import find_statistic
from benchsuite.scoring.reductions import find_reduction
from benchsuite.scoring.sampled_network import SampledNetwork
from benchsuite.scoring.shared import SharedPasses
from benchsuite.scoring.tables import TableStore
from benchsuite.store.stages import StageDamaged
from benchsuite.trials.dense_model import load_dense
from benchsuite.trials.scores import create_scorer, sampling, score_stage, scored_split, tables_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchsuite.plan.score_task import ScoreTask
    from benchsuite.scoring.scorer import Scorer
    from benchsuite.trials.dense_model import DenseModel
    from benchsuite.trials.worker_context import WorkerContext


def fill_tables(worker: WorkerContext, tasks: Sequence[ScoreTask]) -> None:
    """Fill the tables and statistics that several scorings of one dense model announce.

    Announcements count of scorers that are loaded here. Tables are filled for all samples and, for the
    stability of the scores, for both halves of them.

    Args:
        worker: where to work.
        tasks: of one dense model; those whose scores are there already need nothing.
    """
    for _, group in groupby(sorted(tasks, key=_network), key=_network):
        alike = list(group)
        dense = load_dense(worker, alike[0].dense, at_init=alike[0].at_init)
        scorers = [scorer for task in alike for scorer in _announcing(worker, task, dense)]
        if scorers:
            _fill(worker, alike[0], dense, scorers)


def _network(task: ScoreTask) -> tuple[bool, str]:
    """What tasks that read the same tables have in common."""
    return task.at_init, task.granularity


def _announcing(worker: WorkerContext, task: ScoreTask, dense: DenseModel) -> list[Scorer]:
    """The task's scorer, where it is loaded here, announces something, and has its scores still to come."""
    try:
        if score_stage(worker, task, dense).read() is not None:
            return []
    except StageDamaged:
        worker.tell(f"the scores of {task.scorer.label} are damaged")
    try:
        scorer = create_scorer(worker, task.scorer)
    except BenchsuiteError:
        return []  # a stranger's, or one whose own job will say what is wrong
    return [scorer] if [*scorer.reductions(), *scorer.gradient_statistics()] else []


def _fill(worker: WorkerContext, task: ScoreTask, dense: DenseModel, scorers: Sequence[Scorer]) -> None:
    graph = dense.graph
    try:
        split = scored_split(task, dense.data)
        if task.granularity == "unit":
            graph.require_units()
    except Unsupported:
        return  # no criterion will score it
    layers = graph.layers if task.granularity == "unit" else graph.weight_layers
    store = TableStore(tables_folder(worker, task))
    with devices.exact_float32(), trusted_gradients(dense.model, worker.device):
        for half in (None, 0, 1):
            network = SampledNetwork(
                dense.model,
                layers,
                split.inputs,
                split.labels,
                **sampling(worker, task, dense.data, graph.groups, half),
            )
            SharedPasses(
                network,
                store,
                [find_reduction(each) for scorer in scorers for each in scorer.reductions()],
                [find_statistic(each) for scorer in scorers for each in scorer.gradient_statistics()],
            ).fill(worker.tell)
