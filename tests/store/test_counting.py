"""Numbers with their nouns."""

from __future__ import annotations

import pytest

from benchsuite.store.counting import counted, noun_for


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0 trials"), (1, "1 trial"), (2, "2 trials"), (1200, "1200 trials")]
)
def test_one_is_singular(number, words):
    assert counted(number, "trial") == words


def test_a_plural_may_be_given():
    assert (noun_for(1, "copy", "copies"), noun_for(3, "copy", "copies")) == ("copy", "copies")
