from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from deviations import agree
from sklearn.tree import DecisionTreeClassifier
from torch import nn
from xgboost import XGBClassifier

from benchsuite import Scorer, ScoringContext, Unsupported
from benchsuite.scoring.check import run_scorer
from benchsuite.testing import context_for, tiny_convnet, tiny_samples
from benchsuite_scorers._one_round import one_round
from benchsuite_scorers._trees import tree_depth
from benchsuite_scorers.registration import TreeGain, XgboostGain

if TYPE_CHECKING:
    from collections.abc import Callable

    from deviations import Record


def setting() -> ScoringContext:
    return context_for(tiny_convnet(), *tiny_samples(200), batch_size=64)


def labels_of(context: ScoringContext) -> np.ndarray:
    return torch.cat([labels for _, labels in context.batches()]).numpy()


def gini(labels: np.ndarray) -> float:
    shares = np.bincount(labels) / len(labels)
    return float(1 - (shares**2).sum())


def impurity(labels: np.ndarray, classes: int) -> float:
    """Samples x Gini impurity."""
    return len(labels) * gini(labels)


def loss(labels: np.ndarray, classes: int) -> float:
    """A leaf's part of the loss (Chen and Guestrin 2016, eq. 6), with derivatives added sample by sample."""
    total, p = 0.0, 1 / classes
    for k in range(classes):
        first = sum(p - (label == k) for label in labels.tolist())
        second = sum(2 * p * (1 - p) for _ in labels)
        total += first**2 / (second + 1)
    return -total / 2


def grow(
    table: np.ndarray,
    labels: np.ndarray,
    depth: int,
    gains: np.ndarray,
    cost: Callable[[np.ndarray, int], float],
) -> None:
    """A decision tree by exhaustive search, adding up the decrease of a cost by column."""
    if depth == 0 or gini(labels) == 0:
        return
    best = (0.0, -1, 0.0)
    for column in range(table.shape[1]):
        values = np.unique(table[:, column])
        for cut in (values[1:] + values[:-1]) / 2:
            left = table[:, column] <= cut
            gain = cost(labels, 3) - cost(labels[left], 3) - cost(labels[~left], 3)
            if gain > best[0] + 1e-9:
                best = (gain, column, cut)
    gain, column, cut = best
    if column < 0:
        return
    gains[column] += gain
    left = table[:, column] <= cut
    grow(table[left], labels[left], depth - 1, gains, cost)
    grow(table[~left], labels[~left], depth - 1, gains, cost)


@pytest.mark.parametrize(("kind", "cost"), [("gini", impurity), ("xgboost", loss)])
def test_tree_gain_equals_an_exhaustive_search(
    kind: str, cost: Callable[[np.ndarray, int], float], record_property: Record
) -> None:
    context = context_for(tiny_convnet(), *tiny_samples(60), batch_size=64)
    found = run_scorer(TreeGain(gain=kind, depth=2), context).scores["0"]
    table = context.activations("mean")["0"].double().numpy()
    gains = np.zeros(6)
    grow(table, labels_of(context), 2, gains, cost)
    agree(record_property, "tree-gain", found, gains / gains.sum(), rel=1e-5)


@pytest.mark.parametrize(("classes", "columns", "depth"), [(2, 6, 3), (3, 5, 2), (4, 5, 3), (10, 4, 3)])
def test_one_round_is_xgboosts_tree_of_several_outputs(classes: int, columns: int, depth: int) -> None:
    chance = np.random.default_rng(classes)
    table = chance.standard_normal((240, columns)).astype(np.float32)
    labels = np.where(table[:, 1] > 0.3, 0, np.arange(240) % classes)
    ours = one_round(table, labels, depth)
    # The histogram method bins 240 distinct values one by one.
    theirs = XGBClassifier(
        n_estimators=1,
        max_depth=depth,
        tree_method="hist",
        multi_strategy="multi_output_tree",
        objective="multi:softprob",
        num_class=classes,
        base_score=0.5,
        min_child_weight=0,
    ).fit(table, labels)
    gains = theirs.get_booster().get_score(importance_type="total_gain")
    # XGBoost leaves the half of the formula out.
    expected = [gains.get(f"f{column}", 0.0) / 2 for column in range(columns)]
    assert ours.gains.tolist() == pytest.approx(expected, rel=1e-4)
    assert ours.depth == depth


def test_one_round_by_hand() -> None:
    """Two classes: the root has G = 0; each leaf G = +-1 and H = 1 for each class, so 2 x 1 / (1 + 1)."""
    tree = one_round(np.array([[0, 5], [1, 5], [2, 5], [3, 5]], np.float32), np.array([0, 0, 1, 1]), 4)
    assert tree.gains.tolist() == [pytest.approx((1 + 1) / 2), 0.0]
    assert (tree.depth, tree.leaves, tree.right) == (1, 2, 1.0)
    flat = one_round(np.ones((3, 2), np.float32), np.array([0, 1, 1]), 2)
    assert (flat.gains.tolist(), flat.depth, flat.leaves, flat.right) == ([0.0, 0.0], 0, 1, 2 / 3)


