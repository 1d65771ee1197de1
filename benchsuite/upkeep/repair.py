"""Mends what is damaged or left over in a run directory, and takes away as little as it can."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchsuite.execution.logs import LOG, cap_log
from benchsuite.store.texts import printable
from benchsuite.upkeep.findings import LONGEST_LOG
from benchsuite.upkeep.own_files import contents_of, entries_of, remove_files, remove_folder
from benchsuite.upkeep.results_lines import set_aside
from benchsuite.upkeep.stage_state import KEPT, is_temporary

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from benchsuite.upkeep.findings import Finding


def repair(run: Path, findings: Iterable[Finding]) -> dict[Finding, str]:
    """Mend what can be mended; the directory's lock is held, which drops a torn last line.

    Args:
        run: the directory.
        findings: what `findings_of` says of it.

    Returns:
        What could not be mended, and why. Findings that no repair mends are not among it.
    """
    failed: dict[Finding, str] = {}
    wanted = [finding for finding in findings if finding.mends]
    lines = [finding for finding in wanted if finding.subject == "line"]
    try:
        if lines:
            set_aside(run / "results.jsonl")
    except OSError as error:
        failed |= dict.fromkeys(lines, _reason(error))
    for finding in wanted:
        try:
            if finding.subject in ("stage", "half-made"):
                empty(run / "stages", finding.key)
            elif finding.subject == "temporary" and not finding.key:
                remove_files(run, [finding.where])
            elif finding.subject == "temporary":
                drop_temporary(run / "stages" / finding.key)
            elif finding.subject == "log":
                cap_log(run / "stages" / finding.key / LOG, LONGEST_LOG)
        except OSError as error:
            failed[finding] = _reason(error)
    return failed


def empty(stages: Path, key: str) -> int:
    """Delete a stage but for what its worker said, and return the bytes that it took; raises `OSError`.

    The folder goes too where nothing is left in it.
    """
    folder = stages / key
    contents = contents_of(folder)
    if not any(contents.files.get(name) for name in KEPT):
        return remove_folder(stages, key)
    folders, others = entries_of(folder)
    freed = sum(remove_folder(folder, name) for name in folders)
    return freed + remove_files(folder, set(others).difference(KEPT))


def drop_temporary(folder: Path) -> int:
    """Delete the files that were left while they were written; returns their bytes, raises `OSError`."""
    freed = 0
    by_folder: dict[str, list[str]] = {}
    for name in contents_of(folder).files:
        below, _, last = name.rpartition("/")
        if is_temporary(last):
            by_folder.setdefault(below, []).append(last)
    for below, names in by_folder.items():
        freed += remove_files(folder / below, names)
    return freed


def _reason(error: OSError) -> str:
    return printable(error.strerror or str(error), 200)
