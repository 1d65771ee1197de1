"""New statistics of batch normalisation, against the library's own function."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from benchsuite.training.data import DeviceSplit
from benchsuite.training.recalibration import recalibrated


def split(samples: int = 60) -> DeviceSplit:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.rand(samples, 2, 6, 6, generator=generator) * 3 + 1
    one = torch.ones(1, 1, 1, 1)
    return DeviceSplit(inputs, torch.zeros(samples, dtype=torch.int64), 0.5 * one, 2.0 * one)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(2, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Dropout(0.5)),
        *(nn.Conv2d(5, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 3)),
    ).eval()


def test_statistics_are_those_of_the_batches() -> None:
    model, data = network(), split()
    before = copy.deepcopy(model.state_dict())
    found = recalibrated(model, data, samples=40, batch_size=16, seed=3)
    assert found is not None
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module.training for module in found.modules())
    order = torch.randperm(60, generator=torch.Generator().manual_seed(3))[:32]
    twin = copy.deepcopy(model)
    twin[3] = nn.Identity()  # the library's function would let dropout act
    update_bn([data.normalise(data.inputs[batch]) for batch in order.split(16)], twin)
    for place in (1, 5):
        torch.testing.assert_close(found[place].running_mean, twin[place].running_mean)
        torch.testing.assert_close(found[place].running_var, twin[place].running_var)
    changed = {n for n, value in found.state_dict().items() if not torch.equal(value, before[n])}
    kinds = ("running_mean", "running_var", "num_batches_tracked")
    assert changed == {f"{place}.{kind}" for place in (1, 5) for kind in kinds}


def test_it_undoes_wrong_statistics() -> None:
    model, data = network(), split()
    good = recalibrated(model, data, 60, 60, 0)
    assert good is not None
    model[1].running_mean += 5
    model[5].running_var *= 9
    again = recalibrated(model, data, 60, 60, 0)
    assert again is not None
    inputs = data.normalise(data.inputs)
    torch.testing.assert_close(again(inputs), good(inputs))
    assert not torch.allclose(model(inputs), good(inputs))


@pytest.mark.parametrize(
    "norm", [nn.Identity(), nn.GroupNorm(1, 5), nn.BatchNorm2d(5, track_running_stats=False)]
)
def test_without_statistics_there_is_nothing_to_estimate(norm: nn.Module) -> None:
    assert recalibrated(nn.Sequential(nn.Conv2d(2, 5, 3), norm).eval(), split(), 10, 5, 0) is None


def test_each_pass_has_two_samples_and_less_is_not_measured() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(72, 11), nn.BatchNorm1d(11)).eval()
    one, two = (recalibrated(model, split(), 20, size, 0) for size in (1, 2))
    assert one is not None
    assert two is not None
    assert torch.equal(one[2].running_var, two[2].running_var)
    assert recalibrated(model, split(), 1, 64, 0) is None
    assert recalibrated(model, split(1), 20, 64, 0) is None
    assert recalibrated(model, split(2), 20, 64, 0) is not None
