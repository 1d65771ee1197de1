from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from deviations import agree
from torch import nn

from benchsuite import Unsupported
from benchsuite.scoring.check import run_scorer
from benchsuite.testing import context_for, tiny_convnet, tiny_samples, tiny_trace
from benchsuite.training.trace import TrainingTrace
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


def test_threshold_and_missing_trace() -> None:
    model = tiny_convnet()
    context = context_for(model, *tiny_samples(), granularity="weight", trace=tiny_trace(model))
    result = run_scorer(Karnin(threshold=0.6), context, native=True)
    assert result.native is not None
    for name, keep in result.native.items():
        assert keep.tolist() == (result.scores[name] >= 0.6).tolist()
    with pytest.raises(Unsupported, match="no training trace"):
        run_scorer(Karnin(), context_for(model, *tiny_samples()))
