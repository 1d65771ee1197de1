from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import stats

from benchsuite_leaderboard.board import AFTER
from benchsuite_leaderboard.grouping import boards
from benchsuite_leaderboard.standings import Standings
from benchsuite_leaderboard.statistics.contest import contest

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchsuite.store.record import TrialRecord

    Make = Callable[..., TrialRecord]
    MakeMany = Callable[..., list[TrialRecord]]


def standings(records: list[TrialRecord]) -> Standings:
    (board,) = boards(records)
    return Standings(board, AFTER)


def accuracies(records: list[TrialRecord], **axes: object) -> list[float]:
    return [
        r.metrics["accuracy/top1"]
        for r in records
        if all(r.axes[name] == value for name, value in axes.items())
    ]


def test_a_cell_is_the_mean_over_seeds_with_its_t_interval(matrix: MakeMany) -> None:
    records = matrix()
    found = standings(records)
    for pair in found.board.workloads:
        table = found.table(pair)
        for criterion, cells in table.rows.items():
            if criterion.label == "random":
                continue
            for sparsity, cell in zip(table.sparsities, cells, strict=True):
                values = accuracies(records, model=pair.model, scorer=criterion.label, sparsity=sparsity)
                low, high = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
                assert cell.estimate is not None
                assert (cell.estimate.low, cell.estimate.mean, cell.estimate.high) == pytest.approx(
                    (low, np.mean(values), high)
                )


def test_random_has_one_value_per_dense_model(matrix: MakeMany) -> None:
    records = matrix()
    found = standings(records)
    pair = found.board.workloads[0]
    assert found.random is not None
    cell = found.table(pair).rows[found.random][0]
    by_seed = [
        np.mean(accuracies(records, model=pair.model, scorer="random", sparsity=0.5, seed=seed))
        for seed in range(3)
    ]
    assert cell.estimate is not None
    assert cell.estimate.count == 3
    assert cell.estimate.half_width == pytest.approx(stats.t.ppf(0.975, 2) * stats.sem(by_seed))


def test_the_known_order_is_found(matrix: MakeMany) -> None:
    found = standings(matrix())
    assert found.ranking is not None
    assert [c.label for c in found.competitors] == ["alpha", "beta", "gamma"]
    assert found.ranking.places.tolist() == [1, 2, 3]
    assert [[cell.mark for cell in cells] for cells in list(found.table().rows.values())[:1]] == [
        ["best", "best"]
    ]


def test_who_may_be_best_is_what_the_contest_says(matrix: MakeMany) -> None:
    scorers = ["alpha", "beta", "gamma", "delta", "random"]
    records = matrix(
        scorers=scorers, workloads=[("digits", "mlp")], seeds=range(5), sparsities=[0.5], noise=0.015
    )
    (verdict,) = standings(records).table().verdicts
    assert verdict is not None
    values = np.array(
        [
            [np.mean(accuracies(records, scorer=label, seed=seed)) for seed in range(5)]
            for label in sorted(scorers)
        ]
    )
    result = contest(values[:4], [0] * 5, values[4])
    assert result.may_be_best is not None
    expected = {label for label, may in zip(sorted(scorers), result.may_be_best, strict=False) if may}
    assert {c.label for c in verdict.may_be_best or ()} == expected
    assert 1 < len(expected) < 4
    assert result.p_control is not None
    assert verdict.p_random == result.p_control[sorted(scorers).index(verdict.best.label)]
    assert (verdict.cells, verdict.asked) == (5, 5)


