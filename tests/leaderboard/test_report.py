from __future__ import annotations

from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pytest

from benchsuite_leaderboard.board import AFTER, Workload
from benchsuite_leaderboard.charts.theme import COLOURS
from benchsuite_leaderboard.grouping import boards
from benchsuite_leaderboard.pages.answers import answers
from benchsuite_leaderboard.pages.by_workload import lines
from benchsuite_leaderboard.pages.choices import choices_of
from benchsuite_leaderboard.pages.views import Views, stability_of
from benchsuite_leaderboard.report import Report, make_report
from benchsuite_leaderboard.site import render

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from benchsuite.store.record import TrialRecord

    Make = Callable[..., TrialRecord]
    MakeMany = Callable[..., list[TrialRecord]]


def test_colours_go_to_the_best_and_controls_are_drawn_apart(matrix: MakeMany) -> None:
    scorers = [f"c{i}" for i in range(10)]
    (board,) = make_report(
        matrix(scorers=[*scorers, "random", "reversed(c0)", "shuffled(c0)"]), title="", pending=0, notes=[]
    ).boards
    look = {criterion.label: look for criterion, look in board.looks.items()}
    coloured = [look[f"c{i}"].colour for i in range(COLOURS)]
    assert coloured == [f"var(--series-{i + 1})" for i in range(COLOURS)]
    assert [look[f"c{i}"].has_band for i in range(10)] == [True] * 3 + [False] * 7
    controls = [look[label] for label in ("random", "reversed(c0)", "shuffled(c0)")]
    assert len({control.dash for control in controls}) == 3
    assert not {control.colour for control in controls} & set(coloured)


def test_what_is_left_of_a_cost_is_a_mean_of_ratios(record: Make) -> None:
    first, second = record("a", 0.5, 0.9), record("a", 0.5, 0.8, seed=1)
    second.metrics.update({"cost/macs": 3000.0, "latency/batch1_speedup": 2.5})
    (board,) = boards([first, second, record("a", 0.5, None, seed=2)])
    (criterion,) = board.criteria
    pair = Workload("digits", "mlp")
    assert board.remaining_cost(pair, "macs") == {(criterion, 0.5): pytest.approx((0.5 + 0.3) / 2)}
    assert board.remaining_cost(None, "params") == {(criterion, 0.5): pytest.approx(0.25)}
    assert board.remaining_cost(pair, "latency") == {(criterion, 0.5): pytest.approx((1 / 1.5 + 1 / 2.5) / 2)}


def test_measured_times_are_told_apart_by_their_threads(record: Make) -> None:
    first, second = record("a", 0.5, 0.9), record("a", 0.5, 0.8, seed=1)
    first.metrics.update(
        {"latency/batch1_threads4_speedup": 4.0, "latency/batch1_threads4_speedup_wide": 1.0}
    )
    second.metrics.update({"latency/batch128_threads2_speedup": 3.0, "latency/batch1_speedup_wide": 0.0})
    (board,) = boards([first, second])
    (criterion,) = board.criteria
    pair = Workload("digits", "mlp")
    assert board.times == ("latency", "latency-4")
    assert board.remaining_cost(pair, "latency-4") == {(criterion, 0.5): pytest.approx(1 / 4)}
    assert board.uncertain_costs(pair, "latency-4") == {(criterion, 0.5)}
    assert board.uncertain_costs(pair, "latency") == board.uncertain_costs(pair, "macs") == frozenset()
    first.metrics["cost/uncounted_modules"] = 2.0
    first.provenance["uncounted_modules"] = ["b: aten._fft_r2c", "a: aten.linalg_inv_ex"]
    assert board.uncertain_costs(pair, "macs") == {(criterion, 0.5)}
    assert board.uncertain_costs(pair, "params") == frozenset()
    assert board.uncounted(pair) == ("a: aten.linalg_inv_ex", "b: aten._fft_r2c")


def test_masked_weights_count_as_gone(record: Make) -> None:
    masked = record("a", 0.5, 0.9, granularity="weight")
    masked.metrics.update({"cost/macs": 10000.0, "cost/macs_nonzero": 4000.0, "cost/params_nonzero": 1000.0})
    (board,) = boards([masked])
    (criterion,) = board.criteria
    assert board.remaining_cost(None, "macs") == {(criterion, 0.5): pytest.approx(0.4)}
    assert board.remaining_cost(None, "params") == {(criterion, 0.5): pytest.approx(0.25)}


def test_the_front_of_a_workload_leaves_out_controls_and_beaten_choices(record: Make) -> None:
    records = []
    for scorer, macs, accuracy in (
        ("a", 2000, 0.8),
        ("b", 3000, 0.7),
        ("c", 4000, 0.9),
        ("random", 1000, 0.99),
    ):
        made = record(scorer, 0.5, accuracy)
        made.metrics["cost/macs"] = float(macs)
        records.append(made)
    (board,) = make_report(records, title="", pending=0, notes=[]).boards
    found = Views().trade_off(board, board.after, Workload("digits", "mlp"), "macs")
    assert found is not None
    assert [choice.criterion.label for choice in found.front] == ["a", "c"]


