"""Counted costs, compared with calculations by hand."""

from __future__ import annotations

from contextlib import suppress

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchsuite.metrics.cost import count_macs, measure_cost

pytestmark = pytest.mark.filterwarnings("ignore:Sparse")


def test_convolutions_and_linear_layers() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=True),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 12, 3, groups=4, bias=False),
        nn.Flatten(),
        nn.Linear(12 * 6 * 6, 10),
    )
    cost = measure_cost(model, torch.randn(4, 3, 16, 16))
    assert cost.macs == 8 * 8 * 8 * 3 * 9 + 12 * 6 * 6 * 2 * 9 + 12 * 6 * 6 * 10
    assert cost.params == (8 * 3 * 9 + 8) + 16 + 12 * 2 * 9 + (432 * 10 + 10)
    assert cost.nonzero_params == cost.params - 0
    assert cost.nonzero_macs == cost.macs
    assert cost.unknown_modules == ()


def test_linear_layers_on_tokens_count_each_token() -> None:
    cost = measure_cost(nn.Linear(6, 4), torch.randn(2, 5, 6))
    assert cost.macs == 5 * 6 * 4


@pytest.mark.parametrize("training", [True, False])
def test_multihead_attention(training: bool) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(12, 3, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.attention(x, x, x, need_weights=False)[0]

    model = Net().train(training)
    cost = measure_cost(model, torch.randn(2, 7, 12))
    projections = 7 * 12 * 36 + 7 * 12 * 12
    assert cost.macs == projections + 2 * 7 * 7 * 12
    assert cost.unknown_modules == ()
    assert model.training is training
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize("fused", [True, False])
def test_attention_written_out(fused: bool) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv = nn.Linear(8, 24)

        def forward(self, x: Tensor) -> Tensor:
            q, k, v = self.qkv(x).reshape(-1, 5, 3, 2, 4).permute(2, 0, 3, 1, 4)
            if fused:
                return functional.scaled_dot_product_attention(q, k, v)
            return (q @ k.transpose(-2, -1)).softmax(-1) @ v

    cost = measure_cost(Net(), torch.randn(3, 5, 8))
    assert cost.macs == 5 * 8 * 24 + 2 * 2 * 5 * 5 * 4


def test_zeros_of_masked_weights_are_left_out_of_the_nonzero_counts() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 4 * 4, 5))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1.0)
        model[0].weight[0] = 0
        model[3].weight[:, :10] = 0
        model[0].bias.zero_()
    cost = measure_cost(model, torch.randn(1, 1, 6, 6))
    dense = 4 * 16 * 9 + 64 * 5
    assert cost.macs == dense
    assert cost.nonzero_macs == dense - 9 * 16 - 50
    assert cost.nonzero_params == cost.params - 9 - 50


def test_shared_weights_count_once_as_parameters_and_each_time_as_work() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 6, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(torch.relu(self.layer(x)))

    cost = measure_cost(Net(), torch.randn(1, 6))
    assert cost.params == 36
    assert cost.macs == 72


class Tokens(nn.Module):
    """Blocks that pass on a pair of features and class token."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 6)

        def forward(self, both: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
            x, token = both
            return {"token": token, "x": self.layer(x)}

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 1, 6))
        self.block = self.Block()

    def forward(self, x: Tensor) -> Tensor:
        made = self.block((x, self.token.expand(len(x), -1, -1)))
        return torch.cat((made["token"], made["x"]), 1)


@pytest.mark.parametrize("frozen", [False, True])
def test_modules_may_pass_on_views_of_parameters_in_tuples_and_dictionaries(frozen: bool) -> None:
    model = Tokens().requires_grad_(not frozen)
    counted = count_macs(model.eval(), torch.randn(2, 4, 6))
    assert counted.total == 4 * 36
    assert counted.of_module == {"": 4 * 36, "block": 4 * 36, "block.layer": 4 * 36}


def test_work_counts_for_every_module_around_it() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.Global = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 2))
            self.listed = [nn.Linear(2, 3)]  # not a submodule: its MACs count for the network itself

        def forward(self, x: Tensor) -> Tensor:
            return self.listed[0](self.Global(x))

    counted = count_macs(Net().eval(), torch.randn(1, 6))
    assert counted.total == 36 + 12 + 6
    assert counted.of_module == {"": 54, "Global": 48, "Global.0": 36, "Global.1": 12}


def test_a_module_that_fails_and_is_caught_takes_no_work_of_others() -> None:
    class Fails(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise ArithmeticError

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = Fails(), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            with suppress(ArithmeticError):
                x = self.first(x)
            return self.second(x)

    assert count_macs(Net().eval(), torch.randn(1, 6)).of_module == {"": 12, "second": 12}


def test_peak_activation_memory_of_a_chain() -> None:
    model = nn.Sequential(nn.Linear(10, 100), nn.ReLU(), nn.Linear(100, 5))
    # The layer's output and its rectified copy are alive at the same time: 200 numbers of four bytes.
    assert measure_cost(model, torch.randn(3, 10)).peak_activation_bytes == 800
    inplace = nn.Sequential(nn.Linear(10, 100), nn.ReLU(inplace=True), nn.Linear(100, 5))
    assert measure_cost(inplace, torch.randn(3, 10)).peak_activation_bytes == 420


def test_peak_activation_memory_holds_what_a_shortcut_needs() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(10, 50, bias=False)
            self.second = nn.Linear(50, 50, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            return x + self.second(self.second(x))

    # The shortcut, one product and the next one are alive at the same time.
    assert measure_cost(Net(), torch.randn(1, 10)).peak_activation_bytes == 3 * 200


def test_network_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout())
    model[2].eval()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    measure_cost(model, torch.randn(2, 4))
    assert [module.training for module in model] == [True, True, False]
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


class Neighbours(nn.Module):
    """A linear layer on the nodes of a graph, whose adjacency is a sparse buffer."""

    def __init__(self, layout: torch.layout, *, twice: bool = False) -> None:
        super().__init__()
        self.fc, self.twice = nn.Linear(4, 3, bias=False), twice
        self.register_buffer("adjacency", torch.eye(6).roll(1, 0).to_sparse(layout=layout))

    def forward(self, x: Tensor) -> Tensor:
        matrix = torch.sparse.mm(self.adjacency, self.adjacency) if self.twice else self.adjacency
        return torch.sparse.mm(matrix, self.fc(x[0]))[None]


@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr])
def test_sparse_factors_cost_what_they_store(layout: torch.layout) -> None:
    model = Neighbours(layout)
    with torch.no_grad():
        model.fc.weight[0] = 0
    cost = measure_cost(model, torch.randn(1, 6, 4))
    assert (cost.macs, cost.nonzero_macs) == (6 * 4 * 3 + 6 * 3, 6 * 4 * 2 + 6 * 3)
    assert cost.unknown_modules == ()
    assert cost.peak_activation_bytes >= 2 * 6 * 3 * 4


def test_a_product_of_two_sparse_matrices_is_named() -> None:
    (unknown,) = measure_cost(Neighbours(torch.sparse_coo, twice=True), torch.randn(1, 6, 4)).unknown_modules
    assert "the network itself: aten._sparse_sparse_matmul" in unknown
