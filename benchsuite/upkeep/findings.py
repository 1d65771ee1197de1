"""What is not as it should be in a run directory, in sentences, and whether it can be mended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from benchsuite.execution.logs import LOG
from benchsuite.execution.surroundings import Limits
from benchsuite.store.counting import counted
from benchsuite.store.texts import printable
from benchsuite.upkeep.artifacts import artifacts_of
from benchsuite.upkeep.orphans import orphans_of
from benchsuite.upkeep.references import scorings_in
from benchsuite.upkeep.stage_state import STAGE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchsuite.upkeep.inspection import Inspected
    from benchsuite.upkeep.stage_state import StageState

Subject = Literal[
    "at work",
    "strange",
    "unreadable",
    "line",
    "torn line",
    "stage",
    "network",
    "artifact",
    "half-made",
    "temporary",
    "log",
    "other numbers",
    "orphan",
    "superseded",
    "freed",
    "old form",
    "mlflow",
]
_UNNAMED = {"dissection": "the dissection of a dense model", "concepts": "a packed concept set"}
"""What a person calls stages that records do not name."""
LONGEST_LOG = Limits().log
_SLACK = 1 << 10
"""A log that was cut has a line more that says so."""


@dataclass(frozen=True)
class Finding:
    """Something that a person should know of a run directory.

    Attributes:
        subject: what kind of thing it is about.
        where: a path within the run directory.
        what: a sentence.
        cure: what mends it, or what follows.
        wrong: whether it should not be so; the rest only informs.
        mends: whether a repair mends it.
        key: of the stage or trial that it is about.
        again: whether running that trial again mends it.
        bytes: what it takes on the disk, where that matters.
    """

    subject: Subject
    where: str
    what: str
    cure: str = ""
    wrong: bool = True
    mends: bool = False
    key: str = ""
    again: bool = False
    bytes: int = 0


def findings_of(seen: Inspected) -> list[Finding]:
    """Everything that a person should know, what is wrong first."""
    found = [*_of_files(seen), *_of_stages(seen), *_of_trials(seen), *_of_room(seen)]
    return sorted(found, key=lambda finding: not finding.wrong)


def _of_files(seen: Inspected) -> Iterator[Finding]:
    if seen.at_work:
        yield Finding(
            "at work", ".lock", "another process is at work here", "look again when it has ended", wrong=False
        )
    for where, what in seen.strange:
        yield Finding("strange", printable(where, 300), what, "is not followed and left alone")
    strange = {where for where, _ in seen.strange}
    for name, reason in seen.unreadable.items():
        if name not in strange:
            yield Finding("unreadable", name, f"is damaged ({reason})", "running the suite again rewrites it")
    for name, size in seen.temporary.items() if not seen.at_work else ():
        yield Finding(
            "temporary",
            name,
            "was left over while it was written",
            "a repair deletes it",
            mends=True,
            bytes=size,
        )
    for number, reason in seen.lines.damaged:
        yield Finding(
            "line",
            "results.jsonl",
            f"line {number} is no record: {reason}",
            "a repair moves it to results.damaged.jsonl",
            mends=True,
        )
    if seen.lines.torn and not seen.at_work:
        yield Finding(
            "torn line",
            "results.jsonl",
            f"the last line is torn, {seen.lines.torn} bytes without an end",
            "a repair drops it, as the next run does",
            mends=True,
        )


def _of_stages(seen: Inspected) -> Iterator[Finding]:
    longest = LONGEST_LOG + _SLACK
    for key, state in seen.stages.items():
        where = printable(f"stages/{key}", 300)
        if key in seen.references.finished:
            continue
        title = seen.references.titles.get(key) or _UNNAMED.get(state.kind or "", "a stage")
        fault = state.fault or _stale(seen, state)
        if fault or (state.gone and key not in seen.freed):
            what = fault or f"{state.gone[0]} is gone"
            yield Finding(
                "stage",
                where,
                f"{title}: {what}",
                "a repair removes it, and it is made anew when a trial needs it",
                mends=True,
                key=key,
            )
        elif state.form == "half-made" and not seen.at_work:
            yield Finding(
                "half-made",
                where,
                f"{title}: was never completed",
                "a repair removes it",
                mends=True,
                key=key,
                bytes=state.contents.bytes,
            )
    for key, state in seen.stages.items() if not seen.at_work else ():
        where = printable(f"stages/{key}", 300)
        for name in state.temporary if state.form != "half-made" else ():
            yield Finding(
                "temporary",
                f"{where}/{printable(name, 200)}",
                "was left over while it was written",
                "a repair deletes it",
                mends=True,
                key=key,
                bytes=state.contents.files[name],
            )
        if state.contents.files.get(LOG, 0) > longest:
            yield Finding(
                "log",
                f"{where}/{LOG}",
                f"is longer than {LONGEST_LOG >> 20} MiB",
                "a repair cuts it",
                mends=True,
                key=key,
                bytes=state.contents.files[LOG] - LONGEST_LOG,
            )


def _stale(seen: Inspected, state: StageState) -> str:
    """Whether a whole stage was made from others than there are now, as a sentence."""
    if not state.is_whole:
        return ""
    for parent in seen.references.parents.get(state.key, ()):
        there = seen.stages.get(parent)
        if there is not None and there.content and not there.fault and there.content != state.made_from:
            return "was made from another stage than there is now"
    return ""


def _of_trials(seen: Inspected) -> Iterator[Finding]:
    for key, record in seen.references.finished.items():
        state, title = seen.stages.get(key), seen.references.titles[key]
        current = seen.references.is_current(key)
        where = f"stages/{key}"
        fault = _fault_of_network(seen, key, state)
        if fault:
            cure = "its numbers stand; run it again to have its network, with --again"
            yield Finding(
                "network",
                where,
                f"{title}: {fault}",
                cure if current else "the suite has this trial no more, and its numbers stand",
                wrong=current,
                key=key,
                again=current,
            )
        there = () if state is None else state.contents.files
        absent = [name for name in artifacts_of(record) if name not in there]
        if absent and current and state is not None:
            yield Finding(
                "artifact",
                where,
                f"{title}: {', '.join(absent)} {'are' if len(absent) > 1 else 'is'} not there",
                "running it again makes them, with --again",
                key=key,
                again=True,
            )
        wrong = [
            role
            for role in ("train", *scorings_in(record.stages))
            if (stage := seen.stages.get(record.stages.get(role) or "")) is not None
            and stage.content
            and not stage.fault
            and record.stages.get(f"{role}_content") not in (None, stage.content)
        ]
        if wrong and current:
            yield Finding(
                "other numbers",
                where,
                f"{title}: stands on a stage that holds other numbers now",
                "the next run runs it again",
                key=key,
            )


def _fault_of_network(seen: Inspected, key: str, state: StageState | None) -> str:
    """What is wrong with the network of a finished trial, if something is."""
    if state is None:
        return "its folder is gone"
    if state.form in ("half-made", "log"):
        return f"{STAGE} is gone"
    if state.fault:
        return state.fault
    if state.gone and key not in seen.freed:
        return f"{state.gone[0]} is gone"
    return ""


def _of_room(seen: Inspected) -> Iterator[Finding]:
    """What is as it may be, and takes room or explains what is not there."""
    for key in orphans_of(seen):
        yield Finding(
            "orphan",
            printable(f"stages/{key}", 300),
            "no record and no cell of the suite refers to it",
            "clean frees it",
            wrong=False,
            key=key,
            bytes=seen.stages[key].contents.bytes,
        )
    if seen.references.unclear and seen.stages:
        reason = seen.references.unclear
        yield Finding(
            "orphan", "stages", f"which stages nothing refers to is not known: {reason}", wrong=False
        )
    freed = [key for key, state in seen.stages.items() if state.gone and key in seen.freed]
    if freed:
        yield Finding(
            "freed",
            "stages",
            f"the weights of {counted(len(freed), 'network')} were freed with clean",
            "they are made anew when a trial needs them, or with --again",
            wrong=False,
        )
    old = [key for key, state in seen.stages.items() if state.form == "old"]
    if old:
        yield Finding(
            "old form",
            "stages",
            f"{counted(len(old), 'stage')} from before checksums",
            "they cannot be checked",
            wrong=False,
        )
    superseded = [key for key in seen.lines.records if not seen.references.is_current(key)]
    if superseded:
        yield Finding(
            "superseded",
            "results.jsonl",
            f"{counted(len(superseded), 'record')} of an earlier form of the suite",
            "they are kept and not shown",
            wrong=False,
        )