def test_a_leader_that_lost_one_network_contends_and_is_marked(matrix: MakeMany) -> None:
    """All are then compared on the networks that all have."""
    records = [
        r
        for r in matrix()
        if (r.axes["scorer"], r.axes["seed"], r.axes["model"], r.axes["sparsity"]) != ("alpha", 1, "mlp", 0.5)
    ]
    found = standings(records)
    verdict = found.table().verdicts[0]
    assert verdict is not None
    assert verdict.best.label == "alpha"
    assert (verdict.cells, verdict.asked) == (5, 6)
    assert found.table().rows[verdict.best][0].is_complete is False
    assert [c.label for c in found.competitors] == ["alpha", "beta", "gamma"]
    kept = [r for r in records if (r.axes["model"], r.axes["seed"], r.axes["sparsity"]) != ("mlp", 1, 0.5)]
    by_workload = [
        np.mean(accuracies(kept, model=m, scorer="alpha", sparsity=0.5)) for m in ("mlp", "resnet")
    ]
    assert verdict.estimate.mean == pytest.approx(np.mean(by_workload))


def test_a_criterion_that_serves_the_easier_workload_alone_is_not_ranked(
    matrix: MakeMany, record: Make
) -> None:
    """It would be the worst on the other one, whose accuracies are lower for all."""
    harder = matrix(workloads=[("digits", "resnet")])
    for each in harder:
        each.metrics["accuracy/top1"] -= 0.3
    easier = matrix(
        workloads=[("digits", "mlp")], scorers=("alpha", "beta", "gamma", "random", "reversed(alpha)", "part")
    )
    partial = [
        record("part", s, None, model="resnet", seed=i, status="unsupported")
        for s in (0.5, 0.9)
        for i in range(3)
    ]
    found = standings(harder + easier + partial)
    assert [c.label for c in found.competitors] == ["alpha", "beta", "gamma"]
    (part,) = found.partial
    assert found.partial[part] == "serves 1 of 2 workloads"
    # On the one it serves it is last but one made-up step, and that is what is said.
    assert found.place_where_it_serves(part) == (4, 4)
    for verdict in found.table().verdicts:
        assert verdict is not None
        assert part not in verdict.places
    alone = found.table(found.board.workloads[0]).verdicts[0]
    assert alone is not None
    assert alone.places[part] == 4


def test_two_equal_criteria_have_equal_gains_though_one_lacks_networks(
    matrix: MakeMany, record: Make
) -> None:
    records = matrix(scorers=("alpha", "random"), noise=0.02)
    twins = [
        record(
            "twin", r.axes["sparsity"], r.metrics["accuracy/top1"], model=r.axes["model"], seed=r.axes["seed"]
        )
        for r in records
        if r.axes["scorer"] == "alpha" and (r.axes["model"], r.axes["seed"]) != ("resnet", 2)
    ]
    found = standings(records + twins)
    assert found.random is not None
    alpha, twin = found.competitors
    assert found.gain(alpha, found.random) == found.gain(twin, found.random)
    for pair in found.workloads:
        assert found.gain(alpha, found.random, pair) == found.gain(twin, found.random, pair)
    assert found.ranking is not None
    assert found.ranking.places.tolist() == [1, 1]


def test_equal_means_share_the_first_place(matrix: MakeMany, record: Make) -> None:
    records = matrix(scorers=("alpha", "random"))
    twins = [
        record(
            "twin", r.axes["sparsity"], r.metrics["accuracy/top1"], model=r.axes["model"], seed=r.axes["seed"]
        )
        for r in records
        if r.axes["scorer"] == "alpha"
    ]
    table = standings(records + twins).table()
    verdict = table.verdicts[0]
    assert verdict is not None
    assert [c.label for c in verdict.highest] == ["alpha", "twin"]
    assert [c.label for c, cells in table.rows.items() if cells[0].mark == "best"] == ["alpha", "twin"]


def test_a_collapsed_network_has_the_accuracy_of_chance(matrix: MakeMany, record: Make) -> None:
    records = [r for r in matrix() if not (r.axes["scorer"] == "alpha" and r.axes["seed"] == 1)]
    for each in records:
        each.metrics.update({f"accuracy/class/{name}": 0.5 for name in "abcd"})
    records += [
        record("alpha", s, None, model=m, seed=1, status="collapsed")
        for s in (0.5, 0.9)
        for m in ("mlp", "resnet")
    ]
    found = standings(records)
    (alpha,) = [cells for c, cells in found.table().rows.items() if c.label == "alpha"]
    assert alpha[0].estimate is not None
    rest = [
        r.metrics["accuracy/top1"]
        for r in records
        if (r.axes["scorer"], r.axes["sparsity"], r.status) == ("alpha", 0.5, "done")
    ]
    assert alpha[0].estimate.mean == pytest.approx((sum(rest) + 2 * 0.25) / 6)
    assert alpha[0].estimate.at_chance == 2
    assert alpha[0].is_complete
    assert alpha[0].troubles == {"collapsed": 2}
    verdict = found.table().verdicts[0]
    assert verdict is not None
    assert verdict.best.label == "beta"


