"""What metric plugins measure on the networks of a trial, each in a process of its own.

A trial's process leaves a network in a file, the plugin's process measures it and leaves an answer in text.
The answer is checked as whatever comes from a stranger's process.
"""

from __future__ import annotations

import base64
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from benchsuite.contracts.covered_imports import covered_imports
from benchsuite.errors import PluginError, Unsupported
from benchsuite.metrics.metric_context import MeasuredNetwork, MetricContext
from benchsuite.metrics.run_metric import checked_numbers, run_metric
from benchsuite.metrics.showpieces import Curve, Showpieces
from benchsuite.plan.metric_task import MeasureTask
from benchsuite.pruning.kept_units import kept_units
from benchsuite.store import metric_names
from benchsuite.store.files import StorageError, read_regular, write_atomically
from benchsuite.store.keys import derived_seed
from benchsuite.store.stages import Stage
from benchsuite.store.texts import printable
from benchsuite.trials.dense_model import load_dense
from benchsuite.trials.facts import MetricFacts
from benchsuite.trials.handing_over import hand_over, handed_over
from benchsuite.trials.shown_files import copy_shown, keep_shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from torch import nn

    from benchsuite.metrics.metric import Metric
    from benchsuite.metrics.metric_stage import Stage as When
    from benchsuite.plan.metric_task import MetricTask
    from benchsuite.plan.trial import Trial
    from benchsuite.trials.dense_model import DenseModel
    from benchsuite.trials.worker_context import WorkerContext

_NETWORK, _ANSWER = "measured.pt", "measured.json"
_LARGEST = 128 << 20
"""Bytes of an answer."""
_LONGEST = 1000
"""Bytes of a reason."""


@dataclass(frozen=True, eq=False)
class Standing:
    """A network of a trial when it is to be measured.

    Attributes:
        when: after a round, or at the end.
        round_number: how many cuts it has had.
        network: with its layers.
    """

    when: When
    round_number: int
    network: MeasuredNetwork


class _Outcome(BaseModel):
    """What a metric made of one network.

    Attributes:
        numbers: by quantity.
        tables: by name, as CSV.
        curves: by name.
        pictures: by name, PNG files in base64.
        unsupported: why there is nothing, if so.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    numbers: dict[str, float] = Field(default_factory=dict)
    tables: dict[str, str] = Field(default_factory=dict)
    curves: dict[str, Curve] = Field(default_factory=dict)
    pictures: dict[str, str] = Field(default_factory=dict)
    unsupported: str | None = None


@dataclass
class Measured:
    """What all metric plugins made of some networks of a trial.

    Attributes:
        metrics: by name in records.
        notes: for the record's provenance: under each metric's name the plugin, its quantities, and why it
            measured nothing, if so.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    notes: dict[str, dict[str, Any]] = field(default_factory=dict)


def network_to_measure(
    dense: DenseModel, model: nn.Module, removed: Mapping[str, tuple[int, ...]]
) -> MeasuredNetwork:
    """A network as metrics see it.

    Args:
        dense: the dense model.
        model: what has become of its network.
        removed: by coupled group, the removed positions.
    """
    return MeasuredNetwork(model, dense.graph.of(model).layers, kept_units(dense.graph, removed))


def measure_dense(worker: WorkerContext, trial: Trial, dense: DenseModel) -> Measured:
    """What the trial's metrics say of the dense network; measured once for all trials of it.

    It comes before a trial's long work, which a broken plugin must not waste.

    Raises:
        PluginError: a metric raised an error, or returned something invalid.
    """
    found = Measured()
    for metric in trial.metrics:
        found.notes[metric.called] = {
            "metric": metric.metric.label,
            "quantities": {name: list(quantity) for name, quantity in metric.quantities.items()},
        }
        if "dense" not in metric.stages:
            continue
        facts = _dense_facts(worker, metric, dense)
        if facts.unsupported is not None:
            found.notes[metric.called]["unsupported"] = facts.unsupported
        found.metrics |= {f"{_name(metric, name)}_dense": value for name, value in facts.numbers.items()}
    return found


def _dense_facts(worker: WorkerContext, metric: MetricTask, dense: DenseModel) -> MetricFacts:
    folder = worker.folder(metric.key)

    def make() -> MetricFacts:
        outcome = _asked(worker, MeasureTask(metric, metric.key, False, _seed(metric)))
        _keep(folder, metric.metric.name, outcome)
        return MetricFacts(numbers=outcome.numbers, unsupported=outcome.unsupported)

    facts = Stage(folder, MetricFacts, [], made_from=dense.content).get(make, worker.tell)
    # MLflow and pages look beside the dense model; another suite may have called it something else.
    copy_shown(folder, metric.metric.name, worker.folder(metric.dense.key), metric.called)
    return facts


