"""Criteria that read only the weights, each compared with loops over weights."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import torch
import torch_pruning
from deviations import agree
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import prune

from benchsuite import Scorer, Unsupported
from benchsuite.scoring.check import run_scorer
from benchsuite.testing import context_for, tiny_convnet, tiny_mlp, tiny_samples
from benchsuite_scorers.lamp import lamp
from benchsuite_scorers.registration import (
    BatchNormScale,
    Fpgm,
    Lamp,
    MagnitudeL1,
    MagnitudeL2,
    MeanThreshold,
    Random,
    WeightSum,
    Whc,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from deviations import Record


def scores(
    scorer: Scorer, model: nn.Module | None = None, granularity: str = "unit", **settings: object
) -> dict[str, Tensor]:
    model = model or tiny_convnet()
    return run_scorer(scorer, context_for(model, *tiny_samples(), granularity=granularity, **settings)).scores


def rows(weight: Tensor) -> list[list[float]]:
    return weight.detach().double().flatten(1).tolist()


def distance(a: list[float], b: list[float]) -> float:
    return math.sqrt(sum((x - y) ** 2 for x, y in zip(a, b, strict=True)))


def norm(a: list[float]) -> float:
    return math.sqrt(sum(x * x for x in a))


def cosine(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / (norm(a) * norm(b))


LOOPS = {
    MagnitudeL1: lambda units: [sum(abs(x) for x in unit) for unit in units],
    MagnitudeL2: lambda units: [norm(unit) for unit in units],
    WeightSum: lambda units: [sum(unit) for unit in units],
    Fpgm: lambda units: [sum(distance(a, b) for b in units) for a in units],
    Whc: lambda units: [
        norm(a) * sum(norm(b) * (1 - abs(cosine(a, b))) for j, b in enumerate(units) if j != i)
        for i, a in enumerate(units)
    ],
}


@pytest.mark.parametrize("scorer", LOOPS)
def test_unit_criterion_equals_its_loop(scorer: type[Scorer], record_property: Record) -> None:
    model = tiny_convnet()
    found = scores(scorer(), model)
    for name in ("0", "4", "7"):
        expected = LOOPS[scorer](rows(model.get_parameter(f"{name}.weight")))
        agree(record_property, scorer.name, found[name], expected, rel=1e-5, absolute=1e-6)


@pytest.mark.parametrize("scorer", [MagnitudeL1, MagnitudeL2, MeanThreshold])
def test_a_single_weight_counts_by_its_magnitude(scorer: type[Scorer], record_property: Record) -> None:
    model = tiny_convnet()
    found = scores(scorer(), model, "weight")
    agree(record_property, scorer.name, found["9"], model[9].weight.abs(), rel=0)


@pytest.mark.parametrize(("scorer", "n"), [(MagnitudeL1, 1), (MagnitudeL2, 2)])
def test_magnitude_orders_units_as_torch_does(scorer: type[Scorer], n: int) -> None:
    model = tiny_convnet()
    order = scores(scorer(), model)["4"].argsort()
    for amount in range(1, 5):
        layer = tiny_convnet()[4]
        prune.ln_structured(layer, "weight", amount=amount, n=n, dim=0)
        removed = (layer.weight.flatten(1) == 0).all(1).nonzero().flatten()
        assert set(removed.tolist()) == set(order[:amount].tolist())


def test_magnitude_l1_and_lamp_agree_with_torch_pruning(record_property: Record) -> None:
    model = tiny_convnet()
    graph = torch_pruning.DependencyGraph().build_dependency(model, torch.zeros(1, 2, 8, 8))
    group = graph.get_pruning_group(model[4], torch_pruning.prune_conv_out_channels, idxs=list(range(5)))
    plain = {"group_reduction": "first", "normalizer": None}
    theirs = torch_pruning.importance.MagnitudeImportance(p=1, **plain)(group)
    agree(record_property, "magnitude-l1", scores(MagnitudeL1(), model)["4"], theirs, rel=1e-6)
    # Theirs is LAMP of the units' squared norms: the weight criterion on a matrix with one weight per unit.
    theirs = torch_pruning.importance.LAMPImportance(p=2, group_reduction="first", normalizer="lamp")(group)
    squared = model[4].weight.detach().flatten(1).square().sum(1)
    agree(record_property, "lamp", lamp(squared.sqrt()), theirs, rel=1e-5, absolute=1e-6)


def test_bn_scale_agrees_with_torch_pruning_and_skips_layers_without(record_property: Record) -> None:
    model = tiny_convnet()
    with torch.no_grad():
        model[1].weight[2] *= -1
    result = run_scorer(BatchNormScale(), context_for(model, *tiny_samples()))
    assert result.scores["0"].tolist() == [abs(x) for x in model[1].weight.tolist()]
    assert set(result.skipped) == {"4", "7"}
    graph = torch_pruning.DependencyGraph().build_dependency(model, torch.zeros(1, 2, 8, 8))
    group = graph.get_pruning_group(model[0], torch_pruning.prune_conv_out_channels, idxs=list(range(6)))
    theirs = torch_pruning.importance.BNScaleImportance(group_reduction="mean", normalizer=None)(group)
    agree(record_property, "bn-scale", result.scores["0"], theirs, rel=1e-6)


@given(st.lists(st.sampled_from([-2.0, -1.0, 0.0, 0.5, 1.0, 3.0]), min_size=1, max_size=12))
def test_lamp_equals_its_definition_with_ties(values: list[float]) -> None:
    expected = [v * v / sum(u * u for u in values if abs(u) >= abs(v)) if v else 0.0 for v in values]
    assert lamp(torch.tensor([values])).flatten().tolist() == pytest.approx(expected, rel=1e-12)


def test_lamp_is_not_changed_by_scaling_a_layer() -> None:
    model = tiny_convnet()
    before = scores(Lamp(), model, "weight")["4"]
    with torch.no_grad():
        model[4].weight *= 17
    torch.testing.assert_close(scores(Lamp(), model, "weight")["4"], before)
    assert float(before.max()) == pytest.approx(1.0)


@pytest.mark.parametrize("scorer", [Fpgm, Whc, MagnitudeL1, MagnitudeL2])
def test_scaling_a_layer_keeps_the_order_and_twins_are_equal(scorer: type[Scorer]) -> None:
    model = tiny_convnet()
    with torch.no_grad():
        model[4].weight[3] = model[4].weight[1]
    before = scores(scorer(), model)["4"]
    assert float(before[3]) == pytest.approx(float(before[1]), rel=1e-6)
    with torch.no_grad():
        model[4].weight *= 3
    after = scores(scorer(), model)["4"]
    ratio = after / before
    torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio))


def test_whc_of_parallel_and_zero_units() -> None:
    model = nn.Sequential(nn.Linear(2, 3, bias=False), nn.ReLU(), nn.Linear(3, 2))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 0.0], [-2.0, 0.0], [0.0, 0.0]]))
    context = context_for(model, *tiny_samples(4, (2,), 2))
    assert run_scorer(Whc(), context).scores["0"].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(("mean", "of"), [("absolute", abs), ("signed", float)])
def test_mean_threshold_keeps_what_reaches_the_mean(mean: str, of: Callable[[float], float]) -> None:
    model = tiny_convnet()
    context = context_for(model, *tiny_samples(), granularity="weight")
    result = run_scorer(MeanThreshold(mean=mean), context, native=True)
    assert result.native is not None
    for name, keep in result.native.items():
        values = [of(v) for v in model.get_parameter(f"{name}.weight").detach().flatten().tolist()]
        assert result.scores[name].flatten().tolist() == values
        assert keep.flatten().tolist() == [v >= sum(values) / len(values) for v in values]
    with pytest.raises(Unsupported, match="not units"):
        run_scorer(MeanThreshold(mean=mean), context_for(model, *tiny_samples()), native=True)


def test_the_share_that_each_mean_removes_of_normal_weights() -> None:
    """abs(z) is below its mean, sqrt(2 / pi), with the probability erf(1 / sqrt(pi)); z in half."""
    model = nn.Sequential(nn.Linear(200, 100), nn.ReLU(), nn.Linear(100, 3))
    nn.init.normal_(model[0].weight, generator=torch.Generator().manual_seed(0))
    context = context_for(model, *tiny_samples(4, (200,)), granularity="weight")
    for mean, share in (("absolute", math.erf(1 / math.sqrt(math.pi))), ("signed", 0.5)):
        kept = run_scorer(MeanThreshold(mean=mean), context, native=True).native
        assert kept is not None
        # Five standard errors of 20,000 draws.
        assert 1 - float(kept["0"].double().mean()) == pytest.approx(share, abs=0.018)


def test_weight_sum_keeps_the_units_whose_mean_weight_reaches_the_layers() -> None:
    model = tiny_convnet()
    kept = run_scorer(WeightSum(), context_for(model, *tiny_samples()), native=True).native
    assert kept is not None
    for name in ("0", "4", "7"):
        units = rows(model.get_parameter(f"{name}.weight"))
        mean = sum(sum(unit) for unit in units) / sum(len(unit) for unit in units)
        assert kept[name].tolist() == [sum(unit) / len(unit) >= mean for unit in units]
        assert 0 < sum(kept[name].tolist()) < len(units)


@pytest.mark.parametrize(("scorer", "granularity"), [(MeanThreshold(), "weight"), (WeightSum(), "unit")])
def test_equal_weights_all_reach_their_mean(scorer: Scorer, granularity: str) -> None:
    """In single precision the mean of 900 times 0.1 is more than 0.1."""
    model = nn.Sequential(nn.Linear(30, 30), nn.ReLU(), nn.Linear(30, 3))
    with torch.no_grad():
        model[0].weight.fill_(0.1)
    context = context_for(model, *tiny_samples(4, (30,)), granularity=granularity)
    kept = run_scorer(scorer, context, native=True).native
    assert kept is not None
    assert bool(kept["0"].all())


def test_random_differs_by_draw_and_seed_and_is_uniform() -> None:
    model = nn.Sequential(nn.Linear(4, 2000), nn.ReLU(), nn.Linear(2000, 3))
    data = tiny_samples(8, (4,))

    def drawn(**settings: int) -> Tensor:
        return run_scorer(Random(), context_for(model, *data, **settings)).scores["0"]

    values = drawn()
    assert not torch.equal(values, drawn(draw=1))
    assert not torch.equal(values, drawn(seed=1))
    assert float(values.min()) >= 0
    assert float(values.max()) < 1
    counts = torch.histc(values, 10, 0, 1)
    assert float(((counts - 200) ** 2 / 200).sum()) < 30  # chi-squared, 9 degrees of freedom: p = 0.0004


def test_no_bias_and_linear_layers_are_served() -> None:
    model = tiny_mlp()
    context = context_for(model, *tiny_samples(8, (4,)))
    assert run_scorer(MagnitudeL2(), context).scores["0"].tolist() == pytest.approx(
        [norm(unit) for unit in rows(model[0].weight)]
    )
