"""`verify`: the checks on a results file, whoever made it."""

from __future__ import annotations

import csv
import random
import tempfile
import tomllib
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from benchsuite.commands.arguments import (
    MOST_THREADS,
    add_data,
    add_machine,
    add_plugins,
    add_threads,
    positive,
)
from benchsuite.commands.exit_codes import FAILED, OK
from benchsuite.commands.loading import broken_plugins, data_folder, discover_checked, surroundings_of
from benchsuite.commands.printing import say
from benchsuite.commands.run import host_provenance, slots_of
from benchsuite.drawing.terminal import open_console
from benchsuite.errors import UsageError
from benchsuite.execution import entry
from benchsuite.execution.local import LocalExecutor
from benchsuite.execution.pending_work import pending_work
from benchsuite.execution.progress import PlainView, varied_axes
from benchsuite.execution.run import Run
from benchsuite.hardware import devices
from benchsuite.plan.matrix import build_plan, most_cells
from benchsuite.publishing import verify as verification
from benchsuite.publishing.results_file import Published, read_published
from benchsuite.store import metric_names
from benchsuite.store.record import SETTLED, TrialRecord
from benchsuite.store.run_directory import RunDirectory
from benchsuite.suite import load_suite

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterable, Mapping, Sequence

    from rich.console import Console

    from benchsuite.plan.trial import Trial
    from benchsuite.publishing.verify import Problem
    from benchsuite.registry.registry import Registry
    from benchsuite.registry.strangers import Strangers


def add_arguments(parser: ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("file", type=Path, metavar="FILE", help="a results file, as submit packs it")
    parser.add_argument("--rerun", type=positive, default=0, metavar="N", help="run N random trials again")
    add_plugins(parser)
    add_data(parser)
    add_machine(parser)
    add_threads(parser, default=None)


def run(options: Namespace) -> int:
    """Check a results file, and run some of its trials again."""
    if not options.file.is_file():
        raise UsageError(f"there is no results file {options.file}")
    console = open_console()
    registry, strangers = discover_checked(options)
    for line in broken_plugins(registry):
        say(console, line)
    data = data_folder(options.data)
    try:
        published = read_published(options.file)
        threads = options.threads or _threads(published.records)
        trials = _trials(published, registry, data, threads)
    except UsageError as error:
        say(console, str(error))
        return FAILED
    records = published.records
    checks: dict[str, list[Problem]] = {
        "schema": [verification.Problem("lines cannot be read", text) for text in published.problems],
        "completeness": verification.completeness(records, trials),
        "provenance": verification.provenance(records),
        "plausibility": verification.plausibility(records),
    }
    pairs = verification.matched(records, trials)
    say(console, f"{options.file}: {len(records)} trials")
    for check, problems in checks.items():
        _report(console, check, "ok", problems)
    same = sum(trial.key == record.key for trial, record in pairs)
    say(console, f"{'keys':<14}{_keys(same, len(records))}")
    if options.rerun:
        checks["run again"] = _rerun(options, pairs, data, (registry, strangers), threads, console)
    return FAILED if any(checks.values()) else OK


def _keys(same: int, total: int) -> str:
    if same == total:
        return "all as here: the same code, plugins and data"
    return f"{same} of {total} as here; the others were made with other code, plugins or data"


def _threads(records: Sequence[TrialRecord]) -> int:
    """The CPU threads that most of the trials had."""
    named = [record.provenance.get("threads") for record in records]
    counted = Counter(n for n in named if type(n) is int and 0 < n <= MOST_THREADS)
    return counted.most_common(1)[0][0] if counted else 1


def _trials(published: Published, registry: Registry, data: Path, threads: int) -> list[Trial]:
    """The cells that the file's suite spans; raises `UsageError` where its suite is not to be used here."""
    path, header = published.path, published.header
    if header is None:
        raise UsageError(f"{path} has no header line with its suite; benchsuite submit writes one")
    if header.cells != len(published.records) and not published.problems:
        raise UsageError(f"{path} should hold {header.cells} records, and holds {len(published.records)}")
    try:
        content = tomllib.loads(header.suite)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"{path}: its suite is not valid TOML: {error}") from error
    section = content.get("suite")
    about = (
        {"suite": {k: v for k, v in section.items() if k != "description"}}
        if isinstance(section, dict)
        else {}
    )
    verification.names_no_files(content | about)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "suite.toml"
        file.write_text(header.suite, encoding="utf-8")
        try:
            suite = load_suite(file, registry)
        except UsageError as error:
            raise UsageError(
                f"{path}: its suite is not valid here\n{error}".replace(str(file), "suite")
            ) from error
    most = most_cells(suite, registry)
    if most > 2 * len(published.records) + 1000:
        raise UsageError(f"{path}: its suite spans up to {most} cells, the file has {len(published.records)}")
    return build_plan(suite, registry, data, threads)