def measure_end(worker: WorkerContext, trial: Trial, standing: Standing, of_dense: Measured) -> Measured:
    """What the trial's metrics say of its last network, with what they say of the dense one.

    Tables, curves and pictures are left in the trial's folder.

    Raises:
        PluginError: a metric raised an error, or returned something invalid.
    """
    found = Measured(dict(of_dense.metrics), {name: dict(note) for name, note in of_dense.notes.items()})
    for metric in trial.metrics:
        if {"round", "end"}.intersection(metric.stages):
            outcome = _measured(worker, trial, metric, standing)
            if outcome.unsupported is not None:
                found.notes[metric.called]["unsupported"] = outcome.unsupported
            found.metrics |= {_name(metric, name): value for name, value in outcome.numbers.items()}
            _keep(worker.folder(trial.key), metric.called, outcome)
    return found


def measure_after_round(worker: WorkerContext, trial: Trial, standing: Standing) -> Measured:
    """What those metrics that are measured after each round say of a network; notes say which cannot."""
    found = Measured()
    for metric in trial.metrics:
        if "round" in metric.stages:
            outcome = _measured(worker, trial, metric, standing)
            if outcome.unsupported is not None:
                found.notes[metric.called] = {"unsupported": outcome.unsupported}
            found.metrics |= {_name(metric, name): value for name, value in outcome.numbers.items()}
    return found


def after_each_round(trial: Trial) -> tuple[str, ...]:
    """What the names of those metrics begin with that are measured after each round."""
    return tuple(_name(metric, "") for metric in trial.metrics if "round" in metric.stages)


def _measured(worker: WorkerContext, trial: Trial, metric: MetricTask, standing: Standing) -> _Outcome:
    path = worker.folder(trial.key) / _NETWORK
    try:
        hand_over(path, standing)
        return _asked(worker, MeasureTask(metric, trial.key, True, _seed(metric)))
    finally:
        path.unlink(missing_ok=True)


def answer_measurement(worker: WorkerContext, task: MeasureTask) -> None:
    """Measure what a trial has left, or its dense network, and leave the answer there."""
    dense = load_dense(worker, task.metric.dense)
    whole = network_to_measure(dense, dense.model, {})
    folder = worker.folder(task.folder)
    standing = Standing("dense", 0, whole)
    if task.handed_over:
        standing = handed_over(folder / _NETWORK, worker.device)
    choice = task.metric.metric
    metric = cast("Metric", worker.create("metric", choice))
    worker.check_content("metric", choice, metric.fingerprint)
    context = MetricContext(
        standing.when,
        standing.network,
        whole,
        dense.data,
        worker.device,
        round_number=standing.round_number,
        seed=task.seed,
    )
    try:
        with covered_imports("metric", metric):
            numbers = run_metric(metric, context)
        shown = context.shown
        outcome = _Outcome(
            numbers=numbers,
            tables=shown.tables,
            curves=shown.curves,
            pictures={name: base64.b64encode(content).decode() for name, content in shown.pictures.items()},
        )
    except Unsupported as reason:
        outcome = _Outcome(unsupported=printable(str(reason), _LONGEST))
    worker.check_content("metric", choice, metric.fingerprint)
    write_atomically(folder / _ANSWER, outcome.model_dump_json())


def _asked(worker: WorkerContext, task: MeasureTask) -> _Outcome:
    """The answer to a task, checked."""
    path = worker.folder(task.folder) / _ANSWER
    called = f"metric {task.metric.called}"
    try:
        if worker.apart is None:
            answer_measurement(worker, task)
        else:
            worker.apart(task)
        outcome = _Outcome.model_validate_json(read_regular(path, _LARGEST))
    except (ValidationError, OSError) as error:
        if isinstance(error, StorageError):
            raise
        raise PluginError(f"{called}: its process left no usable answer") from error
    finally:
        _drop(path)
    checked_numbers(outcome.numbers, task.metric.quantities, called)
    if outcome.unsupported is not None:
        return _Outcome(unsupported=printable(outcome.unsupported, _LONGEST))
    return outcome


def _drop(path: Path) -> None:
    """Delete what a process left as its answer, whatever it is."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _keep(folder: Path, called: str, outcome: _Outcome) -> None:
    """Leave the tables, curves and pictures of an outcome in a stage's folder."""
    shown = Showpieces()
    for name, table in outcome.tables.items():
        shown.add_csv(name, table)
    for name, curve in outcome.curves.items():
        shown.add_curve(name, curve.x, _with_gaps(curve), curve.axes)
    for name, content in outcome.pictures.items():
        try:
            picture = base64.b64decode(content)
        except ValueError as error:
            raise PluginError(f"metric {called}: its process left no usable answer") from error
        shown.add_picture(name, picture)
    keep_shown(folder, called, shown)


def _with_gaps(curve: Curve) -> Mapping[str, Sequence[float]]:
    nothing = float("nan")
    return {name: [nothing if each is None else each for each in line] for name, line in curve.y.items()}


def _name(metric: MetricTask, quantity: str) -> str:
    return metric_names.measured(metric.called, quantity)


def _seed(metric: MetricTask) -> int:
    """The same for all criteria, and for the networks of all their trials."""
    dense = metric.dense
    return derived_seed("metric", dense.dataset.label, dense.model.label, dense.seed)
