from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
import torch
from deviations import agree
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from benchsuite import Unsupported
from benchsuite.scoring.check import run_scorer
from benchsuite.testing import context_for, tiny_convnet, tiny_samples, tiny_trace
from benchsuite.training.trace import TraceRecorder, TraceRequest, TrainingTrace
from benchsuite_scorers.registration import Karnin

if TYPE_CHECKING:
    from deviations import Record


@pytest.mark.parametrize("per", ["step", "epoch"])
def test_karnin_equals_the_loop_over_weights(per: str, record_property: Record) -> None:
    model = tiny_convnet()
    trace = tiny_trace(model)
    trace.initial["4.weight"][0, 0, 0, 0] = model[4].weight[0, 0, 0, 0].detach()
    context = context_for(model, *tiny_samples(), granularity="weight", trace=trace)
    found = run_scorer(Karnin(per=per), context).scores["4"]
    updates = (trace.squared_updates if per == "step" else trace.squared_epoch_updates)["4.weight"]
    raw = []
    for squares, first, last in zip(
        updates.flatten().tolist(),
        trace.initial["4.weight"].flatten().tolist(),
        model[4].weight.flatten().tolist(),
        strict=True,
    ):
        raw.append(0.0 if last == first else squares * last / (0.075 * (last - first)))
    low, high = min(raw), max(raw)
    agree(record_property, "karnin", found, [(s - low) / (high - low) for s in raw], rel=1e-5)
    assert raw[0] == 0


def test_a_real_descent_gives_the_accumulated_updates() -> None:
    """Two weights, three steps, by hand."""
    model = nn.Sequential(nn.Linear(2, 1, bias=False), nn.ReLU(), nn.Linear(1, 2))
    path = [[1.0, 2.0], [0.5, 2.5], [0.75, 2.0], [0.25, 4.0]]
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([path[-1]]))
    squares = [sum((path[n + 1][k] - path[n][k]) ** 2 for n in range(3)) for k in range(2)]
    eta = 0.1
    raw = [squares[k] * path[-1][k] / (eta * (path[-1][k] - path[0][k])) for k in range(2)]
    assert raw == pytest.approx([-1.875, 90.0])
    trace = TrainingTrace(
        {"0.weight": torch.tensor([path[0]])},
        {"0.weight": torch.tensor([squares])},
        {},
        {},
        torch.tensor([eta] * 3),
    )
    context = context_for(model, *tiny_samples(4, (2,), 2), granularity="weight", trace=trace)
    result = run_scorer(Karnin(), context, native=True)
    assert result.scores["0"].tolist() == [[0.0, 1.0]]
    assert result.skipped == {"2": "its weight was not trained, so the trace has no updates of it"}
    assert result.native is not None
    assert result.native["0"].tolist() == [[False, True]]


def of_one_layer(raw: list[float], **parameters: object) -> list[float]:
    """The scores of weights whose sensitivities by the printed box are these numbers."""
    model = nn.Sequential(nn.Linear(len(raw), 1, bias=False), nn.ReLU(), nn.Linear(1, 2))
    zeros = {"0.weight": torch.zeros(1, len(raw))}
    ratios = {"0.weight": torch.tensor([raw], dtype=torch.float64)}
    trace = TrainingTrace(zeros, zeros, zeros, {}, torch.ones(1), ratios, zeros)
    context = context_for(model, *tiny_samples(4, (len(raw),), 2), granularity="weight", trace=trace)
    scorer = Karnin(algorithm="box-as-printed", **parameters)
    found: list[float] = run_scorer(scorer, context).scores["0"].flatten().tolist()
    return found


