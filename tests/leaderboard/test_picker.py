from __future__ import annotations

import json
from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING

import pytest

from benchsuite.store.keys import content_key
from benchsuite_leaderboard.board import Workload
from benchsuite_leaderboard.pages.answers import answers
from benchsuite_leaderboard.pages.formats import speed_words
from benchsuite_leaderboard.pages.picker import MOST_OPTIONS, cited, picker_data
from benchsuite_leaderboard.pages.views import Views
from benchsuite_leaderboard.report import Report, make_report
from benchsuite_leaderboard.suites import Suite

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchsuite.store.record import TrialRecord

    Make = Callable[..., TrialRecord]
    MakeMany = Callable[..., list[TrialRecord]]

MLP = Workload("digits", "mlp")


def report_of(records: Sequence[TrialRecord]) -> Report:
    return make_report(records, title="demo", pending=0, notes=[])


def test_an_answer_has_the_numbers_of_the_best_criterion_s_records(matrix: MakeMany) -> None:
    records = [replace(r, key=content_key(r.key)) for r in matrix()]
    report = report_of(records)
    (board,) = report.boards
    half, most = answers(Views(), board, board.after, MLP)
    assert (half.sparsity, most.sparsity) == (0.5, 0.9)
    mine = [
        r for r in records if (r.axes["scorer"], r.axes["model"], r.axes["sparsity"]) == ("alpha", "mlp", 0.5)
    ]
    assert half.verdict is not None
    assert [each.criterion.label for each in half.highest] == ["alpha"]
    best = half.options[0]
    assert best.accuracies["after"].mean == pytest.approx(fmean(r.metrics["accuracy/top1"] for r in mine))
    assert best.accuracies["before"].mean == pytest.approx(best.accuracies["after"].mean / 2)
    assert best.macs_left == pytest.approx(0.5)
    assert half.dense == pytest.approx(0.97)
    # One network for each seed, in the order of seeds, so that no seed is chosen by its result.
    assert [t.record.key for t in best.trials] == [r.key for r in mine]


def test_over_all_workloads_no_mean_is_of_fewer_workloads_than_the_others(matrix: MakeMany) -> None:
    records = matrix()
    for each in records:
        if each.axes["model"] == "resnet":
            each.metrics["accuracy/top1_recalibrated"] = each.metrics["accuracy/top1"]
    report = report_of(records)
    views, (board,) = Views(), report.boards
    for pair, keys in (
        (None, {"after", "before"}),
        (Workload("digits", "mlp"), {"after", "before"}),
        (Workload("digits", "resnet"), {"after", "before", "recalibrated"}),
    ):
        for answer in answers(views, board, board.after, pair):
            assert {key for option in answer.options for key in option.accuracies} == keys


def test_only_the_first_draw_of_a_seed_is_offered(record: Make) -> None:
    records = [
        record("a", 0.5, 0.9 - draw / 100, seed=seed, draw=draw) for seed in (10, 9) for draw in (2, 1)
    ]
    (board,) = report_of(records).boards
    (answer,) = answers(Views(), board, board.after, MLP)
    taken = [(t.block.dense_model.seed, t.draw) for t in answer.options[0].trials]
    assert taken == [("9", "1"), ("10", "1")]


def test_over_all_workloads_there_is_no_network_to_take(matrix: MakeMany) -> None:
    (board,) = report_of(matrix()).boards
    assert all(not o.trials for a in answers(Views(), board, board.after, None) for o in a.options)


def test_a_speedup_says_how_precise_it_is_and_where_it_was_measured(record: Make) -> None:
    records = [record("a", 0.5, 0.9, seed=seed) for seed in range(2)]
    for each, speedup in zip(records, (1.5, 1.7), strict=True):
        each.metrics["latency/batch1_speedup"] = speedup
    (board,) = report_of(records).boards

    def words() -> str:
        (answer,) = answers(Views(), board, board.after, MLP)
        (speedup,) = answer.options[0].speedups
        return speed_words(speedup)

    assert words() == "1.60×, precision unknown"
    for each in records:
        middle = each.metrics["latency/batch1_speedup"]
        each.metrics["latency/batch1_speedup_low"] = middle - 0.02
        each.metrics["latency/batch1_speedup_high"] = middle + 0.02
    assert words() == "1.60× (1.48–1.72)"
    records[0].provenance["device"] = "another"
    records[0].metrics["latency/batch1_speedup_wide"] = 1.0
    assert words() == "1.60× (1.48–1.72), not settled, on 2 devices"


