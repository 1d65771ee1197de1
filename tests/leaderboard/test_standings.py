from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import stats

from benchsuite_leaderboard.board import AFTER
from benchsuite_leaderboard.grouping import boards
from benchsuite_leaderboard.standings import Standings

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


def test_tied_is_a_paired_test_over_all_pairs(matrix: MakeMany) -> None:
    # Of four entries, three are compared with the best: too few for moderation, so these are plain t tests.
    scorers = ["alpha", "beta", "gamma", "random"]
    records = matrix(
        scorers=scorers, workloads=[("digits", "mlp")], seeds=range(5), sparsities=[0.5], noise=0.015
    )
    table = standings(records).table()
    best = table.best(0)
    assert best is not None
    value = {
        label: np.array([np.mean(accuracies(records, scorer=label, seed=seed)) for seed in range(5)])
        for label in scorers
    }
    others = [label for label in scorers if label != best.label]
    raw = {label: stats.ttest_rel(value[best.label], value[label]).pvalue for label in others}
    expected = {label for label, p in raw.items() if 6 * p >= 0.05}
    assert {c.label for c in table.tied(0)} == expected
    assert 0 < len(expected) < 3


def test_an_incomplete_cell_is_never_the_best(matrix: MakeMany, record: Make) -> None:
    records = [r for r in matrix() if not (r.axes["scorer"] == "alpha" and r.axes["seed"] == 1)]
    records += [
        record("alpha", s, None, model=m, seed=1, status="collapsed")
        for s in (0.5, 0.9)
        for m in ("mlp", "resnet")
    ]
    table = standings(records).table()
    best = table.best(0)
    assert best is not None
    assert best.label == "beta"
    (alpha,) = [cells for c, cells in table.rows.items() if c.label == "alpha"]
    assert [cell.is_complete for cell in alpha] == [False, False]
    assert alpha[0].troubles == {"collapsed": 2}


def test_collapse_costs_rank_and_failure_does_not(matrix: MakeMany, record: Make) -> None:
    kept = [r for r in matrix() if not (r.axes["scorer"] == "alpha" and r.axes["sparsity"] == 0.9)]

    def win_rate(status: str) -> float:
        lost = [
            record("alpha", 0.9, None, model=m, seed=s, status=status)
            for m in ("mlp", "resnet")
            for s in range(3)
        ]
        ranking = standings(kept + lost).ranking
        assert ranking is not None
        return float(ranking.win_rates[0])

    assert win_rate("failed") == pytest.approx(1.0)
    assert win_rate("collapsed") == pytest.approx(0.5)


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
    assert found.table().best(2) is None


def test_one_seed_has_means_without_intervals_or_ties(matrix: MakeMany) -> None:
    found = standings(matrix(seeds=[0]))
    table = found.table()
    estimate = next(iter(table.rows.values()))[0].estimate
    assert estimate is not None
    assert estimate.half_width is None
    assert table.tied(0) == []
    assert found.ranking is not None
    assert found.ranking.place_intervals is None


def test_all_failed_leaves_nothing_to_rank(record: Make) -> None:
    found = standings([record(s, 0.5, None, seed=i) for s in ("a", "b") for i in range(3)])
    assert found.ranking is None
    assert found.critical_difference is None
    assert found.table().best(0) is None


def test_critical_difference_takes_dense_models_as_blocks(matrix: MakeMany) -> None:
    records = matrix()
    found = standings(records).critical_difference
    assert found is not None
    criteria, result = found
    assert [c.label for c in criteria] == ["alpha", "beta", "gamma"]
    assert result.blocks == 6
    means = [
        [
            np.mean(accuracies(records, scorer=c.label, model=m, seed=s))
            for m in ("mlp", "resnet")
            for s in range(3)
        ]
        for c in criteria
    ]
    assert result.p == pytest.approx(stats.friedmanchisquare(*means).pvalue)
    assert result.difference == pytest.approx(2.3437 * math.sqrt(3 * 4 / 36), rel=1e-3)
