"""`run`: the main job."""

from __future__ import annotations

import shlex
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import tomli_w

from benchsuite.commands.again import with_keys
from benchsuite.commands.arguments import (
    add_data,
    add_filter,
    add_machine,
    add_plugins,
    add_run_directory,
    add_scorers,
    add_suite,
    add_threads,
    positive_number,
)
from benchsuite.commands.exit_codes import FAILED, INTERRUPTED, NOTHING, OK
from benchsuite.commands.host import host_provenance, latency_conditions, slots_of
from benchsuite.commands.interruption import was_interrupted
from benchsuite.commands.loading import Loaded, load, nothing_selected, surroundings_of
from benchsuite.commands.printing import say
from benchsuite.commands.rendering import mark_stale, podium, render_site, render_summary
from benchsuite.drawing.terminal import open_console
from benchsuite.errors import BenchsuiteError, UsageError
from benchsuite.execution import entry
from benchsuite.execution.local import LocalExecutor
from benchsuite.execution.logs import log_of
from benchsuite.execution.observers import PluginObservers
from benchsuite.execution.pending_work import PendingWork, computed_otherwise, pending_work
from benchsuite.execution.progress import LiveView, PlainView, duration, summary, varied_axes
from benchsuite.execution.run import Run
from benchsuite.execution.stopping import Stopping
from benchsuite.hardware import devices
from benchsuite.store.counting import counted
from benchsuite.store.files import described, write_atomically
from benchsuite.store.record import SETTLED
from benchsuite.store.run_directory import Cell
from benchsuite.tracking import (
    Tracker,
    has_lost_store,
    is_behind,
    server_address,
    sync_command,
    without_password,
)
from benchsuite.trials.agreement import update_agreement
from benchsuite.trials.description import pending_descriptions
from benchsuite.trials.ranking import update_rankings
from benchsuite.upkeep.freeing import renew_freed

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from rich.console import Console

    from benchsuite.execution.jobs import Executor
    from benchsuite.execution.surroundings import Surroundings
    from benchsuite.store.record import TrialRecord

_OLDER = (
    "A run began after these pages were made, so there may be newer results. The run writes the pages anew "
    "when it ends; if it was interrupted, the same command goes on."
)


def add_arguments(parser: ArgumentParser) -> None:
    """Add what the command takes."""
    add_suite(parser)
    add_run_directory(parser)
    add_plugins(parser)
    add_scorers(parser)
    add_filter(parser)
    add_data(parser)
    add_machine(parser)
    add_threads(parser)
    parser.add_argument(
        "--retry-failed", action="store_true", help="run trials again that failed, timed out or were killed"
    )
    parser.add_argument(
        "--again",
        action="append",
        default=[],
        metavar="KEY",
        help="run this trial again, whatever its outcome, such as for its network (repeatable); its key, or "
        "enough of its beginning",
    )
    parser.add_argument(
        "--max-hours",
        type=positive_number,
        metavar="H",
        help="start nothing more after so many hours; the same command goes on later",
    )
    parser.add_argument(
        "--executor", default="local", metavar="NAME", help="where trials run (default: local)"
    )


def run(options: Namespace) -> int:
    """Run what is left of a suite, then render its site."""
    started = time.monotonic()
    if options.executor != "local":
        raise UsageError(f"there is no executor {options.executor!r}; there is: local")
    loaded = load(options)
    slots = slots_of(devices.parse_devices(options.devices), options.jobs)
    console = open_console()
    for line in loaded.notes:
        console.print(line, style="yellow", markup=False, soft_wrap=True)
    if not loaded.selected:
        say(console, "no trial of this suite matches the filter")
        for line in nothing_selected(loaded, options.filter):
            say(console, line)
        return NOTHING
    again = with_keys(loaded.selected, options.again)
    with loaded.directory.locked():
        return _run_locked(options, loaded, again, slots, console, started)


