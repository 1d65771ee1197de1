"""What metric plugins measure on the networks of a trial, each in a process of its own.

A trial's process leaves networks in a file, the plugin's process measures them and leaves an answer in text.
The answer is checked as whatever comes from a stranger's process.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from benchsuite.contracts.covered_imports import covered_imports
from benchsuite.errors import PluginError, Unsupported
from benchsuite.metrics.metric_context import MeasuredNetwork, MetricContext
from benchsuite.metrics.run_metric import checked_numbers, run_metric
from benchsuite.metrics.showpieces import Curve, Showpieces
from benchsuite.plan.metric_task import MeasureTask
from benchsuite.pruning.kept_units import kept_units
from benchsuite.store import metric_names
from benchsuite.store.files import read_regular, write_atomically
from benchsuite.store.keys import derived_seed
from benchsuite.store.stages import Stage
from benchsuite.store.texts import printable
from benchsuite.trials.dense_model import load_dense
from benchsuite.trials.facts import MetricFacts
from benchsuite.trials.handing_over import hand_over, handed_over
from benchsuite.trials.shown_files import keep_shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import nn

    from benchsuite.metrics.metric import Metric
    from benchsuite.metrics.metric_stage import Stage as When
    from benchsuite.plan.metric_task import MetricTask
    from benchsuite.plan.trial import Trial
    from benchsuite.trials.dense_model import DenseModel
    from benchsuite.trials.worker_context import WorkerContext

_NETWORKS, _ANSWER = "measured.pt", "measured.json"
_LARGEST = 128 << 20
"""Bytes of an answer."""


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


_OUTCOMES = TypeAdapter(list[_Outcome])


@dataclass
class Measured:
    """What all metric plugins made of a trial.

    Attributes:
        metrics: of the trial's last network and of the dense one, by name in records.
        rounds: of each round but the last, by its number of cuts: the same.
        notes: for the record's provenance: under each metric's name the plugin, its quantities, and why it
            measured nothing, if so.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    rounds: dict[int, dict[str, float]] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)


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
        note = found.notes[metric.called] = {
            "metric": metric.metric.label,
            "quantities": {name: list(quantity) for name, quantity in metric.quantities.items()},
        }
        if "dense" not in metric.stages:
            continue
        facts = _dense_facts(worker, metric, dense)
        if facts.unsupported is not None:
            note["unsupported"] = facts.unsupported
        found.metrics |= {
            f"{_name(metric, quantity)}_dense": value for quantity, value in facts.numbers.items()
        }
    return found


def _dense_facts(worker: WorkerContext, metric: MetricTask, dense: DenseModel) -> MetricFacts:
    folder = worker.folder(metric.key)

    def make() -> MetricFacts:
        (outcome,) = _asked(worker, MeasureTask(metric, metric.key, False, _seed(metric)))
        _keep(worker, metric.key, metric.called, outcome)
        # Beside the dense model, too, where MLflow and pages look.
        _keep(worker, metric.dense.key, metric.called, outcome)
        return MetricFacts(numbers=outcome.numbers, unsupported=outcome.unsupported)

    return Stage(folder, MetricFacts, [], made_from=dense.content).get(make, worker.tell)


def measure_trial(
    worker: WorkerContext, trial: Trial, standing: Sequence[Standing], found: Measured
) -> Measured:
    """The same with what the metrics say of a trial's networks.

    Args:
        worker: where to work.
        trial: whose networks these are.
        standing: the networks.
        found: what they say of the dense one.

    Raises:
        PluginError: a metric raised an error, or returned something invalid.
    """
    for metric in trial.metrics:
        chosen = [each for each in standing if each.when in metric.stages]
        if not chosen:
            continue
        path = worker.folder(trial.key) / _NETWORKS
        try:
            hand_over(path, chosen)
            outcomes = _asked(worker, MeasureTask(metric, trial.key, True, _seed(metric)))
        finally:
            path.unlink(missing_ok=True)
        if len(outcomes) != len(chosen):
            raise PluginError(f"metric {metric.called}: its process measured another number of networks")
        for each, outcome in zip(chosen, outcomes, strict=True):
            if outcome.unsupported is not None:
                found.notes[metric.called]["unsupported"] = outcome.unsupported
            numbers = {_name(metric, quantity): value for quantity, value in outcome.numbers.items()}
            if each.when == "end":
                found.metrics |= numbers
                _keep(worker, trial.key, metric.called, outcome)
            else:
                found.rounds.setdefault(each.round_number, {}).update(numbers)
    return found


def answer_measurement(worker: WorkerContext, task: MeasureTask) -> None:
    """Measure what a trial has left, or its dense network, and leave the answer there."""
    dense = load_dense(worker, task.metric.dense)
    whole = network_to_measure(dense, dense.model, {})
    standing = [Standing("dense", 0, whole)]
    folder = worker.folder(task.folder)
    if task.handed_over:
        standing = handed_over(folder / _NETWORKS, worker.device)
    metric = cast("Metric", worker.create("metric", task.metric.metric))
    outcomes = []
    with covered_imports("metric", metric):
        for each in standing:
            context = MetricContext(
                each.when,
                each.network,
                whole,
                dense.data,
                worker.device,
                round_number=each.round_number,
                seed=task.seed,
            )
            try:
                numbers = run_metric(metric, context)
            except Unsupported as reason:
                outcomes.append(_Outcome(unsupported=printable(str(reason), 1000)))
                continue
            shown = context.shown
            outcomes.append(
                _Outcome(
                    numbers=numbers,
                    tables=shown.tables,
                    curves=shown.curves,
                    pictures={n: base64.b64encode(content).decode() for n, content in shown.pictures.items()},
                )
            )
    write_atomically(folder / _ANSWER, _OUTCOMES.dump_json(outcomes))


def _asked(worker: WorkerContext, task: MeasureTask) -> list[_Outcome]:
    """The answer to a task, checked."""
    path = worker.folder(task.folder) / _ANSWER
    called = f"metric {task.metric.called}"
    try:
        if worker.apart is None:
            answer_measurement(worker, task)
        else:
            worker.apart(task)
        outcomes = _OUTCOMES.validate_json(read_regular(path, _LARGEST))
    except (ValidationError, FileNotFoundError) as error:
        raise PluginError(f"{called}: its process left no usable answer") from error
    finally:
        path.unlink(missing_ok=True)
    for outcome in outcomes:
        checked_numbers(outcome.numbers, task.metric.quantities, called)
    return outcomes


def _keep(worker: WorkerContext, key: str, called: str, outcome: _Outcome) -> None:
    """Leave the tables, curves and pictures of an outcome in a stage's folder."""
    shown = Showpieces()
    for name, table in outcome.tables.items():
        shown.add_csv(name, table)
    for name, curve in outcome.curves.items():
        shown.add_curve(name, curve.x, _with_gaps(curve), curve.axes)
    for name, content in outcome.pictures.items():
        shown.add_picture(name, base64.b64decode(content))
    keep_shown(worker.folder(key), called, shown)


def _with_gaps(curve: Curve) -> Mapping[str, Sequence[float]]:
    nothing = float("nan")
    return {name: [nothing if each is None else each for each in line] for name, line in curve.y.items()}


def _name(metric: MetricTask, quantity: str) -> str:
    return metric_names.measured(metric.called, quantity)


def _seed(metric: MetricTask) -> int:
    """The same for all criteria, and for the networks of all their trials."""
    dense = metric.dense
    return derived_seed("metric", dense.dataset.label, dense.model.label, dense.seed)
