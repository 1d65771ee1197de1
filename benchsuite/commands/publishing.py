"""`submit` and `verify`: results as a file that a stranger can send, and what is checked of it."""

from __future__ import annotations

import csv
import random
import tempfile
import tomllib
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w
from rich.console import Console

from benchsuite import devices, verification
from benchsuite.cli import FAILED, OK
from benchsuite.commands.loading import broken_plugins, data_folder, discover_checked, workplace_of
from benchsuite.commands.run import host_provenance, slots_and_threads
from benchsuite.errors import UsageError
from benchsuite.execution.local import LocalExecutor
from benchsuite.plan import build_plan, most_cells
from benchsuite.progress import PlainView
from benchsuite.published import Header, Published, read_published, write_published
from benchsuite.run import Run, agenda
from benchsuite.store import SETTLED, RunDirectory, TrialRecord
from benchsuite.suite import load_suite

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterable, Mapping, Sequence

    from benchsuite.plugins import Registry
    from benchsuite.tasks import Trial
    from benchsuite.verification import Problem

_VARIANTS = ("reversed(", "shuffled(", "scratch(")


def submit(options: Namespace) -> int:
    """Pack a complete run's records with its suite into one file."""
    directory = RunDirectory(options.run)
    found = directory.results()
    console = Console(highlight=False)
    suite = _suite_of(directory, found.records)
    name = str(suite["suite"]["name"])
    output: Path = options.output or Path(f"{name}.jsonl.gz")
    if output.exists():
        raise UsageError(f"not overwritten: {output} exists already; choose another name with --output")
    if found.pending or found.problems:
        for line in found.problems:
            _say(console, line)
        _say(
            console,
            f"{found.pending} trials of the suite have no outcome yet; run the suite to its end first",
        )
        return FAILED
    versions = {
        n: str(v) for n, v in host_provenance().items() if n in ("benchsuite", "torch", "python", "commit")
    }
    header = Header(name=name, suite=tomli_w.dumps(suite), cells=len(found.records), versions=versions)
    write_published(output, header, found.records)
    hosts = sorted({str(r.provenance["host"]) for r in found.records if "host" in r.provenance})
    _say(console, f"{output}: {len(found.records)} trials, {output.stat().st_size:,} bytes")
    _say(
        console,
        f"it names the machines {', '.join(hosts)} and holds the texts of errors; read it before you send it",
    )
    _say(console, f"check it with: benchsuite verify {output}")
    return OK


def verify(options: Namespace) -> int:
    """Check a results file, and run some of its trials again."""
    if not options.file.is_file():
        raise UsageError(f"there is no results file {options.file}")
    console = Console(highlight=False)
    registry, _ = discover_checked(options.plugin)
    for line in broken_plugins(registry):
        _say(console, line)
    data = data_folder(options.data)
    try:
        published = read_published(options.file)
        trials = _trials(published, registry, data)
    except UsageError as error:
        _say(console, str(error))
        return FAILED
    records = published.records
    checks: dict[str, list[Problem]] = {
        "schema": [verification.Problem("lines cannot be read", text) for text in published.problems],
        "completeness": verification.completeness(records, trials),
        "provenance": verification.provenance(records),
        "plausibility": verification.plausibility(records),
    }
    pairs = verification.matched(records, trials)
    _say(console, f"{options.file}: {len(records)} trials")
    for check, problems in checks.items():
        _report(console, check, "ok", problems)
    same = sum(trial.key == record.key for trial, record in pairs)
    _say(console, f"{'keys':<14}{_keys(same, len(records))}")
    if options.rerun:
        checks["run again"] = _rerun(options, pairs, data, registry, console)
    return FAILED if any(checks.values()) else OK


def _keys(same: int, total: int) -> str:
    if same == total:
        return "all as here: the same code, plugins and data"
    return f"{same} of {total} as here; the others were made with other code, plugins or data"


def _suite_of(directory: RunDirectory, records: Sequence[TrialRecord]) -> dict[str, Any]:
    """The run's suite with the scorers that "all" stood for when it ran: elsewhere others are installed."""
    try:
        suite = tomllib.loads(directory.suite_file.read_text("utf-8"))
        listed: list[Any] = suite["suite"]["scorers"]
    except FileNotFoundError:
        raise UsageError(f"{directory.path} has no suite.toml, so nobody could check its records") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{directory.suite_file} cannot be read: {error}") from error
    named = [entry["name"] if isinstance(entry, dict) else entry for entry in listed]
    if "all" in named:
        labels = [str(r.axes["scorer"]) for r in records]
        ran = {label.partition("(")[0] for label in labels if not label.startswith(_VARIANTS)}
        rest = sorted(ran - {"random", *named})
        kept = [entry for entry, name in zip(listed, named, strict=True) if name != "all"]
        suite["suite"]["scorers"] = [*rest, *kept]
    return suite


def _trials(published: Published, registry: Registry, data: Path) -> list[Trial]:
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
    return build_plan(suite, registry, data)


def _rerun(
    options: Namespace,
    pairs: Sequence[tuple[Trial, TrialRecord]],
    data: Path,
    registry: Registry,
    console: Console,
) -> list[Problem]:
    """Run a sample that nobody can foresee, in a folder of its own, and compare."""
    settled = [pair for pair in pairs if pair[1].status in SETTLED]
    sample = random.SystemRandom().sample(settled, min(options.rerun, len(settled)))
    if not sample:
        problems = [
            verification.Problem("no trial can be run again", "none has an outcome that is the suite's")
        ]
        _report(console, "run again", "", problems)
        return problems
    slots, threads = slots_and_threads(devices.parse_devices(options.devices), options.jobs)
    problems = []
    with tempfile.TemporaryDirectory(prefix="benchsuite-verify-") as folder:
        directory = RunDirectory(Path(folder))
        trials = [trial for trial, _ in sample]
        workplace = workplace_of(directory, data, options.plugin, trials, registry)
        again: dict[str, TrialRecord] = {}
        work = agenda(trials, again, retry_failed=False)
        with directory.locked():
            job = Run(directory, again, host_provenance(), [PlainView(len(sample), console)])
            job.run_trials(work, LocalExecutor(workplace, slots, threads, options.timeout))
        identical = 0
        for trial, claimed in sample:
            mine = again[trial.key]
            found = verification.disagreement(claimed, mine, _test_samples(directory.stage(trial.key)))
            problems += found
            identical += not found and _accuracies(mine.metrics) == _accuracies(claimed.metrics)
    _report(console, "run again", f"{len(sample)} trials agree, {identical} of them exactly", problems)
    _say(
        console,
        f"{'':<14}tolerance: accuracies {verification.STANDARD_ERRORS:g} standard errors of the test split; "
        f"costs exact, or within {verification.COST_TOLERANCE:.0%} of the dense cost where "
        "another machine's dense model decides how much goes from each layer",
    )
    return problems


def _accuracies(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if name.startswith(("accuracy/", "cost/"))}


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
    _say(console, f"{check:<14}{f'{counts.total()} problems' if counts else fine}")
    for kind, number in counts.most_common():
        _say(console, f"{'':<14}{number} x {kind}: {by_kind[kind][0]}" + (" …" if number > 1 else ""))


def _say(console: Console, text: str) -> None:
    """Print what may come from a stranger: no sign of it drives the terminal."""
    shown = "".join(c if c.isprintable() or c == "\n" else "?" for c in text)
    console.print(shown, markup=False, soft_wrap=True)