def test_equal_means_are_all_named(record: Make) -> None:
    records = [record(name, 0.5, 0.9, seed=seed) for name in ("a", "b", "c") for seed in range(2)]
    data = picker_data(report_of(records), Views())
    (found,) = [answer for key, answer in data["answers"].items() if key.startswith("0|0|")]
    assert found["highest"] == 3
    assert [data["criteria"][o["c"]][0] for o in found["options"]] == ["a", "b", "c"]


def test_the_picker_has_every_board_workload_and_budget(matrix: MakeMany, record: Make) -> None:
    records = matrix()
    records += [record("alpha", s, 0.9, scope="global", seed=seed) for s in (0.3, 0.6) for seed in range(3)]
    data = picker_data(report_of(records), Views())
    assert [board["short"] for board in data["boards"]] == ["protected scope", "global scope"]
    assert [board["sparsities"] for board in data["boards"]] == [["50%", "90%"], ["30%", "60%"]]
    wanted = {f"0|{w}|{s}" for w in ("", "0", "1") for s in ("50%", "90%")} | {"1|0|30%", "1|0|60%"}
    assert set(data["answers"]) == wanted
    assert json.loads(json.dumps(data)) == data


@pytest.mark.parametrize(("equal", "near"), [(20, 0), (15, 3), (1, 15), (9, 9), (2, 2)])
def test_of_many_that_may_be_best_some_are_listed_and_the_rest_is_counted(
    record: Make, equal: int, near: int
) -> None:
    names = [*(f"equal-{i:02d}" for i in range(equal)), *(f"near-{i:02d}" for i in range(near))]
    places = (0.003, -0.003, 0.0)
    records = [
        record(name, 0.5, (0.9 if i < equal else 0.8995) + places[(seed + i) % 3], seed=seed)
        for i, name in enumerate(names)
        for seed in range(3)
    ]
    data = picker_data(report_of(records), Views())
    (found,) = data["answers"].values()
    listed = [data["criteria"][option["c"]][0] for option in found["options"]]
    assert len(listed) == min(MOST_OPTIONS, len(names))
    highest = listed[: found["highest"]]
    assert all(name.startswith("equal") for name in highest)
    assert all(name.startswith("near") for name in listed[len(highest) :])
    assert len(highest) + found.get("equal", 0) == equal
    assert len(listed) - len(highest) + found.get("more", 0) == near
    # Of both kinds some are listed, and of one that is short all of it.
    assert len(highest) >= min(equal, MOST_OPTIONS // 2)
    assert len(listed) - len(highest) >= min(near, MOST_OPTIONS // 2)
    assert f"{near} others of {near} may be best too" in found["sure"] or not near


def test_a_single_seed_is_said_to_show_nothing(record: Make) -> None:
    data = picker_data(
        report_of([record(name, 0.5, value) for name, value in (("a", 0.9), ("b", 0.8))]), Views()
    )
    (found,) = data["answers"].values()
    assert found["seeds"] == 1
    assert "unknown" in found["sure"]


def test_a_budget_at_which_nothing_ended_has_no_answer(record: Make) -> None:
    records = [record("a", 0.5, 0.9, seed=s) for s in range(2)]
    records += [record("a", 0.9, None, seed=s) for s in range(2)]
    data = picker_data(report_of(records), Views())
    assert data["answers"]["0|0|90%"] == {}


def test_random_that_lacks_a_network_is_not_said_to_be_not_run(record: Make) -> None:
    records = [record("a", 0.5, 0.9 + seed / 100, seed=seed) for seed in range(3)]
    assert "random" not in next(iter(picker_data(report_of(records), Views())["answers"].values()))
    records += [record("random", 0.5, 0.5 if seed else None, seed=seed) for seed in range(3)]
    (found,) = picker_data(report_of(records), Views())["answers"].values()
    assert found["random"] == "lacks 1 of 3 networks"
    assert found["doubt"] == 1


def test_a_number_is_cited_with_suites_versions_and_trials(record: Make) -> None:
    records = [record("a", 0.5, 0.9, seed=seed) for seed in range(3)]
    assert cited(report_of(records)) == "demo, benchsuite 0.1.0, torch 2.6, 3 trials"
    for each, commit in zip(records, ("abc", "def", "abc"), strict=True):
        each.provenance["commit"] = commit
    report = replace(
        report_of(records), suites=(Suite("one", "x"), Suite("two", "y"), Suite("one", "z")), made="today"
    )
    assert cited(report) == (
        "suite one and two, benchsuite 0.1.0, commit abc and def, torch 2.6, 3 trials; page made today"
    )
