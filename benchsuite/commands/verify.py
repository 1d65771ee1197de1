"""`verify`: the checks on a results file, whoever made it."""

from __future__ import annotations

import math
import tempfile
import tomllib
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchsuite.commands.arguments import (
    MOST_THREADS,
    add_data,
    add_machine,
    add_plugins,
    add_signers,
    add_threads,
    positive,
)
from benchsuite.commands.exit_codes import FAILED, OK
from benchsuite.commands.loading import data_folder, discover_checked, doubtful_plugins
from benchsuite.commands.printing import say
from benchsuite.commands.rerun import can_be_run_again, run_again
from benchsuite.drawing.terminal import open_console
from benchsuite.errors import UsageError
from benchsuite.plan.contenders import most_cells
from benchsuite.plan.matrix import build_plan
from benchsuite.publishing import repeated
from benchsuite.publishing import verify as verification
from benchsuite.publishing.chances import chance_to_catch
from benchsuite.publishing.results_file import Published, read_published
from benchsuite.publishing.signatures import check_signature
from benchsuite.store.counting import counted
from benchsuite.suite import load_suite
from benchsuite.suite.missing import HINT, missing_plugins, told

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterable, Sequence

    from rich.console import Console

    from benchsuite.commands.rerun import Again
    from benchsuite.plan.trial import Trial
    from benchsuite.publishing.verify import Problem
    from benchsuite.registry.registry import Registry
    from benchsuite.store.record import TrialRecord