def test_collapse_costs_rank_and_failure_the_comparison(matrix: MakeMany, record: Make) -> None:
    kept = [r for r in matrix() if not (r.axes["scorer"] == "alpha" and r.axes["sparsity"] == 0.9)]

    def ranked(status: str) -> list[str]:
        lost = [
            record("alpha", 0.9, None, model=m, seed=s, status=status)
            for m in ("mlp", "resnet")
            for s in range(3)
        ]
        found = standings(kept + lost)
        assert found.ranking is not None
        order = np.argsort(found.ranking.mean_ranks, kind="stable")
        return [found.competitors[i].label for i in order]

    # It wins at one sparsity and loses at the other; where it failed instead, it lacks half of the cells.
    assert ranked("collapsed") == ["beta", "alpha", "gamma"]
    assert ranked("failed") == ["beta", "gamma"]


def test_gain_is_paired_by_network_and_sparsity(matrix: MakeMany) -> None:
    records = matrix(workloads=[("digits", "mlp")])
    found = standings(records)
    alpha = found.competitors[0]
    assert found.random is not None
    gain = found.gain(alpha, found.random)
    differences = [
        np.mean(
            [
                accuracies(records, scorer="alpha", seed=seed, sparsity=sparsity)[0]
                - np.mean(accuracies(records, scorer="random", seed=seed, sparsity=sparsity))
                for sparsity in (0.5, 0.9)
            ]
        )
        for seed in range(3)
    ]
    assert gain is not None
    assert gain.mean == pytest.approx(np.mean(differences))
    assert gain.half_width == pytest.approx(stats.t.ppf(0.975, 2) * stats.sem(differences))


def test_a_criterion_s_own_sparsity_is_shown_and_not_ranked(matrix: MakeMany, record: Make) -> None:
    native = [
        record(s, "native", 0.99, model=m, seed=i)
        for s in ("beta",)
        for m in ("mlp", "resnet")
        for i in range(3)
    ]
    found = standings(matrix() + native)
    assert found.board.sparsities == (0.5, 0.9, "native")
    assert found.ranking is not None
    assert found.ranking.places.tolist() == [1, 2, 3]
    assert found.table().verdicts[2] is None


def test_criteria_at_the_widths_of_a_suite_are_compared(matrix: MakeMany) -> None:
    at_half = matrix(sparsities=[0.5])
    settings = {"pruning": {"widths": {"conv1": 5}}}
    records = [
        replace(r, key=f"{r.key} widths", axes={**r.axes, "sparsity": "widths"}, settings=settings)
        for r in at_half
    ]
    found, like = standings(records), standings(at_half)
    assert found.shared_sparsities == ("widths",)
    assert found.board.protocol.layers == "conv1: 5 units"
    assert found.table().verdicts == like.table().verdicts
    assert found.ranking is not None
    assert like.ranking is not None
    assert found.ranking.places.tolist() == like.ranking.places.tolist()
    criterion, random = found.competitors[0], found.random
    assert random is not None
    assert found.gain(criterion, random) == like.gain(criterion, random)


@pytest.mark.parametrize("settings", [{}, {"pruning": {}}, {"pruning": {"widths": {}}}, {"pruning": 5}])
def test_widths_that_nobody_states_are_not_compared(matrix: MakeMany, settings: dict[str, object]) -> None:
    records = [
        replace(r, axes={**r.axes, "sparsity": "widths"}, settings=settings) for r in matrix(sparsities=[0.5])
    ]
    found = standings(records)
    assert found.board.sparsities == ("widths not stated",)
    assert found.shared_sparsities == ()
    assert found.table().verdicts == (None,)


