"""MACs without multiplications by zeros of weights; a second computation counts the other products."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

from benchsuite.metrics.cost import measure_cost
from benchsuite.metrics.macs import count_macs
from benchsuite.metrics.products import products_of

if TYPE_CHECKING:
    from collections.abc import Callable


def sparse(*shape: int, seed: int = 0) -> Tensor:
    """Random numbers, about half of them zero."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator) * (torch.rand(shape, generator=generator) > 0.5)


class Tied(nn.Module):
    """Layers of two weights, in an order that is given; each may be used often, under several names."""

    def __init__(self, order: list[int], *, names: bool) -> None:
        super().__init__()
        weights = [nn.Parameter(sparse(6, 6, seed=seed)) for seed in range(2)]
        layers = [nn.Linear(6, 6), nn.Linear(6, 6)]
        for layer, weight in zip(layers, weights, strict=True):
            layer.weight = weight
        self.layers = nn.ModuleList()
        for which in order:
            layer = layers[which]
            if names:  # another module that has the same weight
                layer = nn.Linear(6, 6)
                layer.weight = weights[which]
            self.layers.append(layer)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x).relu()
        return x


@settings(deadline=None)
@given(
    order=st.lists(st.integers(0, 1), min_size=1, max_size=5), names=st.booleans(), tokens=st.integers(1, 3)
)
def test_a_tied_weight_counts_each_time_it_is_used_and_once_as_parameters(
    order: list[int], names: bool, tokens: int
) -> None:
    model = Tied(order, names=names)
    cost = measure_cost(model, torch.randn(2, tokens, 6))
    weights = [sparse(6, 6, seed=seed) for seed in range(2)]
    used = sum(tokens * int(weights[which].ne(0).sum()) for which in order)
    zeros = sum(int(weights[which].eq(0).sum()) for which in set(order))
    assert cost.macs == len(order) * tokens * 36
    assert cost.nonzero_macs == used
    assert cost.nonzero_params == cost.params - zeros
    biases = len(order) if names else len(set(order))
    assert cost.params == 36 * len(set(order)) + 6 * biases


class Uses(nn.Module):
    """Uses one weight in a way that is given."""

    def __init__(self, weight: Tensor, use: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.use = use

    def forward(self, x: Tensor) -> Tensor:
        return self.use(x, self.weight)


USES: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], tuple[int, ...], tuple[int, ...]]] = {
    "linear": (functional.linear, (5, 6), (4, 6)),
    "on tokens": (functional.linear, (3, 5, 6), (4, 6)),
    "transposed": (lambda x, w: x @ w, (5, 4), (4, 6)),
    "a part": (lambda x, w: functional.linear(x, w[1:3]), (5, 6), (4, 6)),
    "a function of it": (lambda x, w: functional.linear(x, w.abs().sign()), (5, 6), (4, 6)),
    "on both sides": (
        lambda x, w: torch.cat((functional.linear(x[:, :6], w), x[:, 6:] @ w), 1),
        (5, 10),
        (4, 6),
    ),
    "matrix times vector": (lambda x, w: torch.mv(w, x[0]), (1, 6), (4, 6)),
    "for each of a stack": (lambda x, w: x @ w.expand(len(x), 6, 4), (3, 5, 6), (6, 4)),
    "convolution": (functional.conv2d, (1, 3, 6, 7), (4, 3, 2, 3)),
    "grouped convolution": (lambda x, w: functional.conv2d(x, w, groups=2), (1, 6, 6, 7), (4, 3, 2, 3)),
    "strided convolution": (lambda x, w: functional.conv1d(x, w, stride=2), (1, 3, 9), (4, 3, 3)),
    "transposed convolution": (functional.conv_transpose2d, (1, 3, 5, 4), (3, 4, 2, 3)),
    "bilinear": (lambda x, w: functional.bilinear(x, x, w), (5, 6), (4, 6, 6)),
    "einsum": (lambda x, w: torch.einsum("bi,oi->bo", x, w), (5, 6), (4, 6)),
}


