"""A table on narrow screens: no line is longer than the screen, and nothing is left out silently."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from benchsuite.commands.fitted_table import Column, fit, screen_width

CELLS = st.lists(
    st.sampled_from(["", "0.5", "shuffled(magnitude-l2)", "層層層層層層層層", "a", "x" * 60]),
    min_size=3,
    max_size=3,
)


@st.composite
def tables(draw: st.DrawFn) -> list[Column]:
    ranks = draw(st.lists(st.integers(1, 9), min_size=1, max_size=8))
    columns = [
        Column(f"name {i}", tuple(draw(CELLS)), is_number=draw(st.booleans()), rank=rank)
        for i, rank in enumerate(ranks)
    ]
    return [Column("key", ("abcdef01", "abcdef02", "abcdef03")), *columns]


@given(tables(), st.integers(12, 200))
def test_no_line_is_longer_than_the_screen_and_all_is_accounted_for(columns, width):
    fitted = fit(columns, width)
    assert all(cell_len(line) <= width for line in fitted.lines())
    told = {name for name, _ in fitted.same} | set(fitted.dropped)
    for column in columns:
        shown = [c for c in fitted.columns if c.heading == column.heading]
        assert bool(shown) or column.heading in told or not any(column.cells)
        if column.is_number and shown:
            assert shown[0].cells == column.cells, "a number was cut"


@given(tables())
def test_without_a_limit_everything_is_shown(columns):
    assert fit(columns, None).columns == tuple(columns)


def test_texts_are_cut_in_the_middle_and_stay_apart():
    names = ("shuffled(magnitude-l1)", "shuffled(magnitude-l2)")
    (scorer,) = fit([Column("scorer", names, rank=1)], 16).columns
    assert len(set(scorer.cells)) == 2
    assert all("…" in cell and cell.endswith(("l1)", "l2)")) for cell in scorer.cells)


def test_what_is_the_same_in_all_rows_goes_first_then_the_highest_rank():
    columns = [
        Column("key", ("a", "b")),
        Column("model", ("mlp-with-a-name", "mlp-with-a-name"), rank=1),
        Column("after", ("91.4", "90.5"), is_number=True, rank=2),
        Column("params", ("1,000,000", "2,000,000"), is_number=True, rank=9),
    ]
    assert fit(columns, 30).notes() == ["the same in all rows: model mlp-with-a-name"]
    fitted = fit(columns, 20)
    assert [column.heading for column in fitted.columns] == ["key", "after"]
    assert fitted.notes() == ["the same in all rows: model mlp-with-a-name", "no room for: params"]


@pytest.mark.parametrize(("named", "width"), [("80", 80), ("", None), ("wide", None), ("0", None)])
def test_a_pipe_has_the_width_that_is_named_or_none(monkeypatch, named, width):
    monkeypatch.setenv("COLUMNS", named)
    assert screen_width(is_terminal=False, width=80) == width
    assert screen_width(is_terminal=True, width=100) == 100
