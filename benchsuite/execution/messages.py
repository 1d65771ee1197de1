"""What workers tell their run, as lines of JSON: the run never unpickles what a worker's process sends.

A worker runs code of strangers, so whatever arrives here is checked, made printable and cut to a length.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from benchsuite.store.record import Status, TrialRecord
from benchsuite.store.texts import printable

LONGEST = 16 << 20
"""Bytes of the longest message that is read."""


@dataclass(frozen=True)
class Started:
    """A worker begins a trial, or (key None) the stage before the trials."""

    trial: str | None
    what: str
    kind: Literal["started"] = "started"


@dataclass(frozen=True)
class Finished:
    """A trial has its outcome."""

    record: TrialRecord
    kind: Literal["finished"] = "finished"


@dataclass(frozen=True)
class StageFailed:
    """What the job makes for trials failed, so none of those that stand on it can run."""

    status: Status
    error: str
    kind: Literal["stage-failed"] = "stage-failed"


@dataclass(frozen=True)
class NotStored:
    """The machine cannot store what was computed, such as on a full disk; the run ends with this reason."""

    error: str
    kind: Literal["not-stored"] = "not-stored"


@dataclass(frozen=True)
class Told:
    """A sentence for whoever watches the run."""

    text: str
    kind: Literal["told"] = "told"


@dataclass(frozen=True)
class Measured:
    """Latency metrics of a trial's architecture."""

    trial: str
    metrics: dict[str, float]
    kind: Literal["measured"] = "measured"


@dataclass(frozen=True)
class Completed:
    """The worker's last word: its job is done, be it with errors."""

    kind: Literal["completed"] = "completed"


@dataclass(frozen=True)
class Ended:
    """A job's worker is gone: after its work, or because it was stopped or died. The executor says it.

    `stopped` is what a run asked for: what the job has not done is left to the next run.
    """

    reason: Literal["finished", "timeout", "killed", "stopped"]
    detail: str = ""


Sent = Started | Finished | StageFailed | NotStored | Told | Measured | Completed
Message = Sent | Ended

_SENT: TypeAdapter[Sent] = TypeAdapter(Annotated[Sent, Field(discriminator="kind")])


def encoded(message: Sent) -> bytes:
    """The message as it travels, with printable texts, which are short."""
    return json.dumps(asdict(_printable(message))).encode()


def decoded(sent: bytes) -> Sent:
    """The message that a worker sent, with printable texts; raises `ValueError` for anything else."""
    try:
        data: Any = json.loads(sent)
        # Halves of surrogate pairs, which JSON can name and no text can hold, become question marks.
        whole = json.dumps(data, ensure_ascii=False).encode("utf-8", "replace")
    except (ValueError, RecursionError) as error:
        raise ValueError(f"a worker sent what is no message: {error}") from error
    if isinstance(data, dict) and data.get("kind") == "finished":
        return Finished(TrialRecord.from_json(json.dumps(data.get("record"))))
    try:
        message = _SENT.validate_json(whole, strict=True)
    except ValidationError as error:
        raise ValueError(f"a worker sent what is no message: {error.errors()[0]['msg']}") from error
    return _printable(message)


def _printable(message: Sent) -> Sent:
    match message:
        case Started(what=what):
            return replace(message, what=printable(what))
        case Told(text=text):
            return replace(message, text=printable(text))
        case StageFailed(error=text) | NotStored(error=text):
            return replace(message, error=printable(text))
        case Finished(record=TrialRecord(error=str(text)) as record):
            return replace(message, record=replace(record, error=printable(text)))
    return message
