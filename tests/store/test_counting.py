"""Numbers with their nouns."""

from __future__ import annotations

import pytest

from benchsuite.store.counting import counted


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0 trials"), (1, "1 trial"), (2, "2 trials"), (1200, "1200 trials")]
)
def test_one_is_singular(number, words):
    assert counted(number, "trial") == words


def test_a_plural_may_be_given():
    assert (counted(1, "copy", "copies"), counted(3, "copy", "copies")) == ("1 copy", "3 copies")
