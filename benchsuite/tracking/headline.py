"""What the run of an invocation shows first: the best criterion's accuracy by sparsity, beside random's.

It only describes. Which criterion is better, and how sure that is, the leaderboard says.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchsuite.store import metric_names
from benchsuite.tracking import mlflow_fields
from benchsuite.tracking.cells import by_workload, complete_cells
from benchsuite.tracking.curves import Point

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchsuite.store.record import TrialRecord
    from benchsuite.tracking.cells import Cell

_NEEDED = frozenset({metric_names.TOP1, metric_names.TOP1_DENSE})


@dataclass
class Headline:
    """The first numbers of a run.

    Attributes:
        points: for each data set and model the accuracies named `best criterion`, `random` and `dense`; the
            step is the sparsity in percent.
        params: for each data set and model, which criterion was the best at which sparsity.
    """

    points: list[Point] = field(default_factory=list)
    params: dict[str, str] = field(default_factory=dict)


def headline(records: Iterable[TrialRecord]) -> Headline:
    """The highest mean accuracy of any criterion, and of random, at each sparsity.

    A mean is over the seeds and draws of one choice of settings; only those with a result for every seed
    count. Native sparsities, which are no numbers, have no place on the axis and are left out.
    """
    found = Headline()
    for trials in by_workload(records, _NEEDED):
        axes = trials[0].axes
        where = f"{axes['model']} on {axes['dataset']}"
        best_at = []
        for sparsity, cells in sorted(_by_sparsity(complete_cells(trials)).items()):
            criteria = [cell for cell in cells if not cell.is_control]
            random = [cell for cell in cells if cell.scorer.partition("(")[0] == "random"]
            for name, some in (("best criterion", criteria), ("random", random)):
                if some:
                    found.points.append(_point(where, name, sparsity, _best(some).mean(metric_names.TOP1)))
            if criteria:
                best_at.append(f"{sparsity:g}: {_best(criteria).scorer}")
            dense = max(cells, key=lambda cell: len(cell.trials)).mean(metric_names.TOP1_DENSE)
            found.points.append(_point(where, "dense", sparsity, dense))
        if best_at:
            found.params |= mlflow_fields.params({f"best criterion/{where}": ", ".join(best_at)})
    return found


def _by_sparsity(cells: Sequence[Cell]) -> dict[float, list[Cell]]:
    found: dict[float, list[Cell]] = defaultdict(list)
    for cell in cells:
        sparsity = cell.first.axes.get("sparsity")
        if isinstance(sparsity, int | float) and not isinstance(sparsity, bool) and 0 <= sparsity <= 1:
            found[float(sparsity)].append(cell)
    return found


def _best(cells: Sequence[Cell]) -> Cell:
    return max(cells, key=lambda cell: cell.mean(metric_names.TOP1))


def _point(where: str, what: str, sparsity: float, value: float) -> Point:
    name = mlflow_fields.allowed_name(f"{metric_names.ACCURACY}{where}/{what}")
    return Point(name, round(100 * sparsity), value)