def test_accuracy_before_recovery_is_offered_where_it_differs(record: Make) -> None:
    recovered = make_report([record("a", 0.5, 0.9)], title="", pending=0, notes=[]).boards[0]
    assert [key for key, _, _ in recovered.metrics] == ["after", "before"]
    same = record("a", 0.5, 0.9)
    same.metrics["accuracy/top1_before_recovery"] = same.metrics[AFTER]
    untouched = make_report([same], title="", pending=0, notes=[]).boards[0]
    assert [key for key, _, _ in untouched.metrics] == ["after"]


def test_recalibrated_accuracy_is_offered_where_there_is_one(record: Make) -> None:
    made = record("a", 0.5, 0.9)
    made.metrics["accuracy/top1_recalibrated"] = 0.6
    board = make_report([made], title="", pending=0, notes=[]).boards[0]
    assert [key for key, _, _ in board.metrics] == ["after", "before", "recalibrated"]
    assert list(board.metrics[2][2].values.values()) == [
        dict.fromkeys(board.after.values[board.board.criteria[0]], 0.6)
    ]


def test_recalibrated_means_are_over_networks_that_can_be_recalibrated(record: Make, tmp_path: Path) -> None:
    """What stands in one row is of the same networks: the dense accuracy and random's too."""
    records = []
    for model, dense in (("mlp", 0.9), ("resnet", 0.7)):
        for scorer, value in (("a", 0.5), ("b", 0.4), ("random", 0.3)):
            made = record(scorer, 0.5, value, model=model)
            made.metrics["accuracy/top1_dense"] = dense
            if model == "resnet":
                made.metrics["accuracy/top1_recalibrated"] = value / 2
            records.append(made)
    board = make_report(records, title="", pending=0, notes=[]).boards[0]
    by_name = {key: standings for key, _, standings in board.metrics}
    views = Views()
    assert views.overall(board, by_name["after"]).dense == pytest.approx(0.8)
    view = views.overall(board, by_name["recalibrated"])
    assert view.dense == pytest.approx(0.7)
    verdict = view.table.verdicts[0]
    assert verdict is not None
    assert (verdict.best.label, verdict.estimate.mean) == ("a", 0.25)
    render(records, tmp_path, title="both")
    pages = {path.name: path.read_text() for path in (tmp_path / "workloads").iterdir()}
    (mlp,) = (text for text in pages.values() if "<bdi>mlp</bdi>" in text)
    (resnet,) = (text for text in pages.values() if "<bdi>resnet</bdi>" in text)
    assert "there are no statistics to recalibrate" in mlp
    assert "there are no statistics to recalibrate" not in resnet
    assert "recalibrated: 1 workload of 2 here" in (tmp_path / "index.html").read_text()


def test_scores_that_depend_on_the_samples_are_marked_below_a_half(record: Make) -> None:
    records = []
    noisy = ("noise", "shuffled(noise)", "reversed(noise)", "scratch(noise)")
    given = (("steady", (0.5, 0.6)), ("free", ()), *((scorer, (0.1, 0.8)) for scorer in noisy))
    for scorer, stabilities in given:
        for seed, stability in enumerate(stabilities or (None, None)):
            made = record(scorer, 0.5, 0.9, seed=seed)
            if stability is not None:
                made.metrics["scoring/stability"] = stability
            records.append(made)
    (board,) = make_report(records, title="", pending=0, notes=[]).boards
    rows = {row.criterion.label: row.unstable for row in Views().overall(board, board.after).rows}
    assert {scorer for scorer, unstable in rows.items() if unstable} == {"noise"}
    assert set(noisy) < set(rows)
    shown = {c.label: stability_of(board.after, c) for c in board.board.criteria}
    assert {label for label, stability in shown.items() if stability is not None} == {"steady", "noise"}


def report_of(records: Sequence[TrialRecord]) -> Report:
    return make_report(records, title="", pending=0, notes=[])


def lacking(
    records: Sequence[TrialRecord], scorer: str, wanted: Callable[[dict[str, Any]], bool]
) -> list[TrialRecord]:
    """The records of a scorer failed where its axes are as wanted."""
    return [
        replace(r, status="failed", metrics={}, error="it broke")
        if r.axes["scorer"] == scorer and wanted(r.axes)
        else r
        for r in records
    ]


