"""Networks that other kernels run in another precision, or that work in one alone, can be pruned."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from benchsuite.metrics.cost import measure_cost
from benchsuite.pruning.surgery import computing_dtype, in_precision, remove_units
from benchsuite.pruning.tracing.trace import trace


class Sequences(nn.Module):
    """A recurrent network over the rows of an image, with a hidden layer that can be pruned."""

    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.layer = kind(8, 10, batch_first=True)
        self.hidden = nn.Linear(10, 12)
        self.output = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.output(self.hidden(self.layer(x.flatten(1, 2))[0][:, -1]).relu())
        return made


class Complex(nn.Module):
    """Weights that are complex."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 10, dtype=torch.complex64))
        self.hidden = nn.Linear(10, 12)
        self.output = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        wave = torch.complex(x.flatten(1), torch.zeros_like(x.flatten(1)))
        made: Tensor = self.output(self.hidden((wave @ self.weight).abs()).relu())
        return made


class Insists(nn.Module):
    """Refuses everything but float32 by an assertion."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(8, 12)
        self.output = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        assert x.dtype is torch.float32
        made: Tensor = self.output(self.hidden(x.flatten(1)).relu())
        return made


def check_hidden_layer_goes(model: nn.Module, example: Tensor) -> None:
    """The hidden layer is a group, and losing units of it costs what the cost model says."""
    graph = trace(model, example)
    assert [(group.name, group.size) for group in graph.groups] == [("hidden", 12)]
    removed = {"hidden": (1, 4, 7)}
    cost = measure_cost(remove_units(model, graph, removed), example)
    counts = graph.cost_model.counts({"hidden": 3})
    assert graph.cost_model.cost(counts) == (cost.params, cost.macs)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_recurrent_networks_are_counted_in_their_own_precision(
    kind: type[nn.RNNBase], dtype: torch.dtype
) -> None:
    check_hidden_layer_goes(Sequences(kind).to(dtype), torch.randn(2, 1, 4, 8, dtype=dtype))


def test_complex_weights_stay_complex() -> None:
    model, example = Complex(), torch.randn(2, 1, 1, 8)
    check_hidden_layer_goes(model, example)
    wide = in_precision(copy.deepcopy(model), torch.float64)
    assert wide.weight.dtype is torch.complex128
    torch.testing.assert_close(wide.weight.imag.float(), model.weight.imag)
    torch.testing.assert_close(wide(example.double()).float(), model(example))
    assert computing_dtype(model, example) is torch.float64


def test_a_network_may_refuse_another_precision_in_any_way() -> None:
    model, example = Insists(), torch.randn(2, 1, 1, 8)
    assert computing_dtype(model, example) is torch.float32
    check_hidden_layer_goes(model, example)
