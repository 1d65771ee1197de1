from __future__ import annotations

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
from benchsuite_scorers._trees import tree_depth
from benchsuite_scorers.registration import TreeGain, XgboostGain

if TYPE_CHECKING:
    from deviations import Record


def setting() -> ScoringContext:
    return context_for(tiny_convnet(), *tiny_samples(200), batch_size=64)


def labels_of(context: ScoringContext) -> np.ndarray:
    return torch.cat([labels for _, labels in context.batches()]).numpy()


def gini(labels: np.ndarray) -> float:
    shares = np.bincount(labels) / len(labels)
    return float(1 - (shares**2).sum())


def grow(table: np.ndarray, labels: np.ndarray, depth: int, gains: np.ndarray) -> None:
    """A decision tree by exhaustive search, adding up samples x decrease of the Gini impurity by column."""
    if depth == 0 or gini(labels) == 0:
        return
    best = (0.0, -1, 0.0)
    for column in range(table.shape[1]):
        values = np.unique(table[:, column])
        for cut in (values[1:] + values[:-1]) / 2:
            left = table[:, column] <= cut
            after = left.sum() * gini(labels[left]) + (~left).sum() * gini(labels[~left])
            gain = len(labels) * gini(labels) - after
            if gain > best[0] + 1e-9:
                best = (gain, column, cut)
    gain, column, cut = best
    if column < 0:
        return
    gains[column] += gain
    left = table[:, column] <= cut
    grow(table[left], labels[left], depth - 1, gains)
    grow(table[~left], labels[~left], depth - 1, gains)


def test_tree_gain_equals_an_exhaustive_search(record_property: Record) -> None:
    context = setting()
    found = run_scorer(TreeGain(depth=2), context).scores["0"]
    table = context.activations("mean")["0"].double().numpy()
    gains = np.zeros(6)
    grow(table, labels_of(context), 2, gains)
    agree(record_property, "tree-gain", found, gains / gains.sum(), rel=1e-5)


@pytest.mark.parametrize(
    ("reduction", "table"), [("mean", "mean"), ("max", "max"), ("top-k-mean", "top-3-mean")]
)
def test_tree_gain_is_scikit_learns_importance(reduction: str, table: str, record_property: Record) -> None:
    context = setting()
    # Deeper trees split small nodes, where equal gains are common and scikit-learn's choice is arbitrary.
    found = run_scorer(TreeGain(reduction=reduction, k=3, depth=2), context).scores
    for name, values in context.activations(table).items():
        tree = DecisionTreeClassifier(max_depth=2, random_state=0)
        expected = tree.fit(values.numpy(), labels_of(context)).feature_importances_
        agree(record_property, "tree-gain", found[name], expected, rel=1e-5, absolute=1e-9)


def test_the_depth_follows_the_number_of_units() -> None:
    context = setting()
    found = run_scorer(TreeGain(), context).scores
    for name, depth in (("0", 3), ("4", 2), ("7", 3)):
        assert torch.equal(found[name], run_scorer(TreeGain(depth=depth), context).scores[name])
        assert not torch.equal(found[name], run_scorer(TreeGain(depth=depth + 1), context).scores[name])


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


@pytest.mark.parametrize("scorer", [TreeGain(), XgboostGain(rounds=10)])
def test_the_unit_that_tells_the_classes_apart_gets_everything(scorer: Scorer) -> None:
    score = run_scorer(scorer, separating_setting([3], 8)).scores["0"]
    assert int(score.argmax()) == 3
    assert float(score[3] / score.sum()) > 0.99


@pytest.mark.parametrize("scorer", [TreeGain(), XgboostGain(rounds=10)])
def test_dead_units_gain_nothing(scorer: Scorer) -> None:
    context = separating_setting([1, 2], 6)
    with torch.no_grad():
        context.model[0].weight[4] = 0
    score = run_scorer(scorer, context).scores["0"]
    assert float(score[4]) == 0


def test_one_class_and_missing_classes() -> None:
    inputs, _ = tiny_samples(20)
    one = context_for(tiny_convnet(), inputs, torch.full((20,), 2))
    with pytest.raises(Unsupported, match="one class"):
        run_scorer(XgboostGain(), one)
    gap = context_for(tiny_convnet(), inputs, torch.arange(20) % 2 * 2)
    assert float(run_scorer(XgboostGain(rounds=3), gap).scores["0"].sum()) > 0


def test_depth_is_the_rounded_logarithm() -> None:
    assert [tree_depth(units) for units in (1, 2, 6, 16, 84, 120)] == [1, 1, 3, 4, 6, 7]
