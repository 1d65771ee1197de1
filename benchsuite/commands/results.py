"""`results`: a run's records as a table, CSV or JSON."""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from benchsuite.commands.exit_codes import NOTHING, OK
from benchsuite.commands.printing import put, tell
from benchsuite.drawing.terminal import open_console
from benchsuite.publishing.merge import title
from benchsuite.store import metric_names
from benchsuite.store.run_directory import RunDirectory

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable, Sequence

    from benchsuite.store.record import TrialRecord


_TABLE_AXES = ("dataset", "model", "seed", "scorer", "sparsity", "draw")
_AXES_WHERE_THEY_VARY = ("granularity", "scope", "budget", "schedule", "recovery_epochs")
_KEY_SHOWN = 8
_TABLE_METRICS = (
    (metric_names.TOP1_BEFORE_RECOVERY, "before", 100, ".1f"),
    (metric_names.TOP1_RECALIBRATED, "recalibrated", 100, ".1f"),
    (metric_names.TOP1, "after", 100, ".1f"),
    (metric_names.TOP1_DENSE, "dense", 100, ".1f"),
    (metric_names.PARAMS, "params", 1, ",.0f"),
    (metric_names.MACS, "MACs", 1, ",.0f"),
    (metric_names.SPARSITY_UNITS, "units", 1, ".3f"),
    (metric_names.SPARSITY_PARAMS, "of params", 1, ".3f"),
    (metric_names.SPARSITY_MACS, "of MACs", 1, ".3f"),
)


def add_arguments(parser: ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("run", type=Path, metavar="DIR")
    parser.add_argument("--format", choices=("table", "csv", "json"), default="table")


def run(options: Namespace) -> int:
    """Print the records of a run: every cell that has an outcome, in the order of the plan."""
    found = RunDirectory(options.run).results()
    for line in found.problems:
        tell(f"left out: {line}")
    if found.pending:
        tell(f"{found.pending} trials of the suite have no outcome yet")
    if found.superseded:
        tell(f"{len(found.superseded)} records of an earlier form of the suite are not shown")
    writers: dict[str, Callable[[Sequence[TrialRecord]], None]] = {
        "table": _print_table,
        "csv": _print_csv,
        "json": _print_json,
    }
    writers[options.format](found.records)
    return OK if found.records else NOTHING


def _print_table(records: Sequence[TrialRecord]) -> None:
    table = Table(box=None, padding=(0, 1))
    table.add_column("key")
    varied = [name for name in _AXES_WHERE_THEY_VARY if len({str(r.axes.get(name)) for r in records}) > 1]
    shown = (*_TABLE_AXES[:-2], *varied, *_TABLE_AXES[-2:])
    for axis in shown:
        table.add_column(axis)
    table.add_column("status")
    latencies = sorted(
        {
            name
            for r in records
            for name in r.metrics
            if name.startswith(metric_names.LATENCY) and name.endswith("_speedup")
        }
    )
    columns = [*_TABLE_METRICS, *((n, n.removeprefix(metric_names.LATENCY), 1, ".2f") for n in latencies)]
    for _, heading, _, _ in columns:
        table.add_column(heading, justify="right")
    for record in records:
        numbers = [
            _mark(record, name) + format(record.metrics[name] * factor, form)
            if name in record.metrics
            else ""
            for name, _, factor, form in columns
        ]
        axes = [Text(str(record.axes.get(axis, ""))) for axis in shown]
        table.add_row(record.key[:_KEY_SHOWN], *axes, record.status, *numbers)
    console = open_console(width_in_pipe=240)
    console.print(table)
    for line in _explanations(records):
        console.print(line, markup=False, soft_wrap=True)
    for record in records:
        if record.error:
            cell = title(record, [name for name in varied if name != "recovery_epochs"])
            console.print(f"{record.status}: {cell}: {record.error}", markup=False, soft_wrap=True)


_LOWER_BOUND, _UNSETTLED = "≥", "~"


def _mark(record: TrialRecord, metric: str) -> str:
    """What stands before a number that is less certain than it looks."""
    if metric == metric_names.MACS and record.metrics.get(metric_names.UNCOUNTED_MODULES):
        return _LOWER_BOUND
    return _UNSETTLED if metric_names.is_wide(record.metrics, metric) else ""


def _explanations(records: Sequence[TrialRecord]) -> list[str]:
    """What the marks mean, where there are some."""
    found = []
    unknown: dict[str, set[str]] = {}
    for record in records:
        if record.metrics.get(metric_names.UNCOUNTED_MODULES):
            named = record.provenance.get("uncounted_modules")
            model = str(record.axes.get("model"))
            unknown.setdefault(model, set()).update(map(str, named if isinstance(named, list) else ()))
    for model, names in sorted(unknown.items()):
        found.append(
            f"{_LOWER_BOUND} the MACs of {model} are a lower bound: what may multiply and has no formula is "
            f"{', '.join(sorted(names)) or 'not named'}"
        )
    if any(_mark(record, name) == _UNSETTLED for record in records for name in record.metrics):
        found.append(f"{_UNSETTLED} the 95% interval of this speedup is wider than 3% (see docs/method.md)")
    return found


def _print_csv(records: Sequence[TrialRecord]) -> None:
    axes = list(dict.fromkeys(axis for r in records for axis in r.axes))
    metrics = sorted({name for r in records for name in r.metrics})
    provenance = sorted({name for r in records for name in r.provenance})
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


def _plain(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value


def _print_json(records: Sequence[TrialRecord]) -> None:
    put(json.dumps([asdict(record) for record in records], ensure_ascii=False, indent=1, allow_nan=False))
