"""`plan`: what a suite would run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from benchsuite.commands.arguments import (
    add_data,
    add_filter,
    add_plugins,
    add_run_directory,
    add_scorers,
    add_suite,
    add_threads,
)
from benchsuite.commands.exit_codes import NOTHING, OK
from benchsuite.commands.loading import load, missing_files, nothing_selected
from benchsuite.commands.printing import say
from benchsuite.drawing.terminal import open_console
from benchsuite.execution.pending_work import PendingWork, computed_otherwise, pending_work, trainings
from benchsuite.execution.progress import duration
from benchsuite.plan.matrix import count_by_axis
from benchsuite.store import metric_names
from benchsuite.store.counting import counted

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from benchsuite.plan.trial import Trial
    from benchsuite.store.record import TrialRecord
    from benchsuite.store.run_directory import RunDirectory


def add_arguments(parser: ArgumentParser) -> None:
    """Add what the command takes."""
    add_suite(parser)
    add_run_directory(parser)
    add_plugins(parser)
    add_scorers(parser)
    add_filter(parser)
    add_data(parser)
    add_threads(parser)
    parser.add_argument("--retry-failed", action="store_true", help="count failed trials as to run")


def run(options: Namespace) -> int:
    """Show the matrix by axis, what is cached, failed and to run, and how long it may take."""
    loaded = load(options)
    records, problems = loaded.directory.records()
    directory = loaded.directory
    work = pending_work(loaded.selected, records, directory, retry_failed=options.retry_failed)
    console = open_console()
    missing = missing_files(loaded.suite, loaded.registry, loaded.data)
    for line in [*loaded.notes, *missing, *problems]:
        console.print(line, style="yellow", markup=False, soft_wrap=True)
    table = Table(
        box=None,
        padding=(0, 2),
        title=f"{loaded.suite.name}: {counted(len(loaded.selected), 'trial')}",
        title_justify="left",
    )
    table.add_column("axis")
    table.add_column("values", justify="right")
    table.add_column("trials of each")
    for axis, counts in count_by_axis(loaded.selected).items():
        listed = ", ".join(f"{value} ({count})" for value, count in list(counts.items())[:12])
        table.add_row(axis, str(len(counts)), listed + (" …" if len(counts) > 12 else ""))
    console.print(table)
    failed = sum(records[t.key].status in ("failed", "timeout", "killed") for t in work.cached)
    to_time = len(work.to_time) + sum(trial.latency is not None for trial in work.to_run)
    console.print(
        f"\ncached {len(work.cached) - failed}   failed {failed}   to run {len(work.to_run)}   "
        f"latency to measure {to_time}"
    )
    if older := computed_otherwise(work, records):
        console.print(
            f"of those to run, {older} have an outcome from before, of other code, settings, libraries or "
            "data",
            soft_wrap=True,
        )
    if work.remade:
        console.print(
            f"of those to run, {len(work.remade)} were done on stages that hold other numbers now",
            soft_wrap=True,
        )
    console.print(_trainings(work, directory))
    console.print(f"time estimate: {_estimate(work.to_run, records)}")
    if not loaded.selected:
        for line in nothing_selected(loaded, options.filter):
            say(console, line)
    return OK if loaded.selected else NOTHING


def _trainings(work: PendingWork, directory: RunDirectory) -> str:
    """What is to be trained: dense models that are not there or damaged, and those that lack a trace."""
    absent, again = trainings(work, directory)
    text = f"dense models to train: {absent}"
    return f"{text}, to train again for their trace: {again}" if again else text


def _estimate(to_run: tuple[Trial, ...], records: dict[str, TrialRecord]) -> str:
    """From the past durations of the same model and data set, else of any; seconds of one worker."""
    if not to_run:
        return "nothing to run"
    past: dict[tuple[object, object] | None, list[float]] = {}
    for record in records.values():
        if (seconds := record.metrics.get(metric_names.TRIAL_SECONDS)) is not None:
            past.setdefault((record.axes.get("model"), record.axes.get("dataset")), []).append(seconds)
            past.setdefault(None, []).append(seconds)
    if not past:
        return "unknown, no trial of this run directory has been timed yet"
    total = 0.0
    for trial in to_run:
        known = past.get((trial.axes["model"], trial.axes["dataset"])) or past[None]
        total += sum(known) / len(known)
    return f"about {duration(total)} of one worker's time, dense training and latency not counted"
