"""Messages in pieces: each comes out whole, and nobody waits for the rest of one."""

from __future__ import annotations

import os
import struct
from multiprocessing import Pipe

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchsuite.execution.inbox import Inbox
from benchsuite.execution.messages import LONGEST

EVERYTHING = 1 << 20


@given(st.lists(st.binary(max_size=300), max_size=8), st.lists(st.integers(1, 200), max_size=20))
def test_messages_come_out_as_they_went_in(messages: list[bytes], cuts: list[int]) -> None:
    ours, theirs = Pipe()
    inbox, found = Inbox(ours), []
    sent = b"".join(struct.pack("!i", len(each)) + each for each in messages)
    for cut in [*cuts, len(sent)]:
        piece, sent = sent[:cut], sent[cut:]
        os.write(theirs.fileno(), piece)
        found += inbox.take(EVERYTHING)
        assert inbox.open
    os.write(theirs.fileno(), sent)
    theirs.close()
    found += inbox.take(EVERYTHING)
    assert found == messages
    assert not inbox.open
    inbox.close()


@pytest.mark.parametrize("length", [LONGEST + 1, -1, -(2**31)])
def test_what_is_longer_than_any_message_is_refused(length: int) -> None:
    ours, theirs = Pipe()
    os.write(theirs.fileno(), struct.pack("!i", length))
    inbox = Inbox(ours)
    with pytest.raises(ValueError, match="longer than 16 MiB"):
        list(inbox.take(EVERYTHING))
    inbox.close()
    theirs.close()


def test_one_that_sends_much_is_left_for_others_in_between() -> None:
    ours, theirs = Pipe()
    for _ in range(20):
        theirs.send_bytes(b"x" * 5000)
    inbox = Inbox(ours)
    first = list(inbox.take(10_000))
    assert 0 < len(first) < 20
    assert len(first) + len(list(inbox.take(EVERYTHING))) == 20
    inbox.close()
    theirs.close()
