"""Trees on activations: beside trees of the test's own, and on networks of which the answer is known."""

from __future__ import annotations

import csv
from collections import Counter

import pytest
import torch
from torch import nn

from benchsuite.metrics.run_metric import run_metric
from benchsuite.testing import METRIC_CHECKS, metric_context_for, tiny_convnet, tiny_samples
from benchsuite_metrics.tree_accuracy import TreeAccuracy


def knowing(units: int, informed: int) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """A layer whose first units tell the four classes and whose others are noise, with its samples."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(400) % 4
    inputs = torch.rand(400, units, generator=generator)
    for unit in range(informed):
        inputs[:, unit] = labels.float() / 4 + 0.1 * inputs[:, unit] + 1
    first = nn.Linear(units, units, bias=False)
    with torch.no_grad():
        first.weight.copy_(torch.eye(units))
    return nn.Sequential(first, nn.ReLU(), nn.Linear(units, 4)), inputs, labels


@pytest.mark.parametrize("kind", ["one-round", "gini"])
def test_what_the_classes_need_is_found_and_missed(kind: str) -> None:
    """One unit of eight knows: without the others nothing is lost, without it all is."""
    metric = TreeAccuracy(tree=kind, removed=0.5, rounds=2, points=4)
    context = metric_context_for(*knowing(8, 1), stage="dense")
    found = run_metric(metric, context)
    # XGBoost's histograms may split a little beside a gap.
    for name in ("single", "boosted", "without_least"):
        assert found[f"{name}/0"] == pytest.approx(1, abs=0.01)
    # Trees remember a little of the noise, since both splits are the same here.
    assert found["without_most/0"] < 0.6
    curve = context.shown.curves["removal_0"]
    assert curve.x == [0.0, 0.25, 0.5, 0.625, 0.875]
    *several, alone = curve.y["least first"]
    assert several == pytest.approx([1.0] * 4, abs=0.01)
    if kind == "gini":
        assert alone == 0.5, "with one unit the tree has two leaves, for four classes"
    assert max(line for line in curve.y["most first"][1:] if line is not None) < 0.7


def test_numbers_are_those_of_trees_fitted_here() -> None:
    """scikit-learn's tree by the Gini impurity, and as many samples as are asked for."""
    from sklearn.tree import DecisionTreeClassifier

    samples = tiny_samples(60)
    context = metric_context_for(tiny_convnet(), *samples)
    found = run_metric(TreeAccuracy(tree="gini", points=0), context)
    assert set(found) == {f"single/{layer.name}" for layer in context.layers}
    again = metric_context_for(tiny_convnet(), *samples)
    labels = again.activation_labels("train").numpy()
    for layer in again.layers:
        table = again.activations("mean", "train")[layer.name].numpy()
        depth = {6: 3, 5: 2, 7: 3}[layer.units]
        trees = [
            DecisionTreeClassifier(max_depth=depth, random_state=seed).fit(table, labels) for seed in range(3)
        ]
        right = [tree.score(table, labels) for tree in trees]
        assert min(right) - 0.05 <= found[f"single/{layer.name}"] <= max(right) + 0.05
    rows = list(csv.DictReader(context.shown.tables["maxima"].splitlines()))
    table = again.activations("mean", "train")["0"]
    counted = Counter(zip(table.argmax(1).tolist(), labels.tolist(), strict=True))
    for row in (row for row in rows if row["layer"] == "0"):
        assert [int(row[f"class {label}"]) for label in range(3)] == [
            counted[int(row["unit"]), label] for label in range(3)
        ]
    assert len(list(csv.DictReader(context.shown.tables["gains"].splitlines()))) == 6 + 5 + 7


def test_classes_that_are_absent_leave_no_gap() -> None:
    model, inputs, labels = knowing(4, 1)
    some = labels != 1
    context = metric_context_for(model, inputs[some], labels[some])
    assert run_metric(TreeAccuracy(points=0), context)["single/0"] == pytest.approx(1, abs=0.01)


def test_what_cannot_be_measured_is_said() -> None:
    from benchsuite import Unsupported

    model, inputs, _ = knowing(4, 1)
    with pytest.raises(Unsupported, match="all samples are of one class"):
        run_metric(TreeAccuracy(), metric_context_for(model, inputs, torch.ones(400, dtype=torch.long)))
    with pytest.raises(Unsupported, match="there is no layer conv9; there are: 0"):
        run_metric(TreeAccuracy(layers=("conv9",)), metric_context_for(*knowing(4, 1)))


@pytest.mark.parametrize("check", METRIC_CHECKS)
def test_it_passes_the_checks_for_strangers(check: str) -> None:
    METRIC_CHECKS[check](TreeAccuracy(rounds=1, points=2))
