"""Criteria that read activations, each compared with loops over samples and units."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from deviations import agree
from torch import Tensor, nn
from torch.nn import functional

from benchsuite.errors import Unsupported
from benchsuite.scoring.check import run_scorer
from benchsuite.testing import context_for, tiny_convnet, tiny_samples
from benchsuite_scorers.chip import NuclearNormChange
from benchsuite_scorers.registration import (
    ActivationStd,
    Apoz,
    Chip,
    HRank,
    MeanActivation,
    TaylorActivation,
    Wanda,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from deviations import Record

    from benchsuite import Scorer, ScoringContext


def setting(count: int = 20) -> tuple[nn.Sequential, ScoringContext]:
    model = tiny_convnet()
    return model, context_for(model, *tiny_samples(count), batch_size=8)


def maps(model: nn.Sequential, context: ScoringContext) -> dict[str, Tensor]:
    inputs = torch.cat([inputs for inputs, _ in context.batches()])
    with torch.no_grad():
        first = torch.relu(model[1](model[0](inputs)))
        second = torch.relu(model[4](functional.max_pool2d(first, 2)))
        third = torch.relu(model[7](second.flatten(1)))
    return {"0": first, "4": second, "7": third[:, :, None, None]}


def nuclear(matrix: np.ndarray) -> float:
    return float(np.linalg.svd(matrix, compute_uv=False).sum())


def chip_loop(values: Tensor) -> list[float]:
    changes = []
    for unit in range(values.shape[1]):
        total = 0.0
        for sample in values.double().flatten(2).numpy():
            without = sample.copy()
            without[unit] = 0
            total += nuclear(sample) - nuclear(without)
        changes.append(total / len(values))
    return changes


LOOPS = {
    Apoz: lambda v: [1 - sum(x == 0 for x in u) / len(u) for u in v.transpose(0, 1).flatten(1).tolist()],
    MeanActivation: lambda v: [statistics.fmean(u) for u in v.transpose(0, 1).flatten(1).tolist()],
    ActivationStd: lambda v: [statistics.pstdev(u) for u in v.transpose(0, 1).flatten(1).tolist()],
    HRank: lambda v: [
        statistics.fmean(int(np.linalg.matrix_rank(m)) for m in u.numpy()) for u in v.transpose(0, 1)
    ],
    Chip: chip_loop,
}


@pytest.mark.parametrize("scorer", LOOPS)
def test_criterion_equals_its_loop(scorer: type[Scorer], record_property: Record) -> None:
    model, context = setting()
    found = run_scorer(scorer(), context).scores
    for name, values in maps(model, context).items():
        expected = LOOPS[scorer](values)
        agree(record_property, scorer.name, found[name], expected, rel=1e-5, absolute=1e-6)


@pytest.mark.parametrize("scorer", [*LOOPS, TaylorActivation, Wanda])
def test_scorers_announce_their_tables(scorer: type[Scorer]) -> None:
    model, _context = setting()
    announced = context_for(model, *tiny_samples(), batch_size=8, reductions=scorer().reductions())
    for reduction in scorer().reductions():
        announced.activations(reduction)
    passes = []
    handle = model.register_forward_pre_hook(lambda module, inputs: passes.append(len(inputs[0])))
    if scorer in LOOPS:
        run_scorer(scorer(), announced)
        assert passes == []
    handle.remove()


def dead_setting() -> ScoringContext:
    model = tiny_convnet()
    with torch.no_grad():
        for part in (model[0].weight, model[0].bias, model[1].weight, model[1].bias):
            part[2] = 0
    return context_for(model, *tiny_samples(), batch_size=8)


@pytest.mark.parametrize("scorer", [*LOOPS, TaylorActivation, Wanda])
def test_a_dead_unit_scores_lowest(scorer: type[Scorer]) -> None:
    score = run_scorer(scorer(), dead_setting()).scores["0"]
    assert float(score[2]) == pytest.approx(0, abs=1e-6)
    assert all(float(score[unit]) > 0 for unit in range(6) if unit != 2)


def test_chip_of_a_copied_map_is_less_than_of_its_own() -> None:
    rows = torch.randn(1, 4, 3, 5, generator=torch.Generator().manual_seed(0))
    rows[0, 3] = rows[0, 1]
    change = NuclearNormChange()(rows)[0]
    assert float(change[1]) == pytest.approx(float(change[3]), rel=1e-6)
    # If the other rows are orthogonal, one of two equal rows adds (sqrt 2 - 1) times what it would add alone.
    alone = NuclearNormChange()(rows[:, :2])[0]
    assert float(change[1]) < float(alone[1])


@pytest.mark.parametrize("shape", [(2, 1, 3, 3), (2, 5, 1, 1), (2, 7, 2, 2), (2, 3, 6, 6)])
def test_chip_for_every_proportion_of_units_and_positions(shape: tuple[int, ...]) -> None:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    found = NuclearNormChange()(values).mean(0)
    assert found.tolist() == pytest.approx(chip_loop(values), rel=1e-5, abs=1e-6)
    assert NuclearNormChange()(values.double() * 1e6).mean(0).tolist() == pytest.approx(
        [1e6 * change for change in chip_loop(values)], rel=1e-7
    )


def test_taylor_activation_takes_the_absolute_value_per_sample(record_property: Record) -> None:
    model, context = setting(10)
    found = run_scorer(TaylorActivation(), context).scores["4"]
    totals = [0.0] * 5
    for inputs, labels in context.batches(1):
        with torch.no_grad():
            head = model[:4](inputs)
        activation = torch.relu(model[4](head)).detach().requires_grad_()
        loss = functional.cross_entropy(model[6:](activation), labels)
        (gradient,) = torch.autograd.grad(loss, activation)
        for unit in range(5):
            product = (activation[0, unit] * gradient[0, unit]).flatten().tolist()
            totals[unit] += abs(sum(product) / len(product)) / 10
    length = math.sqrt(sum(total**2 for total in totals))
    agree(record_property, "taylor-activation", found, [total / length for total in totals], rel=1e-5)
    assert float(found.norm()) == pytest.approx(1.0)


def test_taylor_activation_does_not_depend_on_the_batch_size() -> None:
    model = tiny_convnet()
    one, other = (context_for(model, *tiny_samples(), batch_size=size) for size in (20, 3))
    torch.testing.assert_close(
        run_scorer(TaylorActivation(), one).scores["0"], run_scorer(TaylorActivation(), other).scores["0"]
    )


def test_wanda_equals_the_loop_over_patches(record_property: Record) -> None:
    layers = [
        nn.Conv2d(2, 4, 3, stride=2, padding=1),
        nn.Conv2d(4, 4, 2, dilation=2, groups=2, bias=False),
        nn.Conv2d(4, 3, 1),
    ]
    torch.manual_seed(0)
    model = nn.Sequential(
        layers[0], nn.ReLU(), layers[1], nn.Tanh(), layers[2], nn.Flatten(), nn.Linear(12, 3)
    )
    context = context_for(model, *tiny_samples(6), granularity="weight", batch_size=4)
    found = run_scorer(Wanda(), context).scores
    entered = {
        name: torch.cat([batch[name] for batch in context.layer_inputs()]) for name in ("0", "2", "4", "6")
    }
    for name, layer in (("0", layers[0]), ("2", layers[1]), ("4", layers[2])):
        patches = functional.unfold(
            entered[name], layer.kernel_size, layer.dilation, layer.padding, layer.stride
        )
        norms = patches.transpose(0, 1).flatten(1).norm(dim=1)
        per_input = norms.reshape(entered[name].shape[1], *layer.kernel_size)
        inputs, units = layer.in_channels // layer.groups, layer.out_channels // layer.groups
        for unit in range(layer.out_channels):
            start = unit // units * inputs
            expected = layer.weight[unit].detach().abs() * per_input[start : start + inputs]
            agree(record_property, "wanda", found[name][unit], expected, rel=1e-5, absolute=1e-6)
    expected = model[6].weight.detach().abs() * entered["6"].norm(dim=0)
    agree(record_property, "wanda", found["6"], expected, rel=1e-5, absolute=1e-6)


def test_hrank_of_linear_layers_is_the_share_of_active_samples() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    context = context_for(model, *tiny_samples(20, (4,)))
    with torch.no_grad():
        active = torch.cat([model[:2](inputs) > 0 for inputs, _ in context.batches()]).float().mean(0)
    found = run_scorer(HRank(), context).scores["0"]
    assert found.tolist() == pytest.approx(active.tolist(), rel=1e-6)
    assert len(found.unique()) > 1


@pytest.mark.parametrize("activation", [nn.GELU(), nn.SiLU()])
def test_hrank_says_where_every_unit_ties(activation: nn.Module) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(2, 5, 3, padding=1), activation, nn.Conv2d(5, 4, 3, padding=1), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(256, 3)),
    )
    result = run_scorer(HRank(), context_for(model, *tiny_samples(20)))
    name = type(activation).__name__.lower()
    assert result.skipped == {
        "0": f"all its units have the rank 8, so none ranks above another (its activation is {name})"
    }
    assert list(result.scores) == ["2"]


class Gated(nn.Module):
    """A convolution whose maps go through one function."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.last, self.function = nn.Conv2d(2, 5, 3), nn.Linear(5, 3), function

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.function(self.conv(x)).mean((2, 3)))


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (nn.Hardtanh(0, 6), "hardtanh"),
        (nn.ReLU6(inplace=True), "hardtanh"),
        (nn.Threshold(0.1, 0), "threshold"),
        (lambda x: x.clamp(min=0), "clamp"),
        (lambda x: x.clamp(0, 1), "clamp"),
        (functional.relu, "relu"),
    ],
)
def test_apoz_takes_what_is_zero_for_negative_input(function: Callable[[Tensor], Tensor], name: str) -> None:
    model = Gated(function)
    context = context_for(model, *tiny_samples(10))
    found = run_scorer(Apoz(), context).scores["conv"]
    assert context.activation_function("conv") in {name, "relu6"}
    values = torch.cat([function(model.conv(inputs)) for inputs, _ in context.batches()])
    expected = (values != 0).float().mean((0, 2, 3))
    assert found.tolist() == pytest.approx(expected.tolist(), rel=1e-5)
    assert 0 < float(found.min()) < 1


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (nn.Hardtanh(), "hardtanh"),
        (nn.Threshold(-1, 0), "threshold"),
        (nn.Threshold(0, 0.5), "threshold"),
        (lambda x: x.clamp(min=-0.5), "clamp"),
        (lambda x: x.clamp(max=0), "clamp"),
        (nn.GELU(), "gelu"),
        (nn.Hardswish(), "hardswish"),
        (nn.Softshrink(), "softshrink"),
        (nn.PReLU(5), "prelu"),
        (nn.Identity(), "none"),
    ],
)
def test_apoz_refuses_what_is_not(function: Callable[[Tensor], Tensor], name: str) -> None:
    reason = rf"conv: its activation \({name}\) is not exactly zero for negative input"
    with pytest.raises(Unsupported, match=reason):
        run_scorer(Apoz(), context_for(Gated(function), *tiny_samples(10)))