def _run_locked(
    options: Namespace,
    loaded: Loaded,
    again: frozenset[str],
    slots: list[str],
    console: Console,
    started: float,
) -> int:
    directory = loaded.directory
    records, problems = directory.records()
    for line in problems:
        console.print(f"left out: {line}", style="yellow", markup=False, soft_wrap=True)
    work = pending_work(loaded.selected, records, directory, retry_failed=options.retry_failed, again=again)
    write_atomically(directory.suite_file, tomli_w.dumps(resolved(loaded)))
    cells = (Cell(trial.key, trial.axes, trial.stages) for trial in loaded.trials)
    directory.write_plan(cells, options.threads)
    directory.check_kept()
    _announce(loaded, work, records, slots, console)
    before = {key: records.get(key) for key in again}
    interrupted, lacks = False, ""
    try:
        if work.to_run or work.to_time or is_behind(directory.path) or has_lost_store(directory.path):
            mark_stale(directory.path / "site", _OLDER)
            interrupted, lacks = _work(options, loaded, work, before, records, slots, console)
            directory.check_kept()
        else:  # the suite before may have compared other criteria
            warn = partial(say, console, style="yellow")
            update_agreement(directory, loaded.trials, warn)
            update_rankings(directory, loaded.trials, warn)
    except OSError as error:
        safe = _what_is_safe(directory.results_file)
        raise BenchsuiteError(
            f"{described(error)}; {safe} the same command resumes once that is mended"
        ) from error
    outcomes = [records[t.key] for t in loaded.selected if t.key in records]
    logs = partial(log_of, stages=directory.path / "stages")
    if outcomes or not interrupted:
        console.print(summary(outcomes, logs), markup=False, soft_wrap=True)
    renew_freed(directory.path)
    if interrupted:
        left = len(loaded.selected) - len(outcomes) + len(_not_again(before, records))
        console.print(
            f"interrupted: {counted(left, 'trial')} left; the same command goes on from here",
            markup=False,
        )
        return INTERRUPTED
    _best(outcomes, console)
    page, page_failed = _page(loaded, console)
    console.print(f"took {duration(time.monotonic() - started)}", markup=False)
    for label, value in (
        ("results", directory.results_file),
        ("MLflow", _mlflow(directory.path, lacks)),
        *((("page", page),) if page else ()),
    ):
        console.print(f"  {label:<8} {value}", markup=False, soft_wrap=True)
    failed = [r for r in outcomes if r.status not in SETTLED]
    if failed and not options.retry_failed:
        console.print(
            f"{counted(len(failed), 'trial')} failed; once the cause is mended, add --retry-failed",
            markup=False,
        )
    return FAILED if failed or page_failed else OK


def _what_is_safe(results: Path) -> str:
    return "what was stored is safe, and" if results.is_file() else "its results are gone;"


def _announce(
    loaded: Loaded,
    work: PendingWork,
    records: Mapping[str, TrialRecord],
    slots: Sequence[str],
    console: Console,
) -> None:
    """Say what there is to do."""
    to_time = f", {len(work.to_time)} to time" if work.to_time else ""
    lines = [
        f"{loaded.suite.name}: {counted(len(work.selected), 'trial')}, {len(work.cached)} cached, "
        f"{len(work.to_run)} to run{to_time} on {', '.join(dict.fromkeys(slots))} ({len(slots)} at a time)"
    ]
    if older := computed_otherwise(work, records):
        lines.append(
            f"{older} of them {'has' if older == 1 else 'have'} an outcome from before, of other code, "
            "settings, libraries or data, which stays in results.jsonl"
        )
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)


def _work(
    options: Namespace,
    loaded: Loaded,
    work: PendingWork,
    before: Mapping[str, TrialRecord | None],
    records: dict[str, TrialRecord],
    slots: list[str],
    console: Console,
) -> tuple[bool, str]:
    """Do what there is to do and show it in MLflow.

    Returns whether it was interrupted, and how many trials MLflow lacks because it did not answer.
    `before` has the records of the trials to run again, as they were.
    """
    directory, interrupted, hurried = loaded.directory, False, True
    provenance = host_provenance()
    surroundings = surroundings_of(
        directory, loaded.data, loaded.trials, loaded.registry, loaded.strangers, options
    )
    total = len(work.to_run) + len(work.to_time)
    varied = varied_axes([*work.to_run, *work.to_time])
    view = (
        LiveView(total, slots, console, varied) if console.is_terminal else PlainView(total, console, varied)
    )
    with Tracker(directory.path, loaded.suite.name, loaded.suite.suite.description, view.say) as tracker:
        tracker.summarise(lambda: _summary(loaded, records))
        tracker.source_of = loaded.strangers.source_of
        tracker.start({"suite": str(options.suite), "command": " ".join(sys.argv[1:]), **_texts(provenance)})
        watching = PluginObservers(loaded.strangers.observing())
        loaded.strangers.close()  # what asks one of them later starts it again
        stop = Stopping(options.max_hours, view.say)
        observers = [view, tracker, watching, stop]
        job = Run(directory, records, provenance, observers, view.say, stop)
        try:
            stop.listen()
            if was_interrupted():  # and something before took the exception for its own
                raise KeyboardInterrupt
            with view:
                job.run_trials(work, lambda: LocalExecutor(entry.main, surroundings, slots))
                _measure_latencies(job, work, surroundings, slots, tracker, watching)
                update_agreement(directory, loaded.trials, view.say)
                update_rankings(directory, loaded.trials, view.say)
                job.describe_networks(
                    pending_descriptions(directory, loaded.trials),
                    lambda: LocalExecutor(entry.main, surroundings, slots),
                )
            left = pending_work(
                work.selected, records, directory, retry_failed=False, again=_not_again(before, records)
            )
            interrupted = stop() and bool(left.to_run or left.to_time)
            hurried = interrupted
        except KeyboardInterrupt:
            interrupted = True
        finally:
            watching.close(hurried=hurried)
        with console.status("MLflow: showing the last trials and logging the best networks"):
            tracking_seconds = tracker.close(interrupted=interrupted)
    for warning in tracker.warnings:
        console.print(warning, style="yellow", markup=False, soft_wrap=True)
    if not tracker.lacks:
        console.print(f"MLflow was filled in {duration(tracking_seconds)}, beside the trials", markup=False)
    return interrupted, tracker.lacks


