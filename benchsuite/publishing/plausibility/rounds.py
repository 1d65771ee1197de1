"""Numbers after each round of a schedule, by themselves, against each other and against the record's own."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from benchsuite.publishing.plausibility.accuracies import accuracies_of_samples
from benchsuite.publishing.plausibility.costs import ZEROS_TOLERANCE, costs_and_sparsities
from benchsuite.publishing.plausibility.oddity import ROUNDING, Oddities, Oddity
from benchsuite.publishing.plausibility.ranges import ranges
from benchsuite.store import metric_names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchsuite.store.record import TrialRecord

_WITH_ROUNDS = ("iterative", "rewind")


def rounds(record: TrialRecord, metrics: Mapping[str, float]) -> Oddities:
    """Points of rounds that cannot be."""
    if not record.rounds:
        return
    if record.axes.get("schedule") not in _WITH_ROUNDS:
        yield Oddity("it has rounds, and its schedule has none", f"{record.axes.get('schedule')!r}"[:80])
    points = [{name: float(value) for name, value in each.items()} for each in record.rounds]
    dense = {name: value for name, value in metrics.items() if name.endswith("_dense")}
    for number, point in enumerate(points, start=1):
        for kind, detail in (
            *ranges(point),
            *accuracies_of_samples(record, point),
            *costs_and_sparsities(record, dense | point),
        ):
            yield Oddity(f"after a round, {kind}", f"round {number}: {detail}")
    for number, (before, after) in enumerate(pairwise(points), start=2):
        yield from _between(number, before, after, dense)
    for name, value in points[-1].items():
        if metrics.get(name) != value:
            shown = f"{name[:80]}: {value} in rounds, {metrics.get(name)} in metrics"
            yield Oddity("the last round is not what the trial came to", shown)


def _between(
    number: int, before: Mapping[str, float], after: Mapping[str, float], dense: Mapping[str, float]
) -> Oddities:
    """What a round removes stays removed."""
    slack = {metric_names.PARAMS: 0.0, metric_names.MACS: 0.0}
    # Weights may be zero by themselves in one round and not in the next.
    for budget in ("params", "macs"):
        most = dense.get(metric_names.cost(budget, "dense"), 0)
        slack[metric_names.cost(budget, "nonzero")] = ZEROS_TOLERANCE * most
    for name, tolerance in slack.items():
        if name in before and name in after and after[name] > before[name] + tolerance:
            shown = f"round {number}: {before[name]}, then {after[name]}"
            yield Oddity(f"{name} grows from round to round", shown)
    for name, value in after.items():
        if name.startswith(metric_names.SPARSITY) and value < before.get(name, value) - ROUNDING:
            shown = f"round {number}: {before[name]}, then {value}"
            yield Oddity(f"{name[:80]} falls from round to round", shown)
