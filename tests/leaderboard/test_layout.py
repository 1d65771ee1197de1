from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchsuite_leaderboard.charts.layout import spread_apart
from benchsuite_leaderboard.charts.theme import shorten


@given(st.lists(st.floats(0, 100), max_size=8))
def test_labels_are_apart_within_the_chart_and_in_order(wanted: list[float]) -> None:
    placed = spread_apart(wanted, 12, 100)
    ordered = sorted(placed)
    assert all(b - a >= 12 - 1e-6 for a, b in pairwise(ordered))
    assert all(-1e-6 <= p <= 100 + 1e-6 for p in placed)
    pairs = sorted(zip(wanted, placed, strict=True))
    assert [p for _, p in pairs] == pytest.approx(ordered)


def test_labels_with_room_stay_where_they_belong() -> None:
    assert spread_apart([80, 10, 40], 12, 100) == [80, 10, 40]


def test_two_that_overlap_move_equally() -> None:
    assert spread_apart([50, 52], 12, 100) == [45, 57]


def test_too_many_share_the_room() -> None:
    assert spread_apart([50.0] * 5, 40, 100) == [0, 25, 50, 75, 100]


def test_long_names_keep_both_ends() -> None:
    short = shorten("reversed(" + "very-" * 40 + "long)", 30)
    assert len(short) == 30
    assert short.startswith("reversed(")
    assert short.endswith("long)")
    assert shorten("a\nb\x00") == "a b"
