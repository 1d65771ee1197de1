"""Records and groups of records as CSV and JSON, every number as it is stored."""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from benchsuite.commands.printing import put

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from benchsuite.commands.aggregation import Group
    from benchsuite.store.record import TrialRecord

DEVIATION = "/sd"
"""What the column of a metric's standard deviation ends in."""


def print_records_csv(records: Sequence[TrialRecord], chosen: Sequence[str] | None) -> None:
    """All that a table can hold of the records, or their axes, outcome and the chosen metrics."""
    axes = list(dict.fromkeys(axis for r in records for axis in r.axes))
    metrics = sorted({name for r in records for name in r.metrics}) if chosen is None else chosen
    provenance = sorted({name for r in records for name in r.provenance}) if chosen is None else []
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(
        ["key", *axes, "status", *metrics, "error", *(f"provenance/{name}" for name in provenance)]
    )
    for r in records:
        writer.writerow(
            [
                r.key,
                *(_plain(r.axes.get(axis, "")) for axis in axes),
                r.status,
                *(r.metrics.get(name, "") for name in metrics),
                r.error or "",
                *(_plain(r.provenance.get(name, "")) for name in provenance),
            ]
        )


def print_records_json(records: Iterable[TrialRecord], chosen: Sequence[str] | None) -> None:
    """The records, or of each its key, axes, outcome and the chosen metrics."""
    if chosen is None:
        _print_json([asdict(record) for record in records])
        return
    _print_json(
        [
            {
                "key": r.key,
                "axes": r.axes,
                "status": r.status,
                "metrics": _picked(r.metrics, chosen),
                "error": r.error,
            }
            for r in records
        ]
    )


def print_groups_csv(groups: Sequence[Group], by: Sequence[str], chosen: Sequence[str] | None) -> None:
    """A row a group: its axes, counts, and for each metric its mean and standard deviation."""
    metrics = _all_metrics(groups) if chosen is None else chosen
    writer = csv.writer(sys.stdout, lineterminator="\n")
    columns = [column for name in metrics for column in (name, f"{name}{DEVIATION}")]
    writer.writerow([*by, "seeds", "trials", "without", "uneven", "partial", *columns])
    for group in groups:
        numbers = [
            value for name in metrics for value in (group.means.get(name, ""), group.deviations.get(name, ""))
        ]
        axes = [_plain(group.axes[axis]) for axis in by]
        marks = int(group.uneven), int(group.partial)
        writer.writerow([*axes, group.seeds, group.trials, group.without, *marks, *numbers])


def print_groups_json(groups: Sequence[Group], chosen: Sequence[str] | None) -> None:
    """The same as JSON."""
    metrics = _all_metrics(groups) if chosen is None else chosen
    _print_json(
        [
            {
                "axes": dict(group.axes),
                "seeds": group.seeds,
                "trials": group.trials,
                "without": group.without,
                "uneven": group.uneven,
                "partial": group.partial,
                "metrics": {
                    name: {"mean": group.means[name], "sd": group.deviations.get(name)}
                    for name in metrics
                    if name in group.means
                },
            }
            for group in groups
        ]
    )


def _all_metrics(groups: Iterable[Group]) -> list[str]:
    return sorted({name for group in groups for name in group.means})


def _picked(metrics: Mapping[str, float], chosen: Iterable[str]) -> dict[str, float]:
    return {name: metrics[name] for name in chosen if name in metrics}


def _plain(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value


def _print_json(content: Any) -> None:
    put(json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False))