PROPOSED = 20
"""How many trials to run again are proposed to who runs none."""
_SHOWN = 50
"""Values that differ within the tolerance of which each has a line."""
SHARES = (0.05, 0.1)
"""The shares of forged cells whose chances to be caught are told."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("file", type=Path, metavar="FILE", help="a results file, as submit packs it")
    parser.add_argument(
        "--rerun",
        type=positive,
        default=0,
        metavar="N",
        help="run N random trials again, which alone shows that numbers were measured",
    )
    add_plugins(parser)
    add_data(parser)
    add_signers(parser)
    parser.add_argument(
        "--require-signature",
        action="store_true",
        help="something is wrong unless one of the signers that --signers lists signed the file",
    )
    add_machine(parser)
    add_threads(parser, default=None)


def run(options: Namespace) -> int:
    """Check a results file, and run some of its trials again."""
    if not options.file.is_file():
        raise UsageError(f"there is no results file {options.file}")
    if options.require_signature and options.signers is None:
        raise UsageError("--require-signature needs the list of those who may sign: --signers FILE")
    console = open_console()
    signature = check_signature(options.file, options.signers)
    registry, strangers = discover_checked(options)
    for line in doubtful_plugins(registry):
        say(console, line)
    data = data_folder(options.data)
    try:
        published = read_published(options.file)
        threads = options.threads or _threads(published.records)
        missing = missing_plugins(_content(published), registry)
        trials = [] if missing else _trials(published, registry, data, threads)
    except UsageError as error:
        say(console, str(error))
        return FAILED
    records = published.records
    checks: dict[str, list[Problem]] = {
        "schema": [verification.Problem("lines cannot be read", text) for text in published.problems],
        "completeness": [] if missing else verification.completeness(records, trials),
        "provenance": verification.provenance(records),
        "plausibility": verification.plausibility(records),
    }
    pairs = verification.matched(records, trials)
    say(console, f"{options.file}: {counted(len(records), 'trial')}")
    for check, problems in checks.items():
        _report(console, check, "not checked" if missing and check == "completeness" else "ok", problems)
    same = sum(trial.key == record.key for trial, record in pairs)
    checks["keys"] = verification.keys(records, trials)
    _report(console, "keys", "not checked" if missing else _keys(same, len(records)), checks["keys"])
    say(console, f"{'':<14}a key names the code, settings and data that are claimed; it signs no number")
    say(console, f"{'signature':<14}{signature.words}")
    required = options.require_signature and signature.verdict != "signed"
    if required:
        say(console, f"{'':<14}a signature by one of {options.signers} is required")
    if signature.verdict == "bad" or required:
        checks["signature"] = [verification.Problem("signature", signature.words)]
    if missing:
        say(console, f"{'plugins':<14}not here: {told(missing)}; without, the suite's cells and the")
        say(console, f"{'':<14}trials' keys are not checked and none is run again; {HINT}")
    elif options.rerun:
        again = run_again(options, pairs, data, (registry, strangers), threads, console)
        checks["run again"] = again.problems
        _report_again(console, again)
    else:
        _propose(console, len(can_be_run_again(pairs)))
    return FAILED if missing or any(checks.values()) else OK


def _report_again(console: Console, again: Again) -> None:
    _report(
        console,
        "run again",
        f"{counted(again.drawn, 'trial')} with the same outcome, {again.identical} of them exactly",
        again.problems,
    )
    if not again.drawn:
        return
    if again.unexpected:
        say(
            console,
            f"{'warning':<14}{counted(len(again.unexpected), 'value')} within the tolerance, or without one, "
            "and yet not the same, though others are exactly, or key, device, torch and threads are as here",
        )
        for odd in again.unexpected[:_SHOWN]:
            say(console, f"{'':<14}{odd.kind}: {odd.detail}")
        if len(again.unexpected) > _SHOWN:
            say(console, f"{'':<14}… and {len(again.unexpected) - _SHOWN} more")
    say(
        console,
        f"{'':<14}tolerance: accuracies {repeated.STANDARD_ERRORS:g} standard errors of the test split, "
        f"recalls where the numbers should be the same {repeated.RECALL_ERRORS:g} of their class's samples, "
        "losses by as large a share as the error rate; "
        f"costs exact, or within {repeated.COST_TOLERANCE:.0%} of the dense cost where "
        "another machine's dense model decides how much goes from each layer",
    )
    say(
        console,
        f"{'chance':<14}of a forged cell among the {again.drawn}: {_chances(again.cells, again.drawn)}",
    )
    say(console, f"{'':<14}(forged beyond the tolerance; what is within it, a rerun cannot tell)")


def _propose(console: Console, cells: int) -> None:
    """Say that nothing was proved, and what would."""
    say(
        console,
        f"{'run again':<14}nothing: whether the numbers were measured, only --rerun N shows; consistent ones "
        "can be made up",
    )
    if cells:
        again = min(PROPOSED, cells)
        say(console, f"{'':<14}chance of a forged cell among --rerun {again}: {_chances(cells, again)}")


def _chances(cells: int, again: int) -> str:
    """With which chance at least one forged cell is drawn, for one and for some shares of the cells."""
    numbers = {1: f"1 of {cells} is forged"}
    for share in SHARES:
        forged = math.ceil(cells * share)
        numbers.setdefault(forged, f"{forged} ({share:.0%}) are")
    return ", ".join(
        f"{_percent(chance_to_catch(cells, forged, again))} if {what}" for forged, what in numbers.items()
    )


def _percent(chance: float) -> str:
    """A chance that is not certain does not look so."""
    return ">99.9%" if 0.9995 <= chance < 1 else f"{chance:.1%}"


def _keys(same: int, total: int) -> str:
    if same == total:
        return "all as here: the same code, plugins and data"
    return f"{same} of {total} as here; the others were made with other code, plugins or data"


def _threads(records: Sequence[TrialRecord]) -> int:
    """The CPU threads that most of the trials had."""
    named = [record.provenance.get("threads") for record in records]
    counted = Counter(n for n in named if type(n) is int and 0 < n <= MOST_THREADS)
    return counted.most_common(1)[0][0] if counted else 1


def _content(published: Published) -> dict[str, Any]:
    """The file's suite as data; raises `UsageError` where nothing of it is to be used here."""
    path, header = published.path, published.header
    if header is None:
        raise UsageError(f"{path} has no header line with its suite; benchsuite submit writes one")
    if header.cells != len(published.records) and not published.problems:
        raise UsageError(
            f"{path} should hold {counted(header.cells, 'record')}, and holds {len(published.records)}"
        )
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
    return content


def _trials(published: Published, registry: Registry, data: Path, threads: int) -> list[Trial]:
    """The cells that the file's suite spans; raises `UsageError` where its suite is not valid here."""
    path, header = published.path, published.header
    assert header is not None
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
        raise UsageError(
            f"{path}: its suite spans up to {counted(most, 'cell')}, the file has {len(published.records)}"
        )
    return build_plan(suite, registry, data, threads)


def _report(console: Console, check: str, fine: str, problems: Iterable[Problem]) -> None:
    by_kind: dict[str, list[str]] = defaultdict(list)
    for problem in problems:
        by_kind[problem.kind].append(problem.detail)
    counts = Counter({kind: len(details) for kind, details in by_kind.items()})
    found = counted(counts.total(), "problem")
    say(console, f"{check:<14}{found if counts else fine}")
    for kind, number in counts.most_common():
        say(console, f"{'':<14}{number} x {kind}: {by_kind[kind][0]}" + (" …" if number > 1 else ""))
