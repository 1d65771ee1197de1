from __future__ import annotations

import pytest
import torch
from sklearn import metrics
from torch import nn

from benchsuite.errors import BenchsuiteError
from benchsuite.metrics.accuracy import evaluate
from benchsuite.training import DeviceSplit

CLASSES = ("a", "b", "c", "d")


def split_of(labels: torch.Tensor, features: int = 5) -> DeviceSplit:
    inputs = torch.randn((len(labels), features), generator=torch.Generator().manual_seed(0)) * 3 + 1
    return DeviceSplit(inputs, labels, torch.full((1, features), 1.0), torch.full((1, features), 1 / 3))


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Dropout(0.9), nn.Linear(8, 4))


@pytest.mark.parametrize("batch_size", [1, 7, 23, 100])
def test_counts_equal_those_of_scikit_learn(model, batch_size):
    split = split_of(torch.arange(23) % 3)
    result = evaluate(model, split, CLASSES, batch_size=batch_size)
    model.eval()
    with torch.no_grad():
        outputs = model((split.inputs - 1) / 3).double()
    predicted = outputs.argmax(1)
    expected = metrics.confusion_matrix(split.labels, predicted, labels=range(4))
    assert result.confusion.dtype == torch.int64
    assert result.confusion.tolist() == expected.tolist()
    assert result.top1 == pytest.approx(metrics.accuracy_score(split.labels, predicted))
    recalls = metrics.recall_score(split.labels, predicted, average=None, labels=range(3), zero_division=0)
    assert result.recall == (*(pytest.approx(recall) for recall in recalls), None)
    assert result.loss == pytest.approx(
        metrics.log_loss(split.labels, outputs.softmax(1), labels=range(4)), rel=1e-5
    )
    assert result.samples == 23


def test_rows_are_true_classes():
    class Always(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.one_hot(torch.full((len(x),), 2), 4).float()

    result = evaluate(Always(), split_of(torch.tensor([0, 0, 1, 2, 2])), CLASSES)
    assert result.confusion.tolist() == [[0, 0, 2, 0], [0, 0, 1, 0], [0, 0, 2, 0], [0, 0, 0, 0]]
    assert result.top1 == 0.4
    assert result.recall == (0.0, 0.0, 1.0, None)


def test_the_mode_of_every_module_and_the_statistics_are_left_alone(model):
    model.train()
    model[1].eval()
    before = model[1].running_mean.clone()
    evaluate(model, split_of(torch.zeros(10).long()), CLASSES)
    assert [module.training for module in model] == [True, False, True, True]
    assert torch.equal(before, model[1].running_mean)
    with pytest.raises(BenchsuiteError):
        evaluate(model, split_of(torch.zeros(10).long()), CLASSES[:3])
    assert [module.training for module in model] == [True, False, True, True]


def test_wrong_outputs_and_empty_splits_are_errors(model):
    with pytest.raises(BenchsuiteError, match=r"shape \(10, 4\) for 10 samples and 3 classes"):
        evaluate(model, split_of(torch.zeros(10).long()), CLASSES[:3])
    with pytest.raises(BenchsuiteError, match="empty split"):
        evaluate(model, split_of(torch.zeros(0).long()), CLASSES)
