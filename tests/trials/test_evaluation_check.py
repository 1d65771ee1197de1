"""Networks whose output in evaluation depends on more than the sample are not served."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from benchsuite.contracts.dataset import Dataset, Split
from benchsuite.errors import Unsupported
from benchsuite.training import on_device
from benchsuite.trials.dense_training import check_evaluation

IMAGES = torch.randint(0, 256, (30, 1, 6, 6), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
SPLIT = Split(IMAGES, torch.arange(30) % 3)
DATA = on_device(Dataset(SPLIT, SPLIT, SPLIT, ("a", "b", "c"), (0.5,), (0.2,)), "cpu")


class Always(nn.Module):
    """Dropout that does not stop in evaluation."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(x, 0.5, training=True)


class Centred(nn.Module):
    """Subtracts the batch's mean."""

    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(0)


def network(*middle: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), *middle, nn.Flatten(), nn.Linear(64, 3))


@pytest.mark.parametrize(
    ("middle", "message"),
    [
        (Always(), "the model mine is not deterministic in evaluation"),
        (Centred(), "the model mine gives a sample another output beside other samples than alone"),
        (nn.BatchNorm2d(4, track_running_stats=False), "gives a sample another output beside other samples"),
    ],
)
def test_what_depends_on_chance_or_on_the_batch_is_said(middle: nn.Module, message: str) -> None:
    model = network(middle)
    with pytest.raises(Unsupported, match=message):
        check_evaluation(model, DATA, "mine")


@pytest.mark.parametrize(
    "middle",
    [nn.BatchNorm2d(4), nn.Dropout(0.9), nn.InstanceNorm2d(4), nn.GroupNorm(2, 4), nn.Identity()],
    ids=lambda module: type(module).__name__,
)
def test_what_depends_on_the_sample_alone_is_served_and_left_as_it_was(middle: nn.Module) -> None:
    model = network(middle).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    check_evaluation(model, DATA, "mine")
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