def test_one_seed_has_means_without_intervals_or_ties(matrix: MakeMany) -> None:
    found = standings(matrix(seeds=[0]))
    table = found.table()
    estimate = next(iter(table.rows.values()))[0].estimate
    assert estimate is not None
    assert estimate.half_width is None
    verdict = table.verdicts[0]
    assert verdict is not None
    assert (verdict.may_be_best, verdict.p_random) == (None, None)
    assert found.ranking is not None
    assert found.ranking.place_intervals is None


def test_all_failed_leaves_nothing_to_rank(record: Make) -> None:
    found = standings([record(s, 0.5, None, seed=i) for s in ("a", "b") for i in range(3)])
    assert found.ranking is None
    assert found.critical_difference is None
    assert found.table().verdicts == (None,)


def test_critical_difference_takes_workloads_as_blocks(matrix: MakeMany) -> None:
    models = [f"net-{i}" for i in range(6)]
    records = matrix(workloads=[("digits", model) for model in models], noise=0.05)
    found = standings(records)
    result = found.critical_difference
    assert result is not None
    assert result.blocks == 6
    means = [
        [np.mean(accuracies(records, scorer=c.label, model=m)) for m in models] for c in found.competitors
    ]
    assert result.p == pytest.approx(stats.friedmanchisquare(*means).pvalue)
    assert result.difference == pytest.approx(2.3437 * math.sqrt(3 * 4 / 36), rel=1e-3)


def test_few_workloads_have_no_critical_difference_and_no_interval_over_workloads(matrix: MakeMany) -> None:
    for number in (1, 4, 5):
        found = standings(matrix(workloads=[("digits", f"net-{i}") for i in range(number)]))
        assert found.random is not None
        wider = found.gain_over_workloads(found.competitors[0], found.random)
        assert (found.critical_difference is None, wider is None) == (number < 5, number < 5)


def test_the_gain_over_workloads_takes_each_as_one_observation(matrix: MakeMany) -> None:
    models = [f"net-{i}" for i in range(5)]
    records = matrix(workloads=[("digits", model) for model in models], noise=0.02)
    found = standings(records)
    assert found.random is not None
    gain = found.gain_over_workloads(found.competitors[0], found.random)
    each = [
        np.mean(accuracies(records, scorer="alpha", model=m))
        - np.mean(accuracies(records, scorer="random", model=m))
        for m in models
    ]
    low, high = stats.t.interval(0.95, 4, loc=np.mean(each), scale=stats.sem(each))
    assert gain is not None
    assert (gain.low, gain.mean, gain.high) == pytest.approx((low, np.mean(each), high))


def test_a_control_that_fails_widens_no_criterion_s_interval(matrix: MakeMany, record: Make) -> None:
    records = matrix()
    for each in records:
        each.metrics.update({f"accuracy/class/{name}": 0.5 for name in range(10)})
    failing = [
        record("reversed(beta)", s, 0.1, model=m, seed=i, classes=10)
        for s in (0.5, 0.9)
        for m in ("mlp", "resnet")
        for i in range(3)
    ]
    before, after = standings(records).table(), standings(records + failing).table()
    for criterion, cells in before.rows.items():
        if not criterion.is_control:
            assert after.rows[criterion] == cells
    (control,) = (cells for c, cells in after.rows.items() if c.label == "reversed(beta)")
    assert control[0].estimate is not None
    assert control[0].estimate.at_chance == 6
    assert control[0].estimate.low is not None
    assert control[0].estimate.high is not None
    assert control[0].estimate.low < control[0].estimate.high


def test_a_control_above_the_best_is_named(matrix: MakeMany) -> None:
    (verdict, _) = standings(matrix(scorers=("shuffled(beta)", "alpha", "beta", "random"))).table().verdicts
    assert verdict is not None
    assert verdict.best.label == "alpha"
    assert [c.label for c in verdict.above] == ["shuffled(beta)"]


