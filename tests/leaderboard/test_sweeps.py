"""Charts with a parameter or a threshold as their axis: which settings are on one line, and their numbers."""

from __future__ import annotations

import re
import statistics
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from benchsuite_leaderboard.grouping import boards
from benchsuite_leaderboard.pages.addresses import slug
from benchsuite_leaderboard.pages.sweeps import swept_charts
from benchsuite_leaderboard.pages.views import Views
from benchsuite_leaderboard.report import make_report
from benchsuite_leaderboard.site import render
from benchsuite_leaderboard.sweeps import MOST_LINES, Sweep, sweeps_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    from benchsuite.store.record import TrialRecord

    Make = Callable[..., TrialRecord]


def setting(make: Make, value: float, sparsity: Any = 0.5, seed: int = 0, **parameters: Any) -> TrialRecord:
    """A record of x with these parameters that are no defaults."""
    listed = ", ".join(f"{name}={each}" for name, each in sorted(parameters.items()))
    label = f"x({listed})" if listed else "x"
    return make(label, sparsity, value, seed=seed, scorer_params=parameters)


def swept(records: list[TrialRecord]) -> tuple[Sweep, ...]:
    (board,) = boards(records)
    return sweeps_of(board, board.workloads[0])


def test_three_values_of_a_number_are_an_axis_and_all_else_is_equal(record: Make) -> None:
    records = [setting(record, 0.5 + k / 100, k=k) for k in (9, 1, 3)]
    records += [setting(record, 0.5, k=k, form="b") for k in (1, 3, 9, 27)]
    records += [setting(record, 0.5, k=1, form="c"), record("random", 0.5, 0.3), record("other", 0.5, 0.9)]
    plain, with_form = swept(records)
    assert (plain.label, plain.parameter, with_form.label) == ("x", "k", "x(form=b)")
    assert [[place.x for place in line.places] for line in plain.lines] == [[1, 3, 9]] * 2
    assert [line.is_random for line in plain.lines] == [False, True]
    assert [place.x for place in with_form.lines[0].places] == [1, 3, 9, 27]
    assert not swept(records[:2])
    assert not swept([setting(record, 0.5, k=k) for k in ("a", "b", "c")])
    assert not swept([setting(record, 0.5, k=k) for k in (True, False, [1])])


def test_the_default_has_its_place_only_where_its_record_says_the_value(record: Make) -> None:
    records = [setting(record, 0.5, k=k) for k in (1, 3, 9)]
    (found,) = swept([*records, setting(record, 0.5)])
    assert [each.label for each in found.unplaced] == ["x"]
    said = replace(setting(record, 0.5), provenance={"scorer_parameters": {"k": 5, "form": "a"}})
    (found,) = swept([*records, said])
    assert ([place.x for place in found.lines[0].places], found.unplaced) == ([1, 3, 5, 9], ())
    # Of two records that disagree none counts, nor what is no table.
    other = replace(setting(record, 0.5, seed=1), provenance={"scorer_parameters": {"k": 6}})
    for odd in ([said, other], [replace(said, provenance={"scorer_parameters": [5]})]):
        assert [each.label for each in swept([*records, *odd])[0].unplaced] == ["x"]


def test_three_thresholds_are_an_axis_with_random_under_the_same(record: Make) -> None:
    amounts = ["threshold=0.5", "threshold=0.05", "threshold=0.1"]
    records = [record(name, s, 0.5) for name in ("a", "b", "random") for s in amounts]
    records += [record("random", "threshold=0.7", 0.5), record("c", amounts[0], 0.5), record("a", 0.5, 0.5)]
    of_a, of_b = swept(records)
    assert (of_a.label, of_b.label, of_a.parameter) == ("a", "b", None)
    assert [[place.x for place in line.places] for line in of_a.lines] == [[0.05, 0.1, 0.5]] * 2
    assert of_a.lines[1].is_random


def test_amounts_beyond_the_colours_have_no_line_and_are_named(record: Make) -> None:
    amounts = [n / 20 for n in range(MOST_LINES + 2)]
    (found,) = swept([setting(record, 0.5, s, k=k) for k in (1, 3, 9) for s in amounts])
    assert len(found.lines) == MOST_LINES
    assert found.left_out == (amounts[-2], amounts[-1])


def test_the_table_has_the_means_of_the_records_and_the_chart_each_place(record: Make) -> None:
    records = [
        setting(record, 0.4 + k / 100 + seed / 1000, s, seed=seed, k=k)
        for k in (1, 3, 9)
        for s in (0.5, 0.75)
        for seed in (0, 1)
    ]
    records += [record("random", 0.5, 0.3 + d / 10, draw=d, seed=s) for d in (0, 1) for s in (0, 1)]
    (board,) = make_report(records, title="", pending=0, notes=()).boards
    ((charts,), left) = swept_charts(Views(), board, board.board.workloads[0])
    assert left == ()
    panels = {panel.key: panel for panel in charts.panels}
    assert list(panels) == ["after", "before", "units", "params", "macs"]
    after = panels["after"]
    assert after.columns == ("50%", "75%")
    assert [where for where, _ in after.rows] == ["1", "3", "9", "random"]
    for where, cells in after.rows[:3]:
        for cell, sparsity in zip(cells, (0.5, 0.75), strict=True):
            values = [
                r.metrics["accuracy/top1"]
                for r in records
                if (r.axes["scorer"], r.axes["sparsity"]) == (f"x(k={where})", sparsity)
            ]
            assert cell is not None
            assert cell.estimate is not None
            assert cell.estimate.mean == statistics.fmean(values)
            assert cell.mark == ""
    (beside, none) = after.rows[3][1]
    assert none is None
    assert beside is not None
    assert beside.estimate is not None
    assert abs(beside.estimate.mean - 0.35) < 1e-12
    # Six dots of x and three of random, which are strokes without a length; one text for all dots of a line.
    assert after.compact.count("h0") == 9
    assert set(re.findall("<title>([^:]+): [^<]* at 9</title>", after.wide)) == {"50%", "75%", "random, 50%"}
    assert panels["units"].rows[0][1][0].estimate.mean == 0.4  # type: ignore[union-attr]


def test_what_has_no_result_has_no_chart_and_names_are_safe(
    record: Make, tmp_path: Path, hostile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = [record("a", f"threshold=0.{n}", None) for n in (1, 2, 3)]
    odd = [
        record(f"{hostile}(k={k})", 0.5, 0.5, scorer_params={hostile: k, "note": hostile}) for k in (1, 2, 3)
    ]
    # A page has so many charts, and names the others.
    monkeypatch.setattr("benchsuite_leaderboard.pages.sweeps.MOST", 1)
    huge = [record(f"y(k={k})", 0.5, 0.5, scorer_params={"k": k}) for k in (-1e300, 0, 1e300)]
    render([*failed, *odd, *huge], tmp_path, title="t")
    text = (tmp_path / f"workloads/{slug('digits', 'mlp')}.html").read_text()
    assert len(re.findall('<section class="sweep">', text)) == 1
    assert "1 more parameter or threshold with several values has no chart here: <bdi>y</bdi> by" in text
    assert "<script>alert" not in text
