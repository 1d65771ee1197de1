from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from drawn_marks import drawn_marks
from hypothesis import given
from hypothesis import strategies as st

from benchsuite_leaderboard.board import Criterion
from benchsuite_leaderboard.charts.theme import looks, share_format
from benchsuite_leaderboard.charts.trade_off import Choice, front, hidden, trade_off
from benchsuite_leaderboard.charts.vegalite import axis, layer, to_svg

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchsuite.store.record import TrialRecord


def choice(name: str, cost: float, accuracy: float) -> Choice:
    return Choice(Criterion(name, name), 0.5, cost, accuracy)


def test_equal_choices_are_all_on_the_front() -> None:
    made = [choice("b", 0.5, 0.9), choice("a", 0.5, 0.9), choice("c", 0.5, 0.8), choice("d", 0.6, 0.9)]
    assert [c.criterion.label for c in front(made)] == ["a", "b"]
    assert [[c.criterion.label for c in group] for group in hidden(made)] == [["b", "a"]]


def test_costs_that_differ_in_rounding_are_equal() -> None:
    made = [choice("worse", 0.5 - 1e-12, 0.8), choice("better", 0.5, 0.9)]
    assert [c.criterion.label for c in front(made)] == ["better"]


def test_only_the_front_the_leaders_and_the_controls_are_in_colour() -> None:
    criteria = [Criterion(f"c{i}", f"c{i}") for i in range(12)]
    control = Criterion("random", "random")
    # The last, which has no colour of its own, is on the front.
    made = [
        Choice(c, 0.5, 0.5 + (i == 11) * 0.01, 0.9 + i / 1000) for i, c in enumerate([*criteria, control])
    ]
    svg = trade_off(made, looks(criteria, [control]), cost_title="MACs", label="")
    assert svg is not None
    by_name = {
        title.partition(":")[0]: of.get("fill", of.get("stroke"))
        for tag, of, title in drawn_marks(str(svg))
        if tag == "circle"
    }
    assert [by_name[f"c{i}"] for i in range(7)] == [f"var(--series-{i + 1})" for i in range(7)]
    assert by_name["c11"] == "var(--ink-2)"
    assert {by_name[f"c{i}"] for i in range(7, 10)} == {"var(--faint)"}
    named = set(re.findall(r">(c\d+|random)</text>", str(svg)))
    assert named == {"random", *(f"c{i}" for i in range(7))}


def test_each_criterion_has_a_line_of_its_own_through_its_dots() -> None:
    """Also two controls of one colour and one dash, which are drawn in one layer."""
    criteria = [Criterion("a", "a"), Criterion("b", "b")]
    controls = [Criterion(f"shuffled({c.label})", "shuffled", wrapper="shuffled") for c in criteria]
    made = [
        Choice(c, sparsity, cost, 0.9 - 0.2 * place - 0.1 * sparsity)
        for place, c in enumerate([*criteria, *controls])
        for sparsity, cost in ((0.3, 0.7), (0.5, 0.5), (0.7, 0.3))
    ]
    svg = trade_off(made, looks(criteria, controls), cost_title="MACs", label="")
    assert svg is not None
    # Lines of one colour may be parts of one path.
    lines = [
        (of["stroke"], line)
        for tag, of, _ in drawn_marks(str(svg))
        if tag == "path" and of.get("stroke-width") == "1.2"
        for line in of["d"].split("M")[1:]
    ]
    assert sorted(colour for colour, _ in lines) == sorted(
        ["var(--series-1)", "var(--series-2)", "var(--ink-3)", "var(--ink-3)"]
    )
    assert {line.count("L") for _, line in lines} == {2}
    assert len({line.partition("L")[0] for _, line in lines}) == 4


@given(
    st.floats(0, 0.9),
    st.floats(0.002, 1),
    st.integers(4, 7),
)
def test_formats_tell_ticks_apart(low: float, extent: float, ticks: int) -> None:
    """For every step that a renderer may choose: 1, 2 or 5 times a power of ten, near the even one."""
    digits = int(share_format((low, low + extent), ticks)[1:-1])
    even = extent / ticks
    steps = [m * 10.0**p for p in range(-6, 1) for m in (1, 2, 5)]
    step = min((s for s in steps if s >= 0.7 * even), default=1.0)
    places = [round(low / step) * step + n * step for n in range(ticks)]
    shown = [f"{100 * place:.{digits}f}" for place in places]
    assert len(set(shown)) == len(shown)


@pytest.mark.parametrize("extent", [0.004, 0.011, 0.02, 0.031, 0.055, 0.07, 0.2, 0.8])
@pytest.mark.parametrize("ticks", [5, 6])
def test_an_axis_never_repeats_a_tick(extent: float, ticks: int) -> None:
    domain = (0.1234, 0.1234 + extent)
    x = axis("x", domain, "x", format=share_format(domain, ticks), tickCount=ticks)
    svg = str(to_svg([layer("point", [{"x": 0.13}], {"x": x})], width=400, height=40, label=""))
    shown = re.findall(r">([\d.]+)%</text>", svg)
    assert len(shown) >= 2
    assert all(float(a) < float(b) for a, b in pairwise(shown))


def test_the_caption_names_whose_intervals_are_drawn(matrix: Callable[..., list[TrialRecord]]) -> None:
    from benchsuite_leaderboard.pages.views import Views
    from benchsuite_leaderboard.report import make_report

    names = [f"c{i}" for i in range(9)]
    # The second best does not serve one of the networks.
    records = [r for r in matrix(scorers=names) if (r.axes["scorer"], r.axes["model"]) != ("c1", "mlp")]
    (board,) = make_report(records, title="", pending=0, notes=[]).boards
    views = Views()
    captions = [
        views.bands(board, views.workload(board, board.after, pair)) for pair in board.board.workloads
    ]
    assert captions[0] == "Bands are 95% intervals over seeds of c0, c2 and c3."
