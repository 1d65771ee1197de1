"""Which networks of a run become logged models: per data set and model, the dense one and a pruned one."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Literal

from benchsuite.store import metric_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchsuite.store.record import TrialRecord

TOLERANCE = 0.01
"""How much test accuracy, as a fraction, the pruned network's criterion may lose on average over seeds."""

_NEEDED = {metric_names.TOP1, metric_names.TOP1_DENSE, metric_names.MACS, metric_names.PARAMS_NONZERO}
_CONTROLS = ("random", "reversed", "shuffled", "scratch")


@dataclass(frozen=True)
class ChosenModel:
    """A network to log.

    Attributes:
        kind: the dense model, or the pruned model of a trial.
        record: the trial; for the dense model any trial that prunes it.
        reason: how it was chosen, in words.
    """

    kind: Literal["dense", "pruned"]
    record: TrialRecord
    reason: str

    @property
    def key(self) -> str:
        """Content key of the network: of its training, or of the trial."""
        return self.record.stages["train"] if self.kind == "dense" else self.record.key

    @property
    def name(self) -> str:
        """The model's name in MLflow, with the characters replaced that MLflow refuses."""
        axes = self.record.axes
        text = f"{axes.get('model')} on {axes.get('dataset')}, " + (
            "dense" if self.kind == "dense" else "best pruned"
        )
        return "".join("-" if sign in "/:.%\"'" else sign for sign in text)[:200]


@dataclass(frozen=True)
class _Cell:
    """The finished trials of one way of pruning, over seeds and draws."""

    trials: tuple[TrialRecord, ...]

    def mean(self, metric: str) -> float:
        return fmean(trial.metrics[metric] for trial in self.trials)

    @property
    def seeds(self) -> frozenset[object]:
        return frozenset(trial.axes["seed"] for trial in self.trials)

    @property
    def loss(self) -> float:
        """How much accuracy is lost compared with the dense models of the same seeds."""
        return self.mean(metric_names.TOP1_DENSE) - self.mean(metric_names.TOP1)

    @property
    def size(self) -> tuple[float, float, float]:
        return (
            self.mean(metric_names.MACS),
            self.mean(metric_names.PARAMS_NONZERO),
            -self.mean(metric_names.TOP1),
        )

    @property
    def first(self) -> TrialRecord:
        return min(self.trials, key=lambda trial: (trial.axes["seed"], trial.axes.get("draw", 0)))


def chosen_models(records: Iterable[TrialRecord]) -> list[ChosenModel]:
    """For each data set and model, the first seed's dense model and one pruned network.

    The pruned one has the criterion, sparsity and schedule with the fewest MACs among those whose mean
    accuracy over all seeds is within `TOLERANCE` of the dense models', or the most accurate one if there are
    none. Controls, and those without a result for some seed, are not considered. The trial of the first seed
    is taken.
    """
    workloads: dict[tuple[str, str], list[TrialRecord]] = defaultdict(list)
    for record in records:
        if record.status == "done" and "train" in record.stages and record.metrics.keys() >= _NEEDED:
            workloads[str(record.axes["dataset"]), str(record.axes["model"])].append(record)
    chosen = []
    for trials in workloads.values():
        first = min(trials, key=lambda trial: trial.axes["seed"])
        seed = first.axes["seed"]
        chosen.append(ChosenModel("dense", first, f"The dense model of the first seed, {seed}."))
        cells = _cells(trials)
        if cells:
            chosen.append(_best(cells))
    return chosen


def _cells(trials: Sequence[TrialRecord]) -> list[_Cell]:
    """Ways of pruning that have a result for every seed, without controls."""
    found: dict[str, list[TrialRecord]] = defaultdict(list)
    for trial in trials:
        if str(trial.axes["scorer"]).partition("(")[0] not in _CONTROLS:
            way = {n: v for n, v in trial.axes.items() if n not in ("dataset", "model", "seed", "draw")}
            found[json.dumps(way, sort_keys=True)].append(trial)
    cells = [_Cell(tuple(group)) for group in found.values()]
    seeds = {trial.axes["seed"] for trial in trials}
    return [cell for cell in cells if cell.seeds == seeds]


def _best(cells: Sequence[_Cell]) -> ChosenModel:
    close = [cell for cell in cells if cell.loss <= TOLERANCE]
    best = min(close or cells, key=lambda cell: cell.size if close else (cell.loss, *cell.size[:2]))
    number = len(best.seeds)
    over = f"in the mean over {number} seeds" if number > 1 else "for the one seed"
    field = f"Of {len(cells)} combinations of criterion, sparsity and schedule"
    limit = f"within {TOLERANCE * 100:g} percentage point of the dense model's test accuracy {over}"
    rule = (
        f"{field} the one with the fewest MACs that stays {limit}"
        if close
        else f"{field} none stays {limit}; this is the most accurate one"
    )
    pruned, dense = best.mean(metric_names.TOP1), best.mean(metric_names.TOP1_DENSE)
    reason = (
        f"{rule}: {best.first.axes['scorer']} at sparsity {best.first.axes['sparsity']}, "
        f"{pruned:.2%} against {dense:.2%}. "
        "This is the network of the first seed. It was chosen by test accuracy, which is therefore too "
        "favourable as an estimate for new data."
    )
    return ChosenModel("pruned", best.first, reason)
