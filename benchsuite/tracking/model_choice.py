"""Which networks of a run become logged models: per data set and model, the dense one and a pruned one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from benchsuite.store import metric_names
from benchsuite.tracking.cells import by_workload, complete_cells

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchsuite.store.record import TrialRecord
    from benchsuite.tracking.cells import Cell

TOLERANCE = 0.01
"""How much test accuracy, as a fraction, the pruned network's criterion may lose on average over seeds."""

_NEEDED = frozenset(
    {metric_names.TOP1, metric_names.TOP1_DENSE, metric_names.MACS, metric_names.PARAMS_NONZERO}
)


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


def chosen_models(records: Iterable[TrialRecord]) -> list[ChosenModel]:
    """For each data set and model, the first seed's dense model and one pruned network.

    The pruned one has the criterion, sparsity and schedule with the fewest MACs among those whose mean
    accuracy over all seeds is within `TOLERANCE` of the dense models', or the most accurate one if there are
    none. Controls, and those without a result for some seed, are not considered. The trial of the first seed
    is taken.
    """
    chosen = []
    for trials in by_workload(records, _NEEDED):
        pruned = [trial for trial in trials if "train" in trial.stages]
        if not pruned:
            continue
        first = min(pruned, key=lambda trial: trial.axes["seed"])
        seed = first.axes["seed"]
        chosen.append(ChosenModel("dense", first, f"The dense model of the first seed, {seed}."))
        cells = [cell for cell in complete_cells(pruned) if not cell.is_control]
        if cells:
            chosen.append(_best(cells))
    return chosen


def _best(cells: Sequence[Cell]) -> ChosenModel:
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
        f"{rule}: {best.scorer} at sparsity {best.first.axes['sparsity']}, "
        f"{pruned:.2%} against {dense:.2%}. "
        "This is the network of the first seed. It was chosen by test accuracy, which is therefore too "
        "favourable as an estimate for new data."
    )
    return ChosenModel("pruned", best.first, reason)
