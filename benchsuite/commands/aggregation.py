"""Means of records over seeds, for `results --by`."""

from __future__ import annotations

import contextlib
import statistics
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from benchsuite.store.record import TrialRecord

SEED = "seed"
_POOLED_SILENTLY = ("scorer_params", SEED)
_OF_SCORERS = ("scorer", "scorer_params", "draw")


@dataclass(frozen=True)
class Group:
    """The trials that have the same values on some axes.

    Attributes:
        axes: these values.
        seeds: seeds with at least one finished trial.
        trials: finished trials.
        without: trials without a result, whatever their outcome.
        means: by metric, the mean over seeds.
        deviations: by metric, the standard deviation over seeds (n - 1), where two seeds have it.
        uneven: whether some seeds lack trials that others have, so that their values are not of the same.
        partial: whether another scorer has results on networks on which this group has none, so that its
            means are of other networks.
    """

    axes: Mapping[str, Any]
    seeds: int
    trials: int
    without: int
    means: Mapping[str, float]
    deviations: Mapping[str, float]
    uneven: bool
    partial: bool = False


def aggregate(records: Iterable[TrialRecord], by: Sequence[str]) -> list[Group]:
    """Group the records, in the order in which the groups first appear.

    What else varies in a group (data sets, models, draws …) is averaged within each seed first.
    """
    grouped: dict[tuple[str, ...], list[TrialRecord]] = defaultdict(list)
    for record in records:
        grouped[tuple(str(record.axes.get(axis, "")) for axis in by)].append(record)
    groups = [_group(some, by) for some in grouped.values()]
    served = [_networks(some) for some in grouped.values()]
    all_served: dict[tuple[str, ...], set[tuple[str, ...]]] = defaultdict(set)
    beside = [tuple(str(group.axes[axis]) for axis in by if axis not in _OF_SCORERS) for group in groups]
    for place, mine in zip(beside, served, strict=True):
        all_served[place] |= mine
    return [
        replace(group, partial=mine != all_served[place])
        for group, place, mine in zip(groups, beside, served, strict=True)
    ]


def _networks(records: Iterable[TrialRecord]) -> set[tuple[str, ...]]:
    """The models and data sets on which there is a result."""
    return {
        tuple(str(record.axes.get(axis, "")) for axis in ("dataset", "model"))
        for record in records
        if record.status == "done"
    }


def pooled(records: Sequence[TrialRecord], by: Sequence[str]) -> list[str]:
    """The axes, other than the seed, that vary within groups and are averaged."""
    names = dict.fromkeys(axis for record in records for axis in record.axes)
    found = []
    for axis in names:
        if axis in by or axis in _POOLED_SILENTLY:
            continue
        values: dict[tuple[str, ...], set[str]] = defaultdict(set)
        for record in records:
            key = tuple(str(record.axes.get(each, "")) for each in by)
            values[key].add(str(record.axes.get(axis, "")))
        if any(len(some) > 1 for some in values.values()):
            found.append(axis)
    return found


def _group(records: Sequence[TrialRecord], by: Sequence[str]) -> Group:
    done: dict[str, list[TrialRecord]] = defaultdict(list)
    for record in records:
        if record.status == "done":
            done[str(record.axes.get(SEED, ""))].append(record)
    names = dict.fromkeys(name for some in done.values() for record in some for name in record.metrics)
    means, deviations = {}, {}
    for name in names:
        values = [
            _mean(found)
            for some in done.values()
            if (found := [r.metrics[name] for r in some if name in r.metrics])
        ]
        means[name] = _mean(values)
        with contextlib.suppress(OverflowError, statistics.StatisticsError):  # too large, or one seed only
            deviations[name] = statistics.stdev(values)
    trials = sum(map(len, done.values()))
    return Group(
        axes={axis: records[0].axes.get(axis, "") for axis in by},
        seeds=len(done),
        trials=trials,
        without=len(records) - trials,
        means=means,
        deviations=deviations,
        uneven=len({frozenset(map(_cell, some)) for some in done.values()}) > 1,
    )


def _mean(values: Sequence[float]) -> float:
    """The mean, also of numbers whose sum is beyond what a float holds."""
    try:
        return statistics.fmean(values)
    except OverflowError:
        return sum(value / len(values) for value in values)


def _cell(record: TrialRecord) -> tuple[tuple[str, str], ...]:
    """Everything that identifies a trial but its seed."""
    return tuple(sorted((axis, str(value)) for axis, value in record.axes.items() if axis != SEED))
