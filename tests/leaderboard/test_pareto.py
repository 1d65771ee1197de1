from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from benchsuite_leaderboard.statistics.pareto import pareto_front


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=15))
def test_the_front_is_what_nothing_dominates(points: list[tuple[int, int]]) -> None:
    free = {
        (cost, quality)
        for cost, quality in points
        if not any(c <= cost and q >= quality and (c, q) != (cost, quality) for c, q in points)
    }
    front = pareto_front(points)
    assert {points[i] for i in front} == free
    assert len(front) == len(free)
    assert [points[i][0] for i in front] == sorted(points[i][0] for i in front)