def _rerun(
    options: Namespace,
    pairs: Sequence[tuple[Trial, TrialRecord]],
    data: Path,
    plugins: tuple[Registry, Strangers],
    threads: int,
    console: Console,
) -> list[Problem]:
    """Run a random sample of the trials again, in a folder of its own, and compare."""
    settled = [pair for pair in pairs if pair[1].status in SETTLED]
    sample = random.SystemRandom().sample(settled, min(options.rerun, len(settled)))
    if not sample:
        problems = [
            verification.Problem("no trial can be run again", "none has an outcome that is the suite's")
        ]
        _report(console, "run again", "", problems)
        return problems
    slots = slots_of(devices.parse_devices(options.devices), options.jobs)
    problems = []
    with tempfile.TemporaryDirectory(prefix="benchsuite-verify-") as folder:
        directory = RunDirectory(Path(folder))
        trials = [trial for trial, _ in sample]
        surroundings = surroundings_of(directory, data, trials, *plugins, options, threads)
        again: dict[str, TrialRecord] = {}
        work = pending_work(trials, again, directory, retry_failed=False)
        with directory.locked():
            job = Run(
                directory, again, host_provenance(), [PlainView(len(sample), console, varied_axes(trials))]
            )
            job.run_trials(work, lambda: LocalExecutor(entry.main, surroundings, slots))
        identical = 0
        for trial, claimed in sample:
            mine = again[trial.key]
            found = verification.disagreement(claimed, mine, _test_samples(directory.stage(trial.key)))
            problems += found
            identical += not found and _accuracies(mine.metrics) == _accuracies(claimed.metrics)
    _report(console, "run again", f"{len(sample)} trials agree, {identical} of them exactly", problems)
    say(
        console,
        f"{'':<14}tolerance: accuracies {verification.STANDARD_ERRORS:g} standard errors of the test split; "
        f"costs exact, or within {verification.COST_TOLERANCE:.0%} of the dense cost where "
        "another machine's dense model decides how much goes from each layer",
    )
    return problems


def _accuracies(metrics: Mapping[str, float]) -> dict[str, float]:
    return {
        name: value
        for name, value in metrics.items()
        if name.startswith((metric_names.ACCURACY, metric_names.COST))
    }


def _test_samples(stage: Path) -> int:
    """Size of the test split, from the counts that a finished trial keeps; 1 where it did not finish."""
    try:
        with (stage / "confusion.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))[1:]
    except FileNotFoundError:
        return 1
    return sum(int(count) for row in rows for count in row[1:])


def _report(console: Console, check: str, fine: str, problems: Iterable[Problem]) -> None:
    by_kind: dict[str, list[str]] = defaultdict(list)
    for problem in problems:
        by_kind[problem.kind].append(problem.detail)
    counts = Counter({kind: len(details) for kind, details in by_kind.items()})
    say(console, f"{check:<14}{f'{counts.total()} problems' if counts else fine}")
    for kind, number in counts.most_common():
        say(console, f"{'':<14}{number} x {kind}: {by_kind[kind][0]}" + (" …" if number > 1 else ""))