def test_the_algorithm_box_by_hand(record_property: Record) -> None:
    """Two weights over two epochs; the second ends the first epoch where it began."""
    path = [[1.0, 2.0], [0.5, 2.0], [0.25, 4.0]]
    model, eta = nn.Sequential(nn.Linear(2, 1, bias=False), nn.ReLU(), nn.Linear(1, 2)), 0.1
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([path[0]]))
        recorder = TraceRecorder(model, TraceRequest())
        for state in path[1:]:
            model[0].weight.copy_(torch.tensor([state]))
            recorder.after_epoch()
    trace = recorder.result([eta, eta])
    printed, meant = [0.0, 0.0], [0.0, 0.0]
    for before, after in pairwise(path):
        for k in range(2):
            change, moved = (after[k] - before[k]) ** 2, after[k] - path[0][k]
            fraction = after[k] / (eta * moved) if moved else 0.0
            printed[k] += change + fraction
            meant[k] += change * fraction
    assert meant == pytest.approx([-2.5 - 0.0625 * 10 / 3, 80.0])
    assert printed == pytest.approx([0.25 - 10 + 0.0625 - 10 / 3, 4 + 20.0])
    context = context_for(model, *tiny_samples(4, (2,), 2), granularity="weight", trace=trace)
    for algorithm, sums in (("box", meant), ("box-as-printed", printed)):
        raw = Karnin(algorithm=algorithm)._raw(context, "0", model[0].weight)
        assert raw is not None
        agree(record_property, "karnin", raw, [sums], rel=1e-6)


def test_the_scalings_by_hand() -> None:
    raw = [-3.0, 0.0, 1.0, 1.0, 2.0, 5.0, 6.0, 7.0, 8.0, 997.0]
    assert of_one_layer(raw) == pytest.approx([(value + 3) / 1000 for value in raw])
    # A tenth and nine tenths of the way from the first to the tenth of ten sorted values, numbered from 0.
    low, high = -3 + 0.9 * 3, 8 + 0.1 * 989
    expected = [min(max((value - low) / (high - low), 0), 1) for value in raw]
    assert of_one_layer(raw, scaling="quantile", clip=0.1) == pytest.approx(expected)
    assert of_one_layer(raw, scaling="quantile", clip=0) == pytest.approx(of_one_layer(raw))
    ranks = [0.5, 1.5, 3.0, 3.0, 4.5, 5.5, 6.5, 7.5, 8.5, 9.5]
    assert of_one_layer(raw, scaling="rank") == pytest.approx([rank / 10 for rank in ranks])
    for scaling in ("min-max", "quantile", "rank"):
        flat = of_one_layer([2.0] * 4, scaling=scaling)
        assert flat == [0.5 if scaling == "rank" else 0.0] * 4


@given(
    st.lists(st.integers(-50, 50).map(float), min_size=2, max_size=30, unique=True),
    st.floats(1.0, 1e6),
)
@settings(max_examples=25, deadline=None)
def test_ranks_stay_where_one_weight_stretches_the_scale(raw: list[float], stretch: float) -> None:
    """Only the smallest and largest value decide the scale "min-max"; ranks and, mostly, quantiles do not."""
    largest = raw.index(max(raw))
    stretched = [value + (stretch if k == largest else 0) for k, value in enumerate(raw)]
    assert of_one_layer(stretched, scaling="rank") == of_one_layer(raw, scaling="rank")
    for scaling in ("min-max", "quantile", "rank"):
        found = of_one_layer(stretched, scaling=scaling)
        assert all(0 <= score <= 1 for score in found)
        assert all(a <= b for a, b in pairwise(x for _, x in sorted(zip(stretched, found, strict=True))))


def test_threshold_and_missing_trace() -> None:
    model = tiny_convnet()
    context = context_for(model, *tiny_samples(), granularity="weight", trace=tiny_trace(model))
    result = run_scorer(Karnin(threshold=0.6), context, native=True)
    assert result.native is not None
    for name, keep in result.native.items():
        assert keep.tolist() == (result.scores[name] >= 0.6).tolist()
    with pytest.raises(Unsupported, match="no training trace"):
        run_scorer(Karnin(), context_for(model, *tiny_samples()))