def test_a_criterion_that_has_an_easy_network_alone_is_on_no_front(record: Make) -> None:
    """It would be above all others, whose means are over harder networks too."""
    records = [
        record(scorer, 0.5, value - 0.1 * seed, seed=seed)
        for scorer, value in (("good", 0.9), ("fine", 0.88), ("lucky", 0.89))
        for seed in range(3)
    ]
    records = lacking(records, "lucky", lambda axes: axes["seed"] != 0)
    (board,) = report_of(records).boards
    for pair in (None, board.board.workloads[0]):
        found = Views().trade_off(board, board.after, pair, "macs")
        assert found is not None
        assert [c.criterion.label for c in found.front] == ["good"]
        assert [c.label for c in found.apart] == ["lucky"]
        assert found.front[0].accuracy == pytest.approx(0.8)


def test_one_that_lacks_few_cells_has_its_mean_over_those_that_all_have(record: Make) -> None:
    records = [
        record(scorer, s, value - 0.1 * seed, seed=seed)
        for scorer, value in (("good", 0.9), ("lucky", 0.89))
        for seed in range(3)
        for s in (0.5, 0.9)
    ]
    records = lacking(records, "lucky", lambda axes: (axes["seed"], axes["sparsity"]) == (2, 0.5))
    (board,) = report_of(records).boards
    found = Views().trade_off(board, board.after, None, "macs")
    assert found is not None
    assert found.apart == ()
    # On the networks 0 and 1 alone at one sparsity, and on all three at the other.
    by_name = {(c.criterion.label, c.sparsity): c.accuracy for c in found.front}
    assert by_name == {("good", 0.5): pytest.approx(0.85)}


def test_rows_are_in_the_order_of_means_over_common_cells(record: Make) -> None:
    """`lucky` lacks the hardest network at one sparsity, so that the mean of its cells is the highest."""
    records = [
        record(scorer, s, value - 0.1 * seed, seed=seed)
        for scorer, value in (("lucky", 0.89), ("good", 0.9))
        for seed in range(3)
        for s in (0.5, 0.9)
    ]
    records = lacking(records, "lucky", lambda axes: (axes["seed"], axes["sparsity"]) == (2, 0.5))
    (board,) = report_of(records).boards
    view = Views().workload(board, board.after, board.board.workloads[0])
    assert [(row.criterion.label, row.serves) for row in view.rows] == [("good", ""), ("lucky", "")]
    good, lucky = (row.cells[0].estimate for row in view.rows)
    assert good is not None
    assert lucky is not None
    assert lucky.mean > good.mean


def test_a_workload_s_table_ranks_by_common_cells_and_sets_the_others_apart(matrix: MakeMany) -> None:
    """`easy` has only the sparsity at which all are better, `hard` only that at which gains are larger."""
    records = lacking(
        matrix(scorers=("good", "easy", "hard", "random")), "easy", lambda a: a["sparsity"] == 0.9
    )
    records = lacking(records, "hard", lambda axes: axes["sparsity"] == 0.5)
    (board,) = report_of(records).boards
    views = Views()
    for pair in board.board.workloads:
        rows = views.workload(board, board.after, pair).rows
        assert [(r.criterion.label, r.serves) for r in rows] == [
            ("good", ""),
            ("easy", "3 of 6 cells"),
            ("hard", "3 of 6 cells"),
            ("random", ""),
        ]
    found = {line.criterion.label: line for line in lines(views, board, board.after)}
    assert [square and square.place for square in found["good"].squares] == [1, 1]
    assert [square and square.place for square in found["easy"].squares] == [None, None]


def test_dense_networks_are_those_of_the_workloads_of_the_column(matrix: MakeMany) -> None:
    records = [r for r in matrix() if (r.axes["model"], r.axes["sparsity"]) != ("resnet", 0.5)]
    for each in records:
        each.metrics["accuracy/top1_dense"] = {"mlp": 0.97, "resnet": 0.7}[each.axes["model"]]
    (board,) = report_of(records).boards
    views = Views()
    assert views.overall(board, board.after).dense_at == pytest.approx((0.97, (0.97 + 0.7) / 2))
    half, most = answers(views, board, board.after, None)
    assert (half.dense, half.part) == (pytest.approx(0.97), "1 of 2 workloads")
    assert most.part == ""
    found = views.trade_off(board, board.after, None, "macs")
    assert found is not None
    assert {choice.sparsity for choice in found.front} == {0.9}


def test_a_criterion_s_choices_come_one_after_the_other(matrix: MakeMany) -> None:
    """They become one mark of the drawing: apart, drawings are a third larger."""
    (board,) = report_of(matrix()).boards
    view = Views().overall(board, board.after)
    found = choices_of(board.after, view, board.board.remaining_cost(None, "macs"), None)
    order = [choice.criterion for choice in found]
    assert len(found) == 2 * len(view.rows)
    assert len([c for c, _ in groupby(order)]) == len(set(order))
