"""Gradient statistics, each compared with loops over samples, units and weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import pytest
import torch
from torch import nn
from torch.nn import functional

from benchsuite.errors import PluginError
from benchsuite.scoring.gradients import GRADIENT_STATISTICS, GradientStatistic, MeanGradient, find_statistic
from benchsuite.testing import context_for, tiny_convnet, tiny_mlp, tiny_samples

if TYPE_CHECKING:
    from torch import Tensor

    from benchsuite.scoring.context import ScoringContext
    from benchsuite.scoring.gradients import GradientBatch


def setting(granularity: str = "unit") -> tuple[nn.Sequential, ScoringContext]:
    """Batches of 8, 8 and 4 samples, so that a mean over batches differs from one over samples."""
    model = tiny_convnet()
    return model, context_for(model, *tiny_samples(20), batch_size=8, granularity=granularity)


def loss_gradients(model: nn.Module, inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    functional.cross_entropy(model(inputs), labels).backward()
    found = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    return found


@pytest.mark.parametrize("granularity", ["unit", "weight"])
def test_the_mean_gradient_is_that_of_all_samples(granularity: str) -> None:
    model, context = setting(granularity)
    single = [loss_gradients(model, *sample) for sample in context.batches(1)]
    found = context.gradient_statistic("mean-gradient")
    assert list(found) == [layer.name for layer in context.layers]
    for name, gradient in found.items():
        expected = sum(each[f"{name}.weight"].double() for each in single) / len(single)
        torch.testing.assert_close(gradient.double(), expected, rtol=1e-5, atol=1e-7)


def test_the_activation_change_is_absolute_per_sample() -> None:
    model, context = setting()
    totals = [0.0] * 5
    for inputs, labels in context.batches(1):
        activation = torch.relu(model[:5](inputs)).detach().requires_grad_()
        loss = functional.cross_entropy(model[6:](activation), labels)
        (gradient,) = torch.autograd.grad(loss, activation)
        for unit in range(5):
            product = (activation[0, unit] * gradient[0, unit]).flatten().tolist()
            totals[unit] += abs(sum(product) / len(product)) / 20
    found = context.gradient_statistic("activation-change")
    assert list(found) == ["0", "4", "7"]
    assert found["4"].tolist() == pytest.approx(totals, rel=1e-5)


def test_layers_that_are_not_reached_have_no_activation_change() -> None:
    class Detour(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle, self.last = nn.Linear(4, 5), nn.Linear(4, 5), nn.Linear(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.used(x).relu())

    context = context_for(Detour(), *tiny_samples(10, (4,)))
    assert list(context.gradient_statistic("activation-change")) == ["used"]
    assert not context.gradient_statistic("mean-gradient")["idle"].any()


@pytest.mark.parametrize("name", GRADIENT_STATISTICS)
def test_double_precision_stays(name: str) -> None:
    inputs, labels = tiny_samples(10, (4,))
    context = context_for(tiny_mlp().double(), inputs.double(), labels, batch_size=4)
    for value in context.gradient_statistic(name).values():
        assert value.dtype == torch.float64
        assert float((value - value.float()).abs().max()) > 0


def test_a_statistic_of_ones_own() -> None:
    @dataclass(frozen=True)
    class Largest(GradientStatistic):
        name: ClassVar[str] = "largest"
        power: int = 1

        def __call__(self, batch: GradientBatch) -> dict[str, Tensor]:
            seen = (batch.samples, batch.of_samples, batch.of_batches, batch.granularity)
            assert seen in {(8, 20, 3, "unit"), (4, 20, 3, "unit")}
            assert batch.activations == {}
            return {"4": batch.gradients["4.weight"].abs().amax() ** self.power}

    model, context = setting()
    batches = [loss_gradients(model, *batch)["4.weight"].abs().max() for batch in context.batches()]
    for power in (1, 2):
        found = context.gradient_statistic(Largest(power))
        assert float(found["4"]) == pytest.approx(sum(float(each) ** power for each in batches), rel=1e-5)
    assert Largest(1).key != Largest(2).key


def test_names_are_found_and_others_refused() -> None:
    assert find_statistic("mean-gradient") == MeanGradient()
    assert find_statistic(MeanGradient()) == MeanGradient()
    with pytest.raises(
        PluginError, match="no gradient statistic 'meen'; there are: mean-gradient, squared-gate"
    ):
        find_statistic("meen")
    with pytest.raises(NotImplementedError, match="Nameless does not define"):
        type("Nameless", (GradientStatistic,), {})()(None)