STEADY = (0.87, 0.88, 0.86, 0.87, 0.87)
WILD = (0.94, 0.78, 0.94, 0.82, 0.87)


@pytest.mark.parametrize(("steady", "wild"), [("a", "b"), ("b", "a")])
def test_of_equal_means_the_least_certain_one_is_judged(record: Make, steady: str, wild: str) -> None:
    """Whatever the names, the claim is the one that holds for both."""
    control = (0.79, 0.80, 0.81, 0.80, 0.795)
    values = {
        steady: STEADY,
        wild: WILD,
        "random": control,
        **{f"c{i}": control[i:] + control[:i] for i in range(1, 5)},
    }
    records = [record(name, 0.5, v, seed=i) for name, of in values.items() for i, v in enumerate(of)]
    verdict = standings(records).table().verdicts[0]
    assert verdict is not None
    assert [c.label for c in verdict.highest] == [wild, steady]
    assert (verdict.best.label, verdict.is_weakest) == (wild, True)
    low, high = stats.t.interval(0.95, 4, loc=np.mean(WILD), scale=stats.sem(WILD))
    assert (verdict.estimate.low, verdict.estimate.high) == pytest.approx((low, high))
    order = [steady, wild, "c1", "c2", "c3", "c4"]
    known = contest(np.array([values[name] for name in order]), [0] * 5, np.array(control)).p_control
    assert known is not None
    assert known[0] < 0.05 < known[1] == pytest.approx(verdict.p_random, abs=0.01)


def failing(records: list[TrialRecord], **axes: object) -> list[TrialRecord]:
    """The records without the metrics of those on some axes, which failed."""
    return [
        replace(r, status="failed", metrics={}, error="it broke")
        if all(r.axes[name] == value for name, value in axes.items())
        else r
        for r in records
    ]


def test_on_each_workload_those_are_apart_that_lack_too_much_of_it(matrix: MakeMany) -> None:
    found = standings(failing(matrix(), scorer="beta", model="mlp", sparsity=0.9))
    mlp, resnet = found.workloads
    beta = next(c for c in found.board.criteria if c.label == "beta")
    assert found.partial_on(mlp) == {beta: "3 of 6 cells"}
    assert found.partial_on(resnet) == {}
    assert found.partial == {beta: "9 of 12 cells"}
    assert beta in found.compared(resnet).criteria


def test_means_over_common_cells_are_over_the_networks_that_all_ranked_have(matrix: MakeMany) -> None:
    records = failing(matrix(noise=0.03), scorer="beta", model="mlp", seed=2, sparsity=0.9)
    found = standings(records)
    common = [r for r in records if (r.axes["model"], r.axes["seed"], r.axes["sparsity"]) != ("mlp", 2, 0.9)]
    for criterion in found.competitors:
        of = [
            np.mean(accuracies(common, scorer=criterion.label, model=model, sparsity=0.9))
            for model in ("mlp", "resnet")
        ]
        assert found.common_mean(criterion, None, 0.9) == pytest.approx(np.mean(of))
        assert found.common_mean(criterion, found.workloads[0], 0.9) == pytest.approx(of[0])
    assert found.random is not None
    assert found.common_mean(found.random, None, 0.9) is None


def test_a_column_is_over_the_workloads_that_were_asked_for(matrix: MakeMany) -> None:
    records = matrix(noise=0.02)
    records = [r for r in records if (r.axes["model"], r.axes["sparsity"]) != ("resnet", 0.5)]
    found = standings(records)
    table = found.table()
    assert [table.part(i) for i in range(2)] == ["1 of 2 workloads", ""]
    alpha = next(c for c in found.board.criteria if c.label == "alpha")
    half = table.rows[alpha][0]
    assert half.serves_all
    assert half.estimate is not None
    assert half.estimate.mean == pytest.approx(np.mean(accuracies(records, scorer="alpha", sparsity=0.5)))
    for pair in found.workloads:
        assert [found.table(pair).part(i) for i in range(2)] == ["", ""]
