"""The part of `doctor` about a run directory: what is wrong with it, and its repair."""

from __future__ import annotations

import contextlib
import json
import shlex
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.text import Text

from benchsuite.commands.again import again_command
from benchsuite.commands.exit_codes import FAILED, OK
from benchsuite.commands.loading import discover_named
from benchsuite.commands.printing import put, size
from benchsuite.drawing.terminal import open_console
from benchsuite.errors import UsageError
from benchsuite.store.counting import counted
from benchsuite.store.files import described
from benchsuite.store.run_directory import RunDirectory
from benchsuite.tracking import database_damage, has_lost_store, is_behind
from benchsuite.upkeep.findings import Finding, findings_of
from benchsuite.upkeep.inspection import Inspected, inspect
from benchsuite.upkeep.repair import repair

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence
    from pathlib import Path

_DAMAGED = "mlflow.damaged.db"
"""Where a database goes that is none."""
_SHOWN = 20
"""Findings of one kind that the table lists; JSON lists them all."""
_COLOURS = {"wrong": "red", "mended": "green", "note": "dim"}


def report(options: Namespace) -> int:
    """Show what is wrong with a run directory, after its repair if that is asked for."""
    directory = RunDirectory(options.run)
    failed: dict[Finding, str] | None = None
    obstacle = ""
    if options.repair:
        before = inspect(directory.path, check=False)
        obstacle = before.obstacle
        if not obstacle:
            try:
                with directory.locked():
                    seen = inspect(directory.path, ours=True)
                    torn = [f for f in findings_of(before) if f.subject == "torn line"]
                    findings = [*torn, *_findings(seen)]
                    failed = _repaired(directory, options, seen, findings)
                    findings = _with_orphans_anew(directory.path, findings, failed)
            except UsageError as error:  # another process was faster
                obstacle = str(error)
    if failed is None:
        seen = inspect(directory.path)
        findings = _findings(seen)
    left = [f for f in findings if f.wrong and (failed is None or not f.mends or f in failed)]
    if options.format == "json":
        _print_json(seen, findings, failed, obstacle)
    else:
        _print_table(seen, findings, failed)
        _print_rest(options, directory, findings, left, failed, obstacle or seen.obstacle)
    return FAILED if left else OK


def _findings(seen: Inspected) -> list[Finding]:
    found = findings_of(seen)
    strange = dict(seen.strange)
    if "mlflow.db" in strange:
        cure = "once it is moved away, mlflow-sync fills a new one"
        found.append(Finding("mlflow", "mlflow.db", "MLflow cannot use it", cure))
    elif (damage := _database_damage(seen)) is not None:
        cure = f"a repair moves it to {_DAMAGED} and fills a new one"
        found.append(Finding("mlflow", "mlflow.db", f"is damaged ({damage})", cure, mends=True))
    elif is_behind(seen.run) and not seen.at_work:
        cure = "a repair brings them in, as mlflow-sync does"
        found.append(Finding("mlflow", "mlflow.db", "MLflow may lack trials of this run", cure, mends=True))
    elif seen.lines.records and has_lost_store(seen.run) and not seen.at_work:
        cure = "benchsuite mlflow-sync makes one, as the next run does"
        found.append(Finding("mlflow", "mlflow.db", "is not there", cure, wrong=False))
    return sorted(found, key=lambda finding: not finding.wrong)


def _database_damage(seen: Inspected) -> str | None:
    database = seen.run / "mlflow.db"
    return database_damage(database) if database.is_file() and not seen.at_work else None


def _repaired(
    directory: RunDirectory, options: Namespace, seen: Inspected, findings: Sequence[Finding]
) -> dict[Finding, str]:
    """Mend what can be mended, and return what could not be, with the reason."""
    lines = [finding for finding in findings if finding.subject == "line"]
    failed = repair(directory.path, lines)
    # MLflow comes before the stages: what it lacks may stand in one that is removed.
    for finding in findings:
        if finding.subject == "mlflow" and (reason := _not_synchronised(directory, options, seen)):
            failed[finding] = reason
    failed |= repair(directory.path, [finding for finding in findings if finding.subject != "line"])
    return failed


