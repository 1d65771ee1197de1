from __future__ import annotations

import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
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


class Spoils(nn.Module):
    """A classifier whose outputs are spoilt at some samples and classes."""

    def __init__(self, places: dict[tuple[int, int], float]) -> None:
        super().__init__()
        self.places, self.seen = places, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs = torch.zeros(len(x), 4)
        for (sample, column), value in self.places.items():
            if self.seen <= sample < self.seen + len(x):
                outputs[sample - self.seen, column] = value
        self.seen += len(x)
        return outputs


@settings(deadline=None)
@given(
    places=st.dictionaries(
        st.tuples(st.integers(0, 9), st.integers(0, 3)),
        st.sampled_from([0.5, math.nan, math.inf, -math.inf]),
        max_size=8,
    ),
    batch_size=st.integers(1, 12),
)
def test_outputs_that_are_no_numbers_are_no_predictions(places, batch_size):
    split = split_of(torch.zeros(10).long())
    bad = {sample for (sample, _), value in places.items() if not math.isfinite(value)}
    if not bad:
        assert evaluate(Spoils(places), split, CLASSES, batch_size).samples == 10
        return
    with pytest.raises(BenchsuiteError) as caught:
        evaluate(Spoils(places), split, CLASSES, batch_size, network="the network of a test")
    assert str(caught.value) == (
        f"the network of a test cannot be evaluated: its outputs are not finite on {len(bad)} of 10 samples"
    )


def state_names() -> list[str]:
    names = [name for name, _ in (*small().named_parameters(), *small().named_buffers())]
    return [name for name in names if "num_batches" not in name]


def small() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Dropout(0.9), nn.Linear(8, 4))


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("name", state_names())
def test_a_spoilt_parameter_or_statistic_is_named(name, value):
    """An infinite running variance makes a unit zero: the outputs would look like any others."""
    model = small()
    model.state_dict()[name].view(-1)[-1] = value
    with pytest.raises(BenchsuiteError, match=f"not finite are {re.escape(name)}$"):
        evaluate(model, split_of(torch.zeros(10).long()), CLASSES)
    assert model.training


def test_a_mask_may_hold_infinities_and_no_nan():
    model = small()
    model.register_buffer("mask", torch.full((3,), -math.inf))
    assert evaluate(model, split_of(torch.zeros(10).long()), CLASSES).samples == 10
    model.mask[1] = math.nan
    with pytest.raises(BenchsuiteError, match=r"not finite are mask$"):
        evaluate(model, split_of(torch.zeros(10).long()), CLASSES)
