"""`plan`: what a suite would run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
from benchsuite.pruning.rounds import rounds_of
from benchsuite.store import metric_names
from benchsuite.store.counting import counted
from benchsuite.store.stages import is_complete

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Mapping

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
    console.print(f"time estimate: {_estimate(work.to_run, records, directory)}")
    if not loaded.selected:
        for line in nothing_selected(loaded, options.filter):
            say(console, line)
    return OK if loaded.selected else NOTHING


def _trainings(work: PendingWork, directory: RunDirectory) -> str:
    """What is to be trained: dense models that are not there or damaged, and those that lack a trace."""
    absent, again = trainings(work, directory)
    text = f"dense models to train: {absent}"
    return f"{text}, to train again for their trace: {again}" if again else text


def _alike(axes: Mapping[str, Any]) -> list[tuple[object, ...]]:
    """What a trial's duration is taken from, the nearest first."""
    network = (axes.get("model"), axes.get("dataset"))
    return [(*network, axes.get("schedule")), network, ()]


def _rounds_to_make(trial: Trial, made: set[str]) -> int:
    """How many rounds a trial has to make, 1 where its schedule has none; these are added to those made."""
    if isinstance(trial.sparsity, str) or not trial.schedule.has_rounds:
        return 1
    shared = [key for key in trial.rounds if key not in made]
    made.update(shared)
    return len(rounds_of(trial.schedule, trial.sparsity)) - len(trial.rounds) + len(shared)


def _estimate(to_run: tuple[Trial, ...], records: dict[str, TrialRecord], directory: RunDirectory) -> str:
    """From the past durations of the same model, data set and schedule, else of others; of one worker.

    Of schedules with rounds they are durations of a round, and rounds that trials share count once.
    """
    if not to_run:
        return "nothing to run"
    past: dict[tuple[object, ...], list[float]] = {}
    for record in records.values():
        if (seconds := record.metrics.get(metric_names.TRIAL_SECONDS)) is not None:
            whole = seconds + record.metrics.get(metric_names.REUSED_SECONDS, 0.0)
            for place in _alike(record.axes):
                past.setdefault(place, []).append(whole / max(1, len(record.rounds)))
    if not past:
        return "unknown, no trial of this run directory has been timed yet"
    total = 0.0
    made = {key for trial in to_run for key in trial.rounds if is_complete(directory.stage(key))}
    for trial in to_run:
        known = next(past[each] for each in _alike(trial.axes) if each in past)
        total += _rounds_to_make(trial, made) * sum(known) / len(known)
    return f"about {duration(total)} of one worker's time, dense training and latency not counted"
