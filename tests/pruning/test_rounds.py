"""Rounds: each removes the same share of what is left, and the last one reaches the target."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchsuite.pruning.rounds import geometric_rounds, rounds_of_share

SPARSITIES = st.floats(0.01, 0.99)


@given(SPARSITIES, st.integers(1, 12))
def test_geometric_rounds_leave_the_same_share_each_time(sparsity, rounds):
    found = geometric_rounds(sparsity, rounds)
    left = [1.0, *(1 - s for s in found)]
    assert len(found) == rounds
    assert found[-1] == sparsity
    assert [b / a for a, b in pairwise(left)] == pytest.approx([(1 - sparsity) ** (1 / rounds)] * rounds)


@given(SPARSITIES, st.floats(0.05, 0.5))
def test_no_round_removes_more_than_the_share(sparsity, share):
    found = rounds_of_share(sparsity, share)
    left = [1.0, *(1 - s for s in found)]
    ratios = [b / a for a, b in pairwise(left)]
    assert found[-1] == sparsity
    assert ratios[:-1] == pytest.approx([1 - share] * (len(found) - 1))
    assert 1 - share - 1e-6 <= ratios[-1] <= 1


def test_twenty_per_cent_rounds_reach_five_per_cent_in_fourteen():
    assert len(rounds_of_share(0.95, 0.2)) == 14
    assert rounds_of_share(0.488, 0.2) == pytest.approx([0.2, 0.36, 0.488])
    assert geometric_rounds(0.0, 5) == rounds_of_share(0.0, 0.2) == [0.0]