@pytest.mark.parametrize("name", USES)
def test_multiplications_by_zeros_of_a_weight_are_left_out_however_it_is_used(name: str) -> None:
    use, given_shape, weight_shape = USES[name]
    weight = sparse(*weight_shape, seed=3)
    cost = count_macs(Uses(weight, use), torch.ones(given_shape), zeros=True)
    # One at every place: each product that is not zero adds one to the output. Only the first sample runs.
    ones = torch.ones(1, *given_shape[1:])
    assert cost.nonzero == float(use(ones, weight.ne(0).float()).sum())
    assert cost.total == float(use(ones, torch.ones(weight_shape)).sum())
    assert 0 < cost.nonzero < cost.total


def test_zeros_of_activations_and_of_constants_save_nothing() -> None:
    model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6))
    nn.init.constant_(model[0].bias, -1e6)  # all activations are zero
    assert count_macs(model, torch.randn(1, 6), zeros=True).nonzero == 72
    fixed = sparse(6, 6)
    other = torch.ones(6, 6)
    assert count_macs(Uses(other, lambda x, _: x @ fixed), torch.randn(1, 6), zeros=True).nonzero == 36
    # A product of two activations; the memory of earlier ones may be used again.
    attention = nn.MultiheadAttention(6, 2, batch_first=True).eval()
    with torch.no_grad():
        attention.in_proj_weight[:6] = 0
    counted = count_macs(Uses(other, lambda x, _: attention(x, x, x)[0]), torch.randn(1, 5, 6), zeros=True)
    assert counted.nonzero == counted.total  # of a module that is none of the network's


def test_attention_and_recurrent_layers_leave_out_the_zeros_of_their_weights() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
            self.recurrent = nn.LSTM(6, 5, num_layers=2, bidirectional=True, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            made: Tensor = self.recurrent(self.attention(x, x, x)[0])[0]
            return made

    model = Net()
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            if parameter.ndim == 2:
                parameter.copy_(sparse(*parameter.shape, seed=number))
    matrices = [parameter for parameter in model.parameters() if parameter.ndim == 2]
    steps, scores = 4, 2 * 4 * 4 * 6
    for dtype in (torch.float32, torch.float64):  # two ways to run the recurrent layer
        cost = measure_cost(model.to(dtype), torch.randn(2, steps, 6, dtype=dtype))
        assert cost.macs == scores + steps * sum(matrix.numel() for matrix in matrices)
        assert cost.nonzero_macs == scores + steps * sum(int(matrix.ne(0).sum()) for matrix in matrices)


def test_the_formula_of_a_gpus_recurrent_kernel_agrees_with_the_layers_weights() -> None:
    layer = nn.LSTM(4, 6, num_layers=2, bidirectional=True, proj_size=3)
    args = (torch.randn(5, 1, 4), list(layer._flat_weights), 5, None, None, None, 2, 6, 3, 2)
    products = products_of("aten._cudnn_rnn", args, None)
    assert products is not None
    # Gates times inputs and states, and the projection, for two layers and directions.
    first, second = 24 * (4 + 3) + 3 * 6, 24 * (6 + 3) + 3 * 6
    assert sum(product.macs for product in products) == 5 * 2 * (first + second)


def test_weights_that_are_made_in_each_pass_count_their_zeros() -> None:
    model = nn.Sequential(weight_norm(nn.Linear(6, 4)))
    with torch.no_grad():
        model[0].parametrizations.weight.original1[:, :2] = 0
    cost = measure_cost(model, torch.randn(1, 6))
    assert (cost.macs, cost.nonzero_macs) == (24, 16)
    assert cost.unknown_modules == ()


def test_a_learned_token_meets_a_matrix() -> None:
    """Both factors are weights: the one with more zeros counts."""
    token, matrix = sparse(1, 6, seed=1), torch.ones(6, 6)
    matrix[:4] = 0

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token = nn.Parameter(torch.ones(1, 6))
            self.layer = nn.Linear(6, 6)
            self.layer.weight = nn.Parameter(matrix)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.layer(self.token)

    assert count_macs(Net(), token, zeros=True).nonzero == 12
