"""The charts are drawn as Vega-Lite itself would draw them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from benchsuite_leaderboard.agreement import WorkloadAgreement
from benchsuite_leaderboard.board import RANDOM, Criterion, Workload
from benchsuite_leaderboard.charts import curves, heat, lines, ranks, trade_off
from benchsuite_leaderboard.charts.theme import looks
from benchsuite_leaderboard.charts.vega import AXES, FONT, PADDING, TEXT, Layer
from benchsuite_leaderboard.charts.vegalite import as_is, axis, inline, layer, position, to_svg
from benchsuite_leaderboard.report import make_report
from benchsuite_leaderboard.statistics.critical_difference import critical_difference

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from markupsafe import Markup

    from benchsuite.store.record import TrialRecord

Drawn = list[tuple["Markup", "Markup"]]


def by_vega_lite(layers: Sequence[Layer], *, width: int, height: int, label: str) -> Markup:
    import vl_convert

    config = {"font": FONT, "view": {"stroke": None}, "text": {"color": "var(--ink)", "fontSize": TEXT}}
    config |= {"background": "transparent", "padding": PADDING} | AXES
    chart = {"width": width, "height": height, "layer": layers, "config": config}
    return inline(vl_convert.vegalite_to_svg(chart), label=label)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    """Every chart that the test draws, twice: as it is, and by Vega-Lite."""
    found: Drawn = []

    def twice(layers: Sequence[Layer], **rest: Any) -> Markup:
        found.append((to_svg(layers, **rest), by_vega_lite(layers, **rest)))
        return found[-1][0]

    for module in (lines, heat, ranks, trade_off):
        monkeypatch.setattr(module, "to_svg", twice)
    return found


@pytest.mark.parametrize("sparsities", [[0.5], [0.125, 0.3, 0.9]])
@pytest.mark.parametrize("criteria", [1, 3, 20])
def test_curves(
    drawn: Drawn, matrix: Callable[..., list[TrialRecord]], sparsities: list[float], criteria: int
) -> None:
    scorers = ["random", "reversed(a0)", *(f"a{i}" for i in range(criteria))]
    (board,) = make_report(
        matrix(scorers=scorers, sparsities=sparsities), title="", pending=0, notes=()
    ).boards
    table = board.after.table(board.board.workloads[0])
    published = [(None, 0.4, 0.99, "theirs"), (next(iter(board.looks)), 0.5, 0.8, "also theirs")]
    for dense in (None, 0.97):
        for compact in (True, False):
            also = published if dense else []
            curves.curves(
                *(table, board.looks), dense=dense, budget="macs", label="l", compact=compact, published=also
            )
    counts = lines.Scale("concepts", is_share=False)
    curves.curves(table, board.looks, dense=12.0, budget="macs", label="l", scale=counts)
    assert len(drawn) == 5
    assert all(ours == theirs for ours, theirs in drawn)


@pytest.mark.parametrize("places", [1, 2, 7])
def test_a_trade_off(drawn: Drawn, places: int) -> None:
    names = ["random", "pale", *(f"a{i}" for i in range(9))]
    criteria = [Criterion(name, RANDOM if name == RANDOM else name) for name in names]
    choices = [
        trade_off.Choice(c, place / 9, 0.9 - 0.08 * place / (2 + i), 0.98 - 0.1 * place + i / 300)
        for i, c in enumerate(criteria)
        for place in range(1, places + 1)
    ]
    trade_off.trade_off(choices, looks(criteria[1:], criteria[:1]), cost_title="MACs left", label="l")
    ((ours, theirs),) = drawn
    assert ours == theirs


@pytest.mark.parametrize("compact", [True, False])
def test_mean_ranks(drawn: Drawn, compact: bool) -> None:
    criteria = [Criterion(f"criterion-{i}", f"criterion-{i}") for i in range(12)]
    values = np.random.default_rng(3).normal(size=(12, 9)) + np.arange(12)[:, None] / 6
    found = critical_difference(values)
    assert found is not None
    given = looks(criteria, [])
    ranks.critical_difference_diagram(criteria, found, given, label="l", compact=compact)
    ((ours, theirs),) = drawn
    assert ours == theirs


@pytest.mark.parametrize("size", [1, 2, 15])
def test_a_heat_map(drawn: Drawn, size: int) -> None:
    tau = np.random.default_rng(4).uniform(-1, 1, (size, size))
    names = tuple(f"criterion <{i}>" for i in range(size))
    found = WorkloadAgreement(Workload("d", "m"), 2, names, tau, abs(tau), abs(tau))
    heat.agreement_heat_map(found, label="l")
    ((ours, theirs),) = drawn
    assert ours == theirs


def test_an_axis_of_which_only_the_title_is_given() -> None:
    encoding = {"x": axis("x", (0, 100), "x"), "y": axis("y", (3, -2), "y"), "color": as_is("colour")}
    rows = [{"x": x, "y": y, "colour": colour} for x, y, colour in ((10, 0, "red"), (99, -2, "blue"))]
    layers = [
        layer("point", rows, encoding, size=30),
        layer("line", rows[::-1], {"x": position("x", (0, 100)), "y": position("y", (3, -2))}, color="red"),
    ]
    size = {"width": 333, "height": 222}
    assert to_svg(layers, **size, label="") == by_vega_lite(layers, **size, label="")


def test_marks_beyond_the_plot_make_the_drawing_larger() -> None:
    encoding = {"x": axis("x", (0, 1), "x"), "y": axis("y", (0, 1), "y")}
    rows = [{"x": x, "y": y} for x, y in ((-0.5, 0), (1, 1.5), (2.0, -0.25))]
    layers = [
        layer("line", rows, encoding, color="red"),
        layer("point", rows, encoding, color="red", size=99),
    ]
    size = {"width": 200, "height": 100}
    ours = to_svg(layers, **size, label="")
    assert ours == by_vega_lite(layers, **size, label="")
    assert 'viewBox="0 0 5' in ours


def test_a_chart_of_one_direction_has_the_axis_of_vega_lite() -> None:
    rows = layer("point", [{"x": 0.3}], {"x": axis("x", (0.2, 0.7), "x", tickCount=4)}, opacity=0)
    size = {"width": 200, "height": 50}
    labels = [
        re.findall(r"<text[^>]*>[^<]*</text>", draw([rows], **size, label=""))
        for draw in (to_svg, by_vega_lite)
    ]
    assert labels[0] == labels[1]
    assert len(labels[0]) == 7
