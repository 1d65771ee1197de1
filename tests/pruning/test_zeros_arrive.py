"""A mask counts only where its zeros reach what multiplies."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchsuite.errors import Unsupported
from benchsuite.metrics.cost import measure_cost
from benchsuite.pruning.networks import MaskedNetwork
from benchsuite.pruning.settings import PruningSettings
from benchsuite.pruning.tracing.trace import trace
from benchsuite.store import metric_names

Change = Callable[[Tensor], Tensor]


class Changed(nn.Conv2d):
    """A convolution that computes its weight anew in its forward pass."""

    def __init__(self, change: Change) -> None:
        super().__init__(4, 6, 3, padding=1)
        self.change = change

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, self.change(self.weight), self.bias, padding=1)


def masked(change: Change) -> MaskedNetwork:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), Changed(change), nn.ReLU(), nn.Flatten(), nn.Linear(384, 5)
    ).eval()
    example = torch.randn(2, 1, 8, 8)
    settings = PruningSettings("layer", "params")
    return MaskedNetwork(model, trace(model, example), measure_cost(model, example), settings, 0, example)


def cut(network: MaskedNetwork, sparsity: float) -> None:
    scores = {layer.name: layer.weight.abs() for layer in network.layers}
    network.cut(scores, sparsity, lambda layers: {name: score.double() for name, score in layers.items()})


def standardised(weight: Tensor) -> Tensor:
    variance, mean = torch.var_mean(weight, dim=(1, 2, 3), keepdim=True)
    return (weight - mean) / (variance + 1e-5).sqrt()


@pytest.mark.parametrize(
    "change",
    [
        standardised,
        lambda weight: weight.flatten(1).softmax(1).view_as(weight),
        lambda weight: weight + 0.1,
        lambda weight: weight + weight.flip(3),
    ],
)
def test_where_they_do_not_arrive_is_unsupported_and_named(change: Change) -> None:
    with pytest.raises(Unsupported, match="zeros in the weight of 2 do not reach what multiplies"):
        cut(masked(change), 0.5)


@pytest.mark.parametrize(
    "change",
    [
        lambda weight: weight,
        lambda weight: 0.5 * weight,
        lambda weight: weight / weight.norm(),
        lambda weight: weight.transpose(2, 3),
        torch.clone,
    ],
)
def test_where_they_arrive_the_sparsity_is_that_of_the_operands(change: Change) -> None:
    network = masked(change)
    for sparsity in (0.3, 0.6):
        cut(network, sparsity)
        cost = network.cost
        assert network.metrics[metric_names.SPARSITY_PARAMS] == pytest.approx(
            1 - cost.nonzero_params / cost.params
        )
        assert network.metrics[metric_names.SPARSITY_MACS] == pytest.approx(1 - cost.nonzero_macs / cost.macs)


def test_weights_that_were_zero_before_do_not_count_against_it() -> None:
    network = masked(lambda weight: weight)
    with torch.no_grad():
        network.model.get_submodule("2").get_parameter("weight")[:3] = 0
    cut(network, 0.5)
    assert network.metrics[metric_names.SPARSITY_PARAMS] == pytest.approx(0.5, abs=0.01)
