"""`results`, `leaderboard` and `ui`: what a run directory holds, in three forms."""

from __future__ import annotations

import csv
import importlib.metadata
import json
import os
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, cast

from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchsuite.agreement import stored_agreements
from benchsuite.cli import NOTHING, OK
from benchsuite.errors import UsageError
from benchsuite.merging import merge
from benchsuite.plugins import discover
from benchsuite.store import RunDirectory, TrialRecord

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from benchsuite.plugins import Registry

_TABLE_AXES = ("dataset", "model", "seed", "scorer", "sparsity", "draw")
_AXES_WHERE_THEY_VARY = ("granularity", "scope", "budget", "schedule", "recovery_epochs")
_KEY_SHOWN = 8
_TABLE_METRICS = (
    ("accuracy/top1_before_recovery", "before", 100, ".1f"),
    ("accuracy/top1", "after", 100, ".1f"),
    ("accuracy/top1_dense", "dense", 100, ".1f"),
    ("cost/params", "params", 1, ",.0f"),
    ("cost/macs", "MACs", 1, ",.0f"),
    ("sparsity/units", "units", 1, ".3f"),
    ("sparsity/params", "of params", 1, ".3f"),
    ("sparsity/macs", "of MACs", 1, ".3f"),
)


def results(options: Namespace) -> int:
    """Print the records of a run: every cell that has an outcome, in the order of the plan."""
    found = RunDirectory(options.run).results()
    for line in found.problems:
        print(f"left out: {line}", file=sys.stderr)  # noqa: T201 - the command line speaks
    if found.pending:
        print(f"{found.pending} trials of the suite have no outcome yet", file=sys.stderr)  # noqa: T201 - as above
    if found.superseded:
        print(  # noqa: T201 - as above
            f"{len(found.superseded)} records of an earlier form of the suite are not shown", file=sys.stderr
        )
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
            if name.startswith("latency/batch") and name.endswith("_speedup")
        }
    )
    columns = [*_TABLE_METRICS, *((n, n.removeprefix("latency/"), 1, ".2f") for n in latencies)]
    for _, title, _, _ in columns:
        table.add_column(title, justify="right")
    for record in records:
        numbers = [
            format(record.metrics[name] * factor, form) if name in record.metrics else ""
            for name, _, factor, form in columns
        ]
        axes = [Text(str(record.axes.get(axis, ""))) for axis in shown]
        table.add_row(record.key[:_KEY_SHOWN], *axes, record.status, *numbers)
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=240)
    console.print(table)
    for record in records:
        if record.error:
            cell = " · ".join(str(record.axes.get(axis)) for axis in shown)
            console.print(f"{record.status}: {cell}: {record.error}", markup=False, soft_wrap=True)


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
    json.dump(
        [asdict(record) for record in records], sys.stdout, ensure_ascii=False, indent=1, allow_nan=False
    )
    print()  # noqa: T201 - the command line speaks


def leaderboard(options: Namespace) -> int:
    """Render runs and published results as one static site."""
    registry, _ = discover()
    page = render_site(options.runs, options.output, title="Pruning criteria", registry=registry)
    print(page)  # noqa: T201 - the command line speaks
    return OK


def render_site(sources: Sequence[Path], output: Path, *, title: str, registry: Registry) -> Path:
    """Render run directories and results files with the installed renderer; returns the first page's path.

    The registry's scorers are described on their pages.

    Raises:
        UsageError: a path is neither a run directory nor a results file, or no renderer is installed.
    """
    merged = merge(sources)
    render = _renderer("leaderboard")
    if render is None:
        raise UsageError("no site renderer is installed (entry point leaderboard of benchsuite.sites)")
    about = {info.name: info.summary for info in registry.infos if info.kind == "scorer" and info.summary}
    page: Path = render(
        merged.records,
        output,
        title=title,
        pending=merged.pending,
        notes=merged.notes,
        about=about,
        agreement=stored_agreements(sources, _train_keys(merged.records)),
        sources=sources,
    )
    return page


def render_summary(
    run: RunDirectory, records: Sequence[TrialRecord], output: Path, *, title: str, pending: int = 0
) -> Path | None:
    """Write the summary files of a run into a folder, which is returned; None without a renderer for them."""
    render = _renderer("summary")
    if render is None:
        return None
    agreement = stored_agreements([run.path], _train_keys(records))
    render(records, output, title=title, pending=pending, agreement=agreement)
    return output


def _train_keys(records: Sequence[TrialRecord]) -> list[str]:
    return [record.stages["train"] for record in records if "train" in record.stages]


def _renderer(name: str) -> Callable[..., Any] | None:
    point = next(iter(importlib.metadata.entry_points(group="benchsuite.sites", name=name)), None)
    return None if point is None else cast("Callable[..., Any]", point.load())


def ui(options: Namespace) -> int:
    """Serve a run's MLflow store in the MLflow UI, until Ctrl-C."""
    from benchsuite.tracking import ui_address, ui_command

    if not (options.run / "mlflow.db").is_file():
        raise UsageError(f"{options.run} has no mlflow.db: it is no run directory, or nothing was logged yet")
    command = ui_command(options.run, port=options.port)
    print(f"MLflow UI of {options.run}: {ui_address(port=options.port)} (Ctrl-C ends it)", flush=True)  # noqa: T201 - the command line speaks
    os.execv(command[0], command)  # noqa: S606 - a fixed program with checked arguments