def test_the_search_in_blocks_finds_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = np.random.default_rng(0)
    table, labels = chance.standard_normal((50, 7)).astype(np.float32), chance.integers(0, 3, 50)
    whole = one_round(table, labels, 3)
    monkeypatch.setattr("benchsuite_scorers._one_round._ENTRIES", 100)
    assert one_round(table, labels, 3).gains.tolist() == whole.gains.tolist()


@pytest.mark.parametrize(
    ("reduction", "table"), [("mean", "mean"), ("max", "max"), ("top-k-mean", "top-3-mean")]
)
def test_tree_gain_is_scikit_learns_importance(reduction: str, table: str, record_property: Record) -> None:
    context = setting()
    # Deeper trees split small nodes, where equal gains are common and scikit-learn's choice is arbitrary.
    found = run_scorer(TreeGain(gain="gini", reduction=reduction, k=3, depth=2), context).scores
    for name, values in context.activations(table).items():
        tree = DecisionTreeClassifier(max_depth=2, random_state=0)
        expected = tree.fit(values.numpy(), labels_of(context)).feature_importances_
        agree(record_property, "tree-gain", found[name], expected, rel=1e-5, absolute=1e-9)


@pytest.mark.parametrize("gain", ["gini", "xgboost"])
def test_the_depth_follows_the_number_of_units(gain: str) -> None:
    context = setting()
    result = run_scorer(TreeGain(gain=gain), context)
    for name, depth in (("0", 3), ("4", 2), ("7", 3)):
        same, deeper = (run_scorer(TreeGain(gain=gain, depth=d), context) for d in (depth, depth + 1))
        assert torch.equal(result.scores[name], same.scores[name])
        assert not torch.equal(result.scores[name], deeper.scores[name])
    trees = {row["layer"]: row for row in csv.DictReader(io.StringIO(result.reports.tables["trees"]))}
    assert [trees[name]["depth"] for name in ("0", "4", "7")] == ["3", "2", "3"]
    assert all(float(tree["training_accuracy"]) > 1 / 3 for tree in trees.values())


@pytest.mark.parametrize("kind", ["gain", "total_gain", "weight"])
def test_xgboost_gain_is_xgboosts_importance(kind: str, record_property: Record) -> None:
    context = setting()
    found = run_scorer(XgboostGain(rounds=5, importance_type=kind, depth=2), context).scores["4"]
    model = XGBClassifier(n_estimators=5, max_depth=2, tree_method="exact", random_state=1)
    model.fit(context.activations("mean")["4"].numpy(), labels_of(context))
    expected = model.get_booster().get_score(importance_type=kind)
    # The histogram method bins 200 distinct values one by one, so it finds the same splits.
    scores = [expected.get(f"f{unit}", 0.0) for unit in range(5)]
    agree(record_property, "xgboost-gain", found, scores, rel=1e-3)


def separating_setting(columns: list[int], units: int) -> ScoringContext:
    """Units that see one input each; the labels depend on some of them."""
    model = nn.Sequential(nn.Linear(units, units), nn.ReLU(), nn.Linear(units, 2))
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(units))
        model[0].bias.zero_()
    inputs, _ = tiny_samples(100, (units,), 2)
    labels = (inputs[:, columns].relu().sum(1) > 0.5).long()
    return context_for(model, inputs, labels)


@pytest.mark.parametrize("scorer", [TreeGain(), TreeGain(gain="gini"), XgboostGain(rounds=10)])
def test_the_unit_that_tells_the_classes_apart_gets_everything(scorer: Scorer) -> None:
    score = run_scorer(scorer, separating_setting([3], 8)).scores["0"]
    assert int(score.argmax()) == 3
    assert float(score[3] / score.sum()) > 0.99


@pytest.mark.parametrize("scorer", [TreeGain(), TreeGain(gain="gini"), XgboostGain(rounds=10)])
def test_dead_units_gain_nothing(scorer: Scorer) -> None:
    context = separating_setting([1, 2], 6)
    with torch.no_grad():
        context.model[0].weight[4] = 0
    score = run_scorer(scorer, context).scores["0"]
    assert float(score[4]) == 0


def test_one_class_and_missing_classes() -> None:
    inputs, _ = tiny_samples(20)
    one = context_for(tiny_convnet(), inputs, torch.full((20,), 2))
    for scorer in (XgboostGain(), TreeGain(), TreeGain(gain="gini")):
        with pytest.raises(Unsupported, match="one class"):
            run_scorer(scorer, one)
    gap = context_for(tiny_convnet(), inputs, torch.arange(20) % 2 * 2)
    assert float(run_scorer(XgboostGain(rounds=3), gap).scores["0"].sum()) > 0
    assert float(run_scorer(TreeGain(), gap).scores["0"].sum()) == pytest.approx(1)


def test_depth_is_the_rounded_logarithm() -> None:
    assert [tree_depth(units) for units in (1, 2, 6, 16, 84, 120)] == [1, 1, 3, 4, 6, 7]
