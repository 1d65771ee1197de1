"""`run`: the main job."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w
from rich.console import Console

from benchsuite import devices
from benchsuite._version import __version__
from benchsuite.agreement import update_agreement
from benchsuite.cli import FAILED, INTERRUPTED, NOTHING, OK
from benchsuite.commands.loading import Loaded, broken_plugins, load, workplace_of
from benchsuite.commands.results import render_site, render_summary
from benchsuite.errors import UsageError
from benchsuite.execution.local import LocalExecutor
from benchsuite.observing import PluginObserver
from benchsuite.progress import LiveView, PlainView, duration, summary
from benchsuite.run import Run, agenda
from benchsuite.store import SETTLED, write_atomically
from benchsuite.tracking import Tracker, is_behind

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Mapping
    from types import FrameType

    from benchsuite.execution import Executor, Workplace
    from benchsuite.store import TrialRecord


def run(options: Namespace) -> int:
    """Run what is left of a suite, then render its site."""
    started = time.monotonic()
    if options.executor != "local":
        raise UsageError(f"there is no executor {options.executor!r}; there is: local")
    loaded = load(options)
    slots, threads = slots_and_threads(devices.parse_devices(options.devices), options.jobs)
    console = Console(highlight=False)
    for line in broken_plugins(loaded.registry):
        console.print(line, style="yellow", markup=False, soft_wrap=True)
    if not loaded.selected:
        console.print("no trial of this suite matches the filter", markup=False)
        return NOTHING
    with loaded.directory.locked():
        return _run_locked(options, loaded, slots, threads, console, started)


def _run_locked(
    options: Namespace, loaded: Loaded, slots: list[str], threads: int, console: Console, started: float
) -> int:
    directory = loaded.directory
    records, problems = directory.records()
    for line in problems:
        console.print(f"left out: {line}", style="yellow", markup=False, soft_wrap=True)
    work = agenda(loaded.selected, records, retry_failed=options.retry_failed)
    write_atomically(directory.suite_file, tomli_w.dumps(resolved(loaded)))
    directory.write_plan([(trial.key, trial.axes) for trial in loaded.trials])
    console.print(
        f"{loaded.suite.name}: {len(work.selected)} trials, {len(work.cached)} cached, "
        f"{len(work.to_run)} to run"
        + (f", {len(work.to_time)} to time" if work.to_time else "")
        + f" on {', '.join(dict.fromkeys(slots))} ({len(slots)} at a time)",
        markup=False,
        soft_wrap=True,
    )
    total = len(work.to_run) + len(work.to_time)
    interrupted = False
    if total or is_behind(directory.path):
        provenance = host_provenance()
        workplace = workplace_of(directory, loaded.data, options.plugin, loaded.trials, loaded.registry)
        view = LiveView(total, slots, console) if console.is_terminal else PlainView(total, console)
        # Set for SIGINT too: shells start what runs in the background with that signal ignored.
        for request in (signal.SIGINT, signal.SIGTERM):
            signal.signal(request, _interrupt)
        with Tracker(directory.path, loaded.suite.name, loaded.suite.suite.description) as tracker:
            tracker.summarise(lambda: _summary(loaded, records))
            tracker.plugin_files = workplace.plugin_files
            tracker.start(
                {"suite": str(options.suite), "command": " ".join(sys.argv[1:]), **_texts(provenance)}
            )
            observers = [view, tracker, PluginObserver(loaded.observers)]
            job = Run(directory, records, provenance, observers)
            try:
                with view:
                    job.run_trials(work, LocalExecutor(workplace, slots, threads, options.timeout))
                    with tracker.quiet():
                        job.measure_latencies(work, _exclusive(workplace, slots, options.timeout))
                update_agreement(directory, loaded.trials)
            except KeyboardInterrupt:
                interrupted = True
            tracking_seconds = tracker.close(interrupted=interrupted)
        for warning in tracker.warnings:
            console.print(warning, style="yellow", markup=False, soft_wrap=True)
        console.print(f"MLflow took {duration(tracking_seconds)} beside the run", markup=False)
    outcomes = [records[t.key] for t in loaded.selected if t.key in records]
    console.print(summary(outcomes), markup=False, soft_wrap=True)
    if interrupted:
        console.print(
            f"interrupted: {len(loaded.selected) - len(outcomes)} trials are left; "
            "the same command goes on from here",
            markup=False,
        )
        return INTERRUPTED
    page = render_site(
        [directory.path], directory.path / "site", title=loaded.suite.name, registry=loaded.registry
    )
    console.print(f"took {duration(time.monotonic() - started)}", markup=False)
    for label, value in (
        ("results", directory.results_file),
        ("MLflow", f"{directory.path / 'mlflow.db'}  (benchsuite ui {directory.path})"),
        ("page", page),
    ):
        console.print(f"  {label:<8} {value}", markup=False, soft_wrap=True)
    failed = [r for r in outcomes if r.status not in SETTLED]
    if failed and not options.retry_failed:
        console.print(
            f"{len(failed)} trials failed; once the cause is mended, run again with --retry-failed",
            markup=False,
        )
    return FAILED if failed else OK


def _summary(loaded: Loaded, records: Mapping[str, TrialRecord]) -> Path | None:
    """The leaderboard's summary of the whole suite, for MLflow."""
    found = [records[trial.key] for trial in loaded.trials if trial.key in records]
    pending = len(loaded.trials) - len(found)
    return render_summary(
        loaded.directory, found, loaded.directory.path / "summary", title=loaded.suite.name, pending=pending
    )


def slots_and_threads(chosen: list[str], jobs: int | None) -> tuple[list[str], int]:
    """The device of each slot and the CPU threads of each worker.

    On a CPU small networks gain nothing from threads, so the default is one worker a core with one thread.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count = jobs or (cores if chosen == ["cpu"] else len(chosen))
    slots = [chosen[n % len(chosen)] for n in range(count)]
    return slots, max(1, cores // count)


def _exclusive(workplace: Workplace, slots: list[str], timeout: float | None) -> Callable[[], Executor]:
    """One slot on the first device; one CPU thread, so that a latency means the same on every machine."""
    return lambda: LocalExecutor(workplace, slots[:1], 1, timeout)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def resolved(loaded: Loaded) -> dict[str, Any]:
    """The suite with every default filled in, as plain data for TOML."""
    result = loaded.suite.model_dump(mode="json", exclude_none=True)
    assert isinstance(result, dict)
    if loaded.suite.metrics.latency is None:
        result["metrics"]["latency"] = False
    return result


def host_provenance() -> dict[str, Any]:
    """Facts about this benchsuite and this host, for every record of an invocation."""
    import platform
    from importlib.metadata import version

    facts: dict[str, Any] = {
        "benchsuite": __version__,
        "torch": version("torch"),
        "torch_pruning": version("torch-pruning"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": platform.node(),
    }
    commit = _commit(Path(__file__).parent)
    return {**facts, "commit": commit} if commit else facts


def _commit(folder: Path) -> str | None:
    """The commit of the source tree that runs, marked if it was changed; None for an installed copy."""
    tracked = _git(folder, "ls-files", "--error-unmatch", "_version.py")
    return _git(folder, "describe", "--always", "--abbrev=12", "--dirty", "--exclude=*") if tracked else None


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(folder), *arguments]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603 - fixed words
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None if found.returncode == 0 else None


def _texts(facts: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in facts.items()}