def _with_orphans_anew(run: Path, findings: Sequence[Finding], failed: dict[Finding, str]) -> list[Finding]:
    """The findings; which stages nothing refers to may be known only without the damaged lines."""
    lines = [finding for finding in findings if finding.subject == "line"]
    if not lines or any(finding in failed for finding in lines):
        return list(findings)
    anew = findings_of(inspect(run, check=False, ours=True))
    return [
        *(finding for finding in findings if finding.subject != "orphan"),
        *(finding for finding in anew if finding.subject == "orphan"),
    ]


def _not_synchronised(directory: RunDirectory, options: Namespace, seen: Inspected) -> str:
    """Bring MLflow up to date; why not all could be shown, if so."""
    from benchsuite.commands.mlflow_sync import synchronise

    if seen.strange:  # what a link leads to would be logged
        return f"{seen.strange[0][0]} {seen.strange[0][1]}"
    try:
        if _database_damage(seen) is not None:
            for suffix in ("", "-journal", "-wal", "-shm"):  # what lies beside it belongs to it
                with contextlib.suppress(FileNotFoundError):
                    (seen.run / f"mlflow.db{suffix}").replace(seen.run / f"{_DAMAGED}{suffix}")
        _, strangers = discover_named(options)
        return "; ".join(synchronise(directory, directory.results(), strangers).warnings)
    except UsageError as error:
        return str(error)
    except OSError as error:
        return described(error)


def _state(finding: Finding, failed: dict[Finding, str] | None) -> str:
    if failed is not None and finding.mends and finding not in failed:
        return "mended"
    return "wrong" if finding.wrong else "note"


def _print_json(
    seen: Inspected, findings: Sequence[Finding], failed: dict[Finding, str] | None, obstacle: str
) -> None:
    listed = [
        {**asdict(finding), "state": _state(finding, failed), "not_mended": (failed or {}).get(finding)}
        for finding in findings
    ]
    content = {
        "run": str(seen.run),
        "records": len(seen.lines.records),
        "stages": len(seen.stages),
        "bytes": sum(state.contents.bytes for state in seen.stages.values()),
        "not_repaired": obstacle or None,
        "findings": listed,
    }
    put(json.dumps(content, indent=1, ensure_ascii=True))


def _print_table(seen: Inspected, findings: Sequence[Finding], failed: dict[Finding, str] | None) -> None:
    console = open_console()
    taken = sum(state.contents.bytes for state in seen.stages.values())
    counts = (
        f"{counted(len(seen.lines.records), 'record')}, {counted(len(seen.stages), 'stage')} of {size(taken)}"
    )
    console.print(f"{seen.run}: {counts}", markup=False, soft_wrap=True)
    shown: Counter[str] = Counter()
    for finding in findings:
        shown[finding.subject] += 1
        if shown[finding.subject] <= _SHOWN:
            state = _state(finding, failed)
            what = f"{finding.what} ({size(finding.bytes)})" if finding.bytes else finding.what
            cure = "" if state == "mended" else (failed or {}).get(finding, finding.cure)
            text = f"{finding.where}: {what}; {cure}" if cure else f"{finding.where}: {what}"
            console.print(Text(f"{state:<7} ", _COLOURS[state]), Text(text), sep="", soft_wrap=True)
    for subject, count in shown.items():
        if count > _SHOWN:
            more = f"and {count - _SHOWN} more about: {subject} (--format json lists all)"
            console.print(f"        {more}", markup=False, soft_wrap=True)


def _print_rest(
    options: Namespace,
    directory: RunDirectory,
    findings: Sequence[Finding],
    left: Sequence[Finding],
    failed: dict[Finding, str] | None,
    obstacle: str,
) -> None:
    """What a person can do about it."""
    run = shlex.quote(str(options.run))
    lines = []
    if obstacle and options.repair:
        lines.append(f"nothing was repaired: {obstacle}")
    mendable = sum(finding.mends for finding in left)
    if not left:
        lines.append("all is well" if failed is None else "all is well now")
    elif failed is None and mendable and not obstacle:
        lines.append(f"{len(left)} wrong; {mendable} of them can be mended: benchsuite doctor {run} --repair")
    elif mendable and obstacle and not options.repair:
        lines.append(f"{len(left)} wrong; nothing can be repaired now: {obstacle}")
    else:
        lines.append(f"{len(left)} wrong")
    again = list(dict.fromkeys(finding.key for finding in findings if finding.again))
    if again:
        lines.append(f"run again: {again_command(directory, again, options)}")
    console = open_console()
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)
