"""The finished trials of one way of pruning at one sparsity, over seeds and draws."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from benchsuite.store import metric_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchsuite.store.record import TrialRecord

_CONTROLS = ("random", "reversed", "shuffled", "scratch")


@dataclass(frozen=True)
class Cell:
    """The finished trials of one criterion at one sparsity with one choice of settings."""

    trials: tuple[TrialRecord, ...]

    def mean(self, metric: str) -> float:
        """The mean over trials."""
        return fmean(trial.metrics[metric] for trial in self.trials)

    @property
    def scorer(self) -> str:
        """The criterion's label."""
        return str(self.first.axes["scorer"])

    @property
    def is_control(self) -> bool:
        """Whether it is no criterion but what one has to beat."""
        return self.scorer.partition("(")[0] in _CONTROLS

    @property
    def seeds(self) -> frozenset[object]:
        """The seeds that have a result."""
        return frozenset(trial.axes["seed"] for trial in self.trials)

    @property
    def loss(self) -> float:
        """How much accuracy is lost compared with the dense models of the same seeds."""
        return self.mean(metric_names.TOP1_DENSE) - self.mean(metric_names.TOP1)

    @property
    def size(self) -> tuple[float, float, float]:
        """By what the smaller of two is found: MACs, parameters, and accuracy where these are equal."""
        return (
            self.mean(metric_names.MACS),
            self.mean(metric_names.PARAMS_NONZERO),
            -self.mean(metric_names.TOP1),
        )

    @property
    def first(self) -> TrialRecord:
        """The trial of the first seed and draw."""
        return min(self.trials, key=lambda trial: (trial.axes["seed"], trial.axes.get("draw", 0)))


def by_workload(records: Iterable[TrialRecord], needed: frozenset[str]) -> list[list[TrialRecord]]:
    """The finished trials with the needed metrics, grouped by data set and model."""
    found: dict[tuple[str, str], list[TrialRecord]] = defaultdict(list)
    for record in records:
        axes = record.axes
        if record.status == "done" and record.metrics.keys() >= needed and axes.keys() >= _IDENTITY:
            found[str(axes["dataset"]), str(axes["model"])].append(record)
    return list(found.values())


_IDENTITY = frozenset({"dataset", "model", "seed", "scorer"})


def complete_cells(trials: Sequence[TrialRecord]) -> list[Cell]:
    """The cells of one data set and model that have a result for every seed, controls included."""
    found: dict[str, list[TrialRecord]] = defaultdict(list)
    for trial in trials:
        way = {n: v for n, v in trial.axes.items() if n not in ("dataset", "model", "seed", "draw")}
        found[json.dumps(way, sort_keys=True)].append(trial)
    seeds = {trial.axes["seed"] for trial in trials}
    return [cell for cell in (Cell(tuple(group)) for group in found.values()) if cell.seeds == seeds]