def _mlflow(directory: Path, lacks: str) -> str:
    """Where MLflow shows the run, and how to open it, or what it lacks."""
    server = server_address()
    where = without_password(server) if server else str(directory / "mlflow.db")
    if lacks:
        return f"{where} lacks {lacks}  ({sync_command(directory)})"
    return where if server else f"{where}  (benchsuite ui {shlex.quote(str(directory))})"


def _not_again(before: Mapping[str, TrialRecord | None], records: Mapping[str, TrialRecord]) -> list[str]:
    """Keys of the trials to run again that have not been: their records are those of before."""
    return [key for key, record in before.items() if record is not None and records[key] is record]


def _best(outcomes: Sequence[TrialRecord], console: Console) -> None:
    """Print which criteria are best at each budget; a renderer that fails costs no more than that."""
    try:
        lines = podium(outcomes)
    except Exception as error:  # noqa: BLE001 - the renderer may be a plugin
        lines = [f"no table of the best criteria was made: {type(error).__name__}: {error}"]
    for line in lines:
        say(console, line)


def _page(loaded: Loaded, console: Console) -> tuple[Path | None, bool]:
    """The first page of the run's site, or None and a line that says why; and whether the machine failed."""
    folder = loaded.directory.path
    try:
        site = render_site(
            [folder],
            loaded.directory.own_folder("site"),
            title=loaded.suite.name,
            registry=loaded.registry,
        )
    except UsageError as error:  # there is no renderer, none that works, or no place for pages
        say(console, f"no page was made: {error}", style="yellow")
        return None, False
    except Exception as error:  # noqa: BLE001 - the renderer may be a plugin
        why = described(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        say(console, f"no page was made: {why}; the results are stored", style="yellow")
        return None, True
    return site.page, False


def _summary(loaded: Loaded, records: Mapping[str, TrialRecord]) -> Path | None:
    """The leaderboard's summary of the whole suite, for MLflow."""
    found = [records[trial.key] for trial in loaded.trials if trial.key in records]
    pending = len(loaded.trials) - len(found)
    return render_summary(loaded.directory, found, title=loaded.suite.name, pending=pending)


def _measure_latencies(
    job: Run,
    work: PendingWork,
    surroundings: Surroundings,
    slots: list[str],
    *others: Tracker | PluginObservers,
) -> None:
    """Time what is to be timed, while the others are quiet."""
    with ExitStack() as quiet:

        def executor() -> Executor:
            """One slot on the first device; what is timed sets its threads itself."""
            for other in others:
                quiet.enter_context(other.quiet())
            return LocalExecutor(entry.main, replace(surroundings, threads=1), slots[:1])

        job.measure_latencies(work, executor, latency_conditions(slots[0]))


def resolved(loaded: Loaded) -> dict[str, Any]:
    """The suite with every default filled in, as plain data for TOML."""
    result = loaded.suite.model_dump(mode="json", exclude_none=True)
    assert isinstance(result, dict)
    if loaded.suite.metrics.latency is None:
        result["metrics"]["latency"] = False
    if not result["reference"]:
        del result["reference"]
    return result


def _texts(facts: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in facts.items()}
