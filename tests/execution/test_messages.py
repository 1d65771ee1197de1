"""Messages of workers: whatever a process sends is a message with printable texts, or refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchsuite.execution.messages import (
    Completed,
    Finished,
    Measured,
    Sent,
    StageFailed,
    Started,
    Told,
    decoded,
    encoded,
)
from benchsuite.store.record import TrialRecord
from benchsuite.store.texts import LONGEST_TEXT, printable

ANY_TEXT = st.text(st.characters(categories=None), max_size=200)
RECORD = TrialRecord("a" * 20, {"scorer": "a", "seed": 0}, "done", {"accuracy/top1": 0.5})


@pytest.mark.parametrize(
    "message",
    [
        Started(None, "train"),
        Started("key", "a trial"),
        Finished(RECORD),
        StageFailed("unsupported", "no convolution"),
        Told("a sentence"),
        Measured("key", {"latency/batch1_ms": 0.25}),
        Completed(),
    ],
)
def test_messages_arrive_as_they_were_sent(message: Sent) -> None:
    assert decoded(encoded(message)) == message


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_what_is_no_message_is_refused(sent: bytes) -> None:
    with pytest.raises(ValueError, match=r"no message|JSON|schema_version"):
        decoded(sent)


@pytest.mark.parametrize(
    "sent",
    [
        {"kind": "started", "trial": 3, "what": "x"},
        {"kind": "stage-failed", "status": "great", "error": ""},
        {"kind": "measured", "trial": "k", "metrics": {"a": "fast"}},
        {"kind": "finished", "record": {"key": "k"}},
        {"kind": "finished"},
        {"kind": "other"},
        [],
        None,
    ],
)
def test_messages_of_the_wrong_form_are_refused(sent: object) -> None:
    with pytest.raises(ValueError):
        decoded(json.dumps(sent).encode())


@given(ANY_TEXT)
def test_texts_arrive_printable(text: str) -> None:
    for message in (StageFailed("failed", text), Told(text), Started(None, text)):
        found = decoded(encoded(message))
        shown = next(v for v in (getattr(found, n, None) for n in ("error", "text", "what")) if v is not None)
        assert "\x1b" not in shown
        shown.encode()
    record = decoded(encoded(Finished(TrialRecord("a" * 20, {}, "failed", error=text))))
    assert isinstance(record, Finished)
    (record.record.error or "").encode()


@given(ANY_TEXT, st.integers(40, 400))
def test_printable_text_is_short_and_of_the_same_words(text: str, longest: int) -> None:
    found = printable(text, longest)
    assert len(found.encode()) <= longest
    assert printable(found, longest) == found
    if text.isprintable() and len(text.encode()) <= longest:
        assert found == text


def test_of_a_long_text_the_beginning_and_the_end_are_kept() -> None:
    text = "first" + "y" * 5_000_000 + "last"
    found = printable(text)
    assert found.startswith("first")
    assert found.endswith("last")
    assert len(found.encode()) <= LONGEST_TEXT
