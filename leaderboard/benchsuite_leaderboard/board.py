"""Trials, and the boards on which they are compared."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from benchsuite.pruning.targets import holds_masks
from benchsuite.store import metric_names
from benchsuite_leaderboard.protocol import Protocol, Sparsity, sparsity_order

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchsuite.store.record import Status, TrialRecord

AFTER = metric_names.TOP1
BEFORE = metric_names.TOP1_BEFORE_RECOVERY
RECALIBRATED = metric_names.TOP1_RECALIBRATED
DENSE = metric_names.TOP1_DENSE
ACCURACIES = (AFTER, BEFORE, RECALIBRATED)

RANDOM = "random"
LATENCY = "latency"
"""A measured time as a cost, with one CPU thread."""

_ENDLESS = 1e60
"""Larger metrics are left out: the fourth power of a sum of such is still a number."""


class Workload(NamedTuple):
    """A data set and a model."""

    dataset: str
    model: str


class DenseModel(NamedTuple):
    """One trained, unpruned network, which all trials of a comparison prune."""

    workload: Workload
    seed: str


class Block(NamedTuple):
    """What criteria are compared on: the same dense network, pruned by the same amount."""

    dense_model: DenseModel
    sparsity: Sparsity


@dataclass(frozen=True)
class Criterion:
    """A row of a table.

    Attributes:
        label: the scorer's name, with its parameters if a run has several settings of it.
        scorer: the scorer's name.
        wrapper: "reversed", "shuffled" or "scratch" for a control made of another criterion.
        inner: label of the criterion that a control was made of.
    """

    label: str
    scorer: str
    wrapper: str | None = None
    inner: str | None = None

    @property
    def is_control(self) -> bool:
        """Whether it is a control that criteria have to beat, and not a competitor."""
        return self.wrapper is not None or self.scorer == RANDOM


@dataclass(frozen=True)
class BoardTrial:
    """One record with its axes in validated types."""

    record: TrialRecord
    criterion: Criterion
    block: Block
    draw: str

    @property
    def status(self) -> Status:
        """How the trial ended."""
        return self.record.status

    def metric(self, name: str) -> float | None:
        """A metric of a finished trial; None if it is not finite, or so large that sums of it are not."""
        return self.of_metrics(self.record.metrics, name)

    def of_metrics(self, metrics: Mapping[str, float], name: str) -> float | None:
        """The same of its network after a round, whose metrics are given."""
        value = metrics.get(name)
        if self.status != "done" or isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return float(value) if abs(value) < _ENDLESS else None

    def remaining(self, cost: str) -> float | None:
        """What is left of the dense network's "macs", "params" or one of the `times`, as a fraction.

        Masked weights count as removed, though they still cost time on dense kernels.
        """
        if cost.startswith(LATENCY):
            speedup = self.metric(metric_names.latency(1, threads_of(cost), "speedup"))
            return 1 / speedup if speedup else None
        masked = holds_masks(self.record.axes.get("granularity"))
        kept = f"{cost}_nonzero" if masked else cost
        left, dense = self.metric(metric_names.cost(kept)), self.metric(metric_names.cost(cost, "dense"))
        return left / dense if left is not None and dense else None


@dataclass(frozen=True)
class Board:
    """The trials of one protocol."""

    protocol: Protocol
    trials: tuple[BoardTrial, ...]

    @cached_property
    def criteria(self) -> tuple[Criterion, ...]:
        """Criteria by name, controls last."""
        return tuple(sorted({t.criterion for t in self.trials}, key=lambda c: (c.is_control, c.label)))

    @cached_property
    def by_criterion(self) -> dict[Criterion, tuple[BoardTrial, ...]]:
        """The trials of each criterion."""
        grouped: dict[Criterion, list[BoardTrial]] = defaultdict(list)
        for trial in self.trials:
            grouped[trial.criterion].append(trial)
        return {criterion: tuple(grouped[criterion]) for criterion in self.criteria}

    def of_criterion(self, criterion: Criterion, workload: Workload | None = None) -> Sequence[BoardTrial]:
        """The trials of a criterion, on one workload or on all."""
        if workload is None:
            return self.by_criterion[criterion]
        return self._by_both.get((criterion, workload), ())

    @cached_property
    def _by_both(self) -> dict[tuple[Criterion, Workload], list[BoardTrial]]:
        grouped: dict[tuple[Criterion, Workload], list[BoardTrial]] = defaultdict(list)
        for trial in self.trials:
            grouped[trial.criterion, trial.block.dense_model.workload].append(trial)
        return grouped

    @cached_property
    def by_workload(self) -> dict[Workload, tuple[BoardTrial, ...]]:
        """The trials of each workload."""
        grouped: dict[Workload, list[BoardTrial]] = defaultdict(list)
        for trial in self.trials:
            grouped[trial.block.dense_model.workload].append(trial)
        return {workload: tuple(grouped[workload]) for workload in self.workloads}

    @cached_property
    def workloads(self) -> tuple[Workload, ...]:
        """Data sets and models by name."""
        return tuple(sorted({t.block.dense_model.workload for t in self.trials}))

    @cached_property
    def dense_models(self) -> tuple[DenseModel, ...]:
        """Dense networks by workload and seed."""
        return tuple(sorted({t.block.dense_model for t in self.trials}))

    @cached_property
    def sparsities(self) -> tuple[Sparsity, ...]:
        """Requested fractions in order, then words."""
        return tuple(sorted({t.block.sparsity for t in self.trials}, key=sparsity_order))

    @cached_property
    def seeds(self) -> tuple[str, ...]:
        """Seeds in numerical order."""
        return tuple(sorted({d.seed for d in self.dense_models}, key=lambda s: (len(s), s)))

    @cached_property
    def metrics(self) -> frozenset[str]:
        """The names of all metrics that some trial has."""
        return frozenset(name for trial in self.trials for name in trial.record.metrics)

    @cached_property
    def times(self) -> tuple[str, ...]:
        """The costs that are measured times: "latency" with one CPU thread, "latency-4" with four."""
        found = (re.fullmatch(r"latency/batch1(?:_threads(\d+))?_speedup", name) for name in self.metrics)
        threads = sorted({int(match[1] or 1) for match in found if match is not None})
        return tuple(LATENCY if count == 1 else f"{LATENCY}-{count}" for count in threads)

    def values(self, metric: str) -> dict[Criterion, dict[Block, float]]:
        """One value per criterion and block: the mean over the draws that have an outcome.

        The accuracy of a collapsed network, which lost a whole layer and so its input, is that of chance.
        """
        measured = self._measured(metric)
        values: dict[Criterion, dict[Block, float]] = {}
        for criterion, trials in self.by_criterion.items():
            drawn: dict[Block, list[float]] = defaultdict(list)
            for trial in trials:
                value = trial.metric(metric)
                if trial.status == "collapsed" and (pair := trial.block.dense_model.workload) in measured:
                    value = self.chances.get(pair, 0.0)
                if value is not None:
                    drawn[trial.block].append(value)
            values[criterion] = {block: math.fsum(found) / len(found) for block, found in drawn.items()}
        return values

    @cached_property
    def asked(self) -> frozenset[Block]:
        """Every dense network with every amount at which some criterion was to prune it."""
        return frozenset(trial.block for trial in self.trials)

    @cached_property
    def chances(self) -> dict[Workload, float]:
        """Accuracy of a network that knows nothing, one class of all, where the records list the classes."""
        found: dict[Workload, float] = {}
        for trial in self.trials:
            pair = trial.block.dense_model.workload
            if pair not in found:
                classes = sum(str(name).startswith(metric_names.CLASS) for name in trial.record.metrics)
                if classes:
                    found[pair] = 1 / classes
        return found

    def _measured(self, metric: str) -> frozenset[Workload]:
        """The workloads whose networks have an accuracy of this kind, so that a collapsed one has it too."""
        if metric == AFTER:
            return frozenset(self.workloads)
        if metric not in ACCURACIES:
            return frozenset()
        return frozenset(t.block.dense_model.workload for t in self.trials if t.metric(metric) is not None)

    def dense_accuracy(self, workload: Workload) -> dict[DenseModel, float]:
        """The unpruned network's accuracy, one value per seed."""
        return self._dense_accuracies[workload]

    @cached_property
    def _dense_accuracies(self) -> dict[Workload, dict[DenseModel, float]]:
        return {workload: self._dense_accuracy(workload) for workload in self.workloads}

    def _dense_accuracy(self, workload: Workload) -> dict[DenseModel, float]:
        found: dict[DenseModel, list[float]] = defaultdict(list)
        for trial in self.by_workload[workload]:
            value = trial.metric(DENSE)
            if value is not None:
                found[trial.block.dense_model].append(value)
        return {dense: math.fsum(values) / len(values) for dense, values in sorted(found.items())}

    def uncertain_costs(self, workload: Workload, cost: str) -> frozenset[tuple[Criterion, Sparsity]]:
        """Cells whose cost is less certain than it looks.

        MACs are where operations without a formula were executed, a latency where the interval of the speedup
        is wider than it should be.
        """
        if cost == "params":
            return frozenset()
        name = metric_names.UNCOUNTED_MODULES
        if cost.startswith(LATENCY):
            name = metric_names.latency(1, threads_of(cost), "speedup_wide")
        return frozenset(
            (trial.criterion, trial.block.sparsity)
            for trial in self.by_workload[workload]
            if trial.metric(name)
        )

    def uncounted(self, workload: Workload) -> tuple[str, ...]:
        """What multiplies in networks of this workload, maybe, and has no formula."""
        found = [t.record.provenance.get("uncounted_modules") for t in self.by_workload[workload]]
        return tuple(sorted({str(name) for names in found if isinstance(names, list) for name in names}))

    def remaining_cost(
        self, workload: Workload | None, cost: str
    ) -> Mapping[tuple[Criterion, Sparsity], float]:
        """What is left of a dense network's cost, as a mean over finished trials.

        Args:
            workload: the workload, or None for the mean over all trials of the board.
            cost: "macs", "params", or one of `times` (the inverse of the speedup measured at batch size 1).
        """
        if cost not in self._remaining:
            self._remaining[cost] = self._find_remaining(cost)
        return self._remaining[cost].get(workload, {})

    @cached_property
    def _remaining(self) -> dict[str, Mapping[Workload | None, dict[tuple[Criterion, Sparsity], float]]]:
        """The means by cost, filled at first use."""
        return {}

    def _find_remaining(self, cost: str) -> Mapping[Workload | None, dict[tuple[Criterion, Sparsity], float]]:
        found: dict[Workload | None, dict[tuple[Criterion, Sparsity], list[float]]] = defaultdict(
            lambda: defaultdict(list)
        )
        for trial in self.trials:
            if (left := trial.remaining(cost)) is not None:
                cell = (trial.criterion, trial.block.sparsity)
                found[None][cell].append(left)
                found[trial.block.dense_model.workload][cell].append(left)
        return {
            workload: {cell: math.fsum(values) / len(values) for cell, values in cells.items()}
            for workload, cells in found.items()
        }


def threads_of(cost: str) -> int:
    """With how many CPU threads a measured time was measured."""
    return int(cost.partition("-")[2] or 1)
