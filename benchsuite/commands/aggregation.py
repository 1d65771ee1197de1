"""Means of records over seeds, for `results --by`."""

from __future__ import annotations

import contextlib
import statistics
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from benchsuite.store.record import TrialRecord

SEED = "seed"
_POOLED_SILENTLY = ("scorer_params", SEED)
_OF_SCORERS = ("scorer", "scorer_params", "draw")
Cell = tuple[tuple[str, str], ...]
S = TypeVar("S")
T = TypeVar("T")


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
        uneven: whether some seeds lack trials that others have, of this scorer or of others, so that their
            values are not of the same.
        partial: whether another scorer has results in cells in which this group has none on any seed, such as
            on a network or at a sparsity, so that its means are of something else.
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
    beside = [tuple(str(group.axes[axis]) for axis in by if axis not in _OF_SCORERS) for group in groups]
    served = [_served(some, (*_OF_SCORERS, SEED)) for some in grouped.values()]
    seeds = [{str(r.axes.get(SEED, "")) for r in some if r.status == "done"} for some in grouped.values()]
    all_served, all_seeds = _united(beside, served), _united(beside, seeds)
    return [
        replace(
            group,
            partial=mine != all_served[place],
            uneven=group.uneven or (bool(own) and own != all_seeds[place]),
        )
        for group, place, mine, own in zip(groups, beside, served, seeds, strict=True)
    ]


def _united(places: Iterable[T], some: Iterable[set[S]]) -> dict[T, set[S]]:
    found: dict[T, set[S]] = defaultdict(set)
    for place, mine in zip(places, some, strict=True):
        found[place] |= mine
    return found


def _served(records: Iterable[TrialRecord], but: Collection[str]) -> set[Cell]:
    """The cells, by all axes but these, in which there is a result."""
    return {_cell(record, but) for record in records if record.status == "done"}


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
        uneven=len({frozenset(_cell(record, (SEED,)) for record in some) for some in done.values()}) > 1,
    )


def _mean(values: Sequence[float]) -> float:
    """The mean, also of numbers whose sum is beyond what a float holds."""
    try:
        return statistics.fmean(values)
    except OverflowError:
        return sum(value / len(values) for value in values)


def _cell(record: TrialRecord, but: Collection[str]) -> Cell:
    """What identifies a trial, without these axes."""
    return tuple(sorted((axis, str(value)) for axis, value in record.axes.items() if axis not in but))
