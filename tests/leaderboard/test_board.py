from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import pytest

from benchsuite_leaderboard.board import AFTER, Block, DenseModel, Workload
from benchsuite_leaderboard.grouping import boards, differing_settings
from benchsuite_leaderboard.pages.formats import sparsity
from benchsuite_leaderboard.site import render

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchsuite.store.record import TrialRecord


def test_draws_of_one_dense_model_count_once(record: Callable[..., TrialRecord]) -> None:
    records = [record("random", 0.5, value, draw=draw) for draw, value in enumerate([0.2, 0.3, 0.7])]
    (board,) = boards(records)
    (values,) = board.values(AFTER).values()
    block = Block(DenseModel(Workload("digits", "mlp"), "0"), 0.5)
    assert values == {block: pytest.approx(0.4)}


def test_trials_and_costs_are_found_by_workload(record: Callable[..., TrialRecord]) -> None:
    records = [record(name, 0.5, 0.9, model=model) for name, model in (("a", "m"), ("b", "m"), ("a", "n"))]
    records[2].metrics["cost/macs"] = 2500.0
    (board,) = boards(records)
    a, b = board.criteria
    m, n = board.workloads
    assert [len(board.of_criterion(*each)) for each in ((a,), (a, m), (b,), (b, m), (b, n))] == [
        2,
        1,
        1,
        1,
        0,
    ]
    assert board.remaining_cost(m, "macs") == {(a, 0.5): 0.5, (b, 0.5): 0.5}
    assert board.remaining_cost(n, "macs") == {(a, 0.5): 0.25}
    assert board.remaining_cost(None, "macs") == {(a, 0.5): 0.375, (b, 0.5): 0.5}


@pytest.mark.parametrize(
    "change",
    [
        {"granularity": "weight"},
        {"scope": "layer"},
        {"budget": "params"},
        {"schedule": "iterative"},
        {"recovery_epochs": 0},
        {"settings": {"aggregate": "sum"}},
    ],
)
def test_other_rules_are_another_board(record: Callable[..., TrialRecord], change: dict[str, object]) -> None:
    found = boards([record("a", 0.5, 0.9), record("a", 0.5, 0.1, **change)])
    assert [len(board.trials) for board in found] == [1, 1]
    assert len({board.protocol.digest for board in found}) == 2


def test_equal_rules_written_differently_are_one_board(record: Callable[..., TrialRecord]) -> None:
    assert (
        len(boards([record("a", 0.5, 0.9, recovery_epochs=2), record("b", 0.5, 0.8, recovery_epochs=2.0)]))
        == 1
    )


def test_settings_that_differ_are_named(record: Callable[..., TrialRecord]) -> None:
    found = boards(
        [
            record("a", 0.5, 0.9, settings={"pruning": {"aggregate": mode}, "recovery": {"epochs": 2}})
            for mode in ("mean", "sum")
        ]
    )
    told = differing_settings([board.protocol for board in found])
    assert sorted(told.values()) == ['pruning.aggregate = "mean"', 'pruning.aggregate = "sum"']


def test_the_last_record_of_a_key_counts(record: Callable[..., TrialRecord]) -> None:
    first = record("a", 0.5, None)
    (board,) = boards([first, record("a", 0.5, 0.8)])
    assert [trial.status for trial in board.trials] == ["done"]


def test_settings_of_a_scorer_are_told_apart(record: Callable[..., TrialRecord]) -> None:
    (board,) = boards(
        [
            record("entropy", 0.5, 0.9, scorer_params={"bins": 32, "base": 2}),
            record("entropy", 0.5, 0.8, scorer_params={"bins": 64, "base": 2}),
            record("shuffled(entropy)", 0.5, 0.7, scorer_params={"bins": 64, "base": 2}),
            record("magnitude-l1", 0.5, 0.8, scorer_params={"anything": 1}),
        ]
    )
    assert [c.label for c in board.criteria] == [
        "entropy [bins=32]",
        "entropy [bins=64]",
        "magnitude-l1",
        "shuffled(entropy)",
    ]
    assert [c.is_control for c in board.criteria] == [False, False, False, True]


def test_a_collapsed_draw_counts_with_the_accuracy_of_chance(record: Callable[..., TrialRecord]) -> None:
    (board,) = boards(
        [
            record("a", 0.9, None, status="collapsed"),
            record("random", 0.9, None, status="collapsed", draw=0),
            record("random", 0.9, 0.1, draw=1, classes=4),
        ]
    )
    values = {c.label: list(found.values()) for c, found in board.values(AFTER).items()}
    assert values == {"a": [0.25], "random": [(0.25 + 0.1) / 2]}


def test_senseless_metrics_are_no_values(record: Callable[..., TrialRecord]) -> None:
    strange = record("a", 0.5, 0.9)
    strange.metrics.update({"nan": float("nan"), "text": "0.5", "flag": True, "vast": -1.7e308})
    (board,) = boards([strange])
    (trial,) = board.trials
    assert [trial.metric(name) for name in ("nan", "text", "flag", "absent", "vast", AFTER)] == [
        None,
        None,
        None,
        None,
        None,
        0.9,
    ]


def test_absent_axes_are_no_error(record: Callable[..., TrialRecord]) -> None:
    bare = record("a", 0.5, 0.9)
    bare.axes.clear()
    (board,) = boards([bare])
    assert board.sparsities == ("not stated",)


def test_sparsities_that_differ_by_rounding_are_one_column(record: Callable[..., TrialRecord]) -> None:
    """Files of earlier versions have .1 + .2 where a suite now has .3."""
    records = [record(name, s, 0.9) for name, s in (("a", 0.3), ("b", 0.1 + 0.2), ("c", 0.3 + 1e-9))]
    (board,) = boards(records)
    assert board.sparsities == (0.3, 0.300000001)
    (a, b, _) = (block for of in board.values(AFTER).values() for block in of)
    assert a == b
    shown = [sparsity(each) for each in board.sparsities]
    assert shown == ["30%", "30.0000001%"]
    assert sparsity(0.123456789012) == "12.3456789012%"
    assert sparsity(0.07) == "7%"


@pytest.mark.parametrize(
    ("pruning", "said"),
    [
        ({}, ""),
        ({"layers": ["fc1", "blocks.*"]}, "fc1, blocks.*"),
        ({"keep": ["<b>"]}, "all but <b>"),
        ({"layers": ["layer*"], "keep": ["layer2.*"]}, "layer*, but not layer2.*"),
        ({"layers": "fc1", "keep": 3}, ""),
        ("nonsense", ""),
        (None, ""),
    ],
)
def test_layers_that_a_suite_names_are_said(
    record: Callable[..., TrialRecord], pruning: object, said: str, tmp_path: Path
) -> None:
    records = [record("a", 0.5, 0.9, settings={"pruning": pruning}, seed=seed) for seed in (0, 1)]
    assert boards(records)[0].protocol.layers == said
    render(records, tmp_path, title="named")
    page = (tmp_path / "index.html").read_text()
    assert ("<dt>Layers</dt>" in page) == bool(said)
    assert f"<dt>Layers</dt><dd>{escape(said)}</dd>" in page or not said
