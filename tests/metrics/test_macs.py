"""MACs of single operations and of layers, compared with formulas by hand and with the same work unrolled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import DeformConv2d, deform_conv2d

from benchsuite.metrics.macs import count_macs

if TYPE_CHECKING:
    from collections.abc import Callable


pytestmark = pytest.mark.filterwarnings("ignore:Sparse")


class Calls(nn.Module):
    """A network whose forward pass is a function."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


A, B, V = torch.randn(4, 5), torch.randn(5, 6), torch.randn(5)
STACK = torch.randn(3, 4, 5)
POINTS = torch.randn(2, 30, 5)
COMPLEX = torch.randn(4, 5, dtype=torch.complex64)
DEFORMED = torch.randn(6, 2, 3, 3)

OPERATIONS: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
    "mm": (lambda _: A @ B, 4 * 5 * 6),
    "mv": (lambda _: torch.mv(A, V), 4 * 5),
    "vector times matrix": (lambda _: V @ B, 5 * 6),
    "dot": (lambda _: torch.dot(V, V), 5),
    "vdot": (lambda _: torch.vdot(V, V), 5),
    "vecdot": (lambda _: torch.linalg.vecdot(A, V), 4 * 5),
    "vecdot by names": (lambda _: torch.linalg.vecdot(x=STACK, y=A, dim=-2), 3 * 4 * 5),
    "complex vecdot": (lambda _: torch.linalg.vecdot(COMPLEX, COMPLEX), 4 * 4 * 5),
    "sparse mm": (lambda _: torch.sparse.mm(torch.eye(4).to_sparse(), A), 4 * 5),
    "csr mm": (lambda _: torch.eye(4).to_sparse_csr() @ A, 4 * 5),
    "sparse mv": (lambda _: torch.mv(torch.eye(5).to_sparse(), V), 5),
    "mm with sparse": (lambda _: A @ torch.eye(5).to_sparse_csc(), 4 * 5),
    "inner": (lambda _: torch.inner(A, A), 4 * 4 * 5),
    "addmm": (lambda _: torch.addmm(torch.zeros(4, 6), A, B), 4 * 5 * 6),
    "addmv": (lambda _: torch.addmv(torch.zeros(4), A, V), 4 * 5),
    "addmv in place": (lambda _: torch.zeros(4).addmv_(A, V), 4 * 5),
    "addr": (lambda _: torch.addr(torch.zeros(4, 5), torch.ones(4), V), 4 * 5),
    "bmm": (lambda _: torch.bmm(STACK, STACK.mT), 3 * 4 * 5 * 4),
    "baddbmm": (lambda _: torch.baddbmm(torch.zeros(3, 4, 4), STACK, STACK.mT), 3 * 4 * 5 * 4),
    "addbmm": (lambda _: torch.addbmm(torch.zeros(4, 4), STACK, STACK.mT), 3 * 4 * 5 * 4),
    "tensordot": (lambda _: torch.tensordot(A, B, dims=1), 4 * 5 * 6),
    "einsum": (lambda _: torch.einsum("bij,bkj->bik", STACK, STACK), 3 * 4 * 5 * 4),
    "bilinear form": (
        lambda _: functional.bilinear(STACK[0, :2], STACK[0, 2:], torch.ones(7, 5, 5)),
        2 * 7 * 5 * 5,
    ),
    "few distances": (lambda _: torch.cdist(STACK, STACK), 3 * 4 * 4 * 5),
    "many distances": (lambda _: torch.cdist(POINTS, POINTS), 2 * 30 * 30 * 5),
    "many distances, one by one": (
        lambda _: torch.cdist(POINTS, POINTS, compute_mode="donot_use_mm_for_euclid_dist"),
        2 * 30 * 30 * 5,
    ),
    "city-block distances": (lambda _: torch.cdist(POINTS, POINTS, p=1.0), 2 * 30 * 30 * 5),
    "pairs of one set": (lambda _: functional.pdist(A), 6 * 5),
    "complex mm": (lambda _: COMPLEX @ COMPLEX.T, 4 * 4 * 5 * 4),
    "complex mv": (lambda _: COMPLEX @ COMPLEX[0], 4 * 4 * 5),
    "complex bmm": (lambda _: torch.bmm(COMPLEX[None], COMPLEX.T[None]), 4 * 4 * 5 * 4),
    "complex convolution": (
        lambda _: functional.conv1d(COMPLEX[None], torch.ones(3, 4, 2, dtype=torch.complex64)),
        3 * (3 * 4) * (4 * 2),
    ),
    "transposed convolution": (
        lambda _: functional.conv_transpose2d(torch.ones(1, 4, 5, 5), torch.ones(4, 3, 2, 2)),
        4 * 5 * 5 * 3 * 2 * 2,
    ),
    "deformable convolution": (
        lambda _: deform_conv2d(torch.randn(1, 4, 8, 9), torch.randn(1, 18, 6, 7), DEFORMED),
        6 * 6 * 7 * 2 * 9,
    ),
}


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_operation_costs_what_its_formula_says(name: str, dtype: torch.dtype) -> None:
    function, expected = OPERATIONS[name]
    counted = count_macs(Calls(function), torch.randn(1, 2, dtype=dtype))
    assert counted.total == expected
    assert counted.unknown == ()


class Recurrent(nn.Module):
    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.layer(x)[0]
        return made


CELLS = {nn.LSTM: nn.LSTMCell, nn.GRU: nn.GRUCell, nn.RNN: nn.RNNCell}


def unrolled(layer: nn.RNNBase, steps: int) -> int:
    """MACs of the same work by cells, one time step, layer and direction after the other."""
    macs, width = 0, layer.input_size
    directions = 2 if layer.bidirectional else 1
    for _ in range(layer.num_layers):
        for _ in range(directions):
            cell = CELLS[type(layer)](width, layer.hidden_size)
            for _ in range(steps):
                macs += count_macs(Calls(lambda x, cell=cell: cell(x)[0]), torch.randn(1, width)).total
        width = layer.hidden_size * directions
    return macs


RECURRENT = [
    (kind, options)
    for kind in CELLS
    for options in (
        {},
        {"bias": False},
        {"bidirectional": True},
        {"num_layers": 3},
        {"num_layers": 2, "bidirectional": True},
    )
]


@pytest.mark.parametrize(("kind", "options"), RECURRENT)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_recurrent_layers_cost_what_their_cells_cost(
    kind: type[nn.RNNBase], options: dict[str, bool | int], dtype: torch.dtype
) -> None:
    layer = kind(4, 6, batch_first=True, **options)
    gates = {nn.LSTM: 4, nn.GRU: 3, nn.RNN: 1}[kind]
    directions = 2 if layer.bidirectional else 1
    by_hand = sum(
        directions * 5 * gates * 6 * ((4 if number == 0 else 6 * directions) + 6)
        for number in range(layer.num_layers)
    )
    model = Recurrent(layer).to(dtype).eval()
    counted = count_macs(model, torch.randn(2, 5, 4, dtype=dtype))
    assert counted.total == counted.of_module["layer"] == by_hand == unrolled(layer, 5)
    assert counted.unknown == ()


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_projected_recurrent_layers_and_sequences_first(dtype: torch.dtype) -> None:
    model = Recurrent(nn.LSTM(4, 6, proj_size=3)).to(dtype).eval()
    # One sample is one time step here, since the first axis is time; its inner axis holds five samples.
    counted = count_macs(model, torch.randn(1, 5, 4, dtype=dtype))
    assert counted.total == 5 * (4 * 6 * (4 + 3) + 3 * 6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("kind", "options"), RECURRENT)
def test_recurrent_kernels_of_a_gpu_cost_the_same(
    kind: type[nn.RNNBase], options: dict[str, bool | int]
) -> None:
    model = Recurrent(kind(4, 6, batch_first=True, **options)).eval()
    example = torch.randn(1, 5, 4)
    on_cpu = count_macs(model, example, zeros=True)
    assert count_macs(model.cuda(), example.cuda(), zeros=True) == on_cpu


def test_a_bilinear_layer_costs_what_a_linear_one_on_all_products_costs() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Bilinear(3, 4, 5)

        def forward(self, x: Tensor) -> Tensor:
            made: Tensor = self.layer(x[:, :3], x[:, 3:])
            return made

    pairs = Calls(lambda x: nn.Linear(12, 5)((x[:, :3, None] * x[:, None, 3:]).flatten(1)))
    example = torch.randn(2, 7)
    assert count_macs(Net(), example).total == count_macs(pairs, example).total == 3 * 4 * 5


def test_a_deformable_layer_costs_what_an_ordinary_one_costs() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.offsets = nn.Conv2d(4, 18, 3, padding=1)
            self.layer = DeformConv2d(4, 6, 3, padding=1, groups=2)

        def forward(self, x: Tensor) -> Tensor:
            made: Tensor = self.layer(x, self.offsets(x))
            return made

    example = torch.randn(1, 4, 8, 8)
    counted = count_macs(Net(), example)
    assert counted.of_module["layer"] == count_macs(nn.Conv2d(4, 6, 3, padding=1, groups=2), example).total
    assert counted.unknown == ()


class Scale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(6))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


class Inverts(nn.Module):
    """Multiplies in a way that has no formula."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.eye(6))

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.linalg.inv(self.matrix)[0]


class Elsewhere(nn.Module):
    """Computes with another library."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(6))

    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy(x.detach().numpy() @ self.weight.detach().numpy())


class Spectrum(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.fft(x).real


class Gives(nn.Module):
    """Computes nothing: it gives its parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 6))

    def forward(self) -> Tensor:
        return self.token.expand(1, -1)


class OnlyWhileTraining(Scale):
    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor if self.training else x


class Chain(nn.Module):
    """Runs some modules; another one with parameters never runs."""

    def __init__(self, *modules: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*modules)
        self.token = Gives()
        self.idle = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.layers(x) + self.token()
        return made


@pytest.mark.parametrize("kind", [Inverts, Elsewhere, Spectrum])
def test_what_has_no_formula_is_named(kind: type[nn.Module]) -> None:
    unknown = count_macs(Chain(nn.Linear(6, 6), kind()).eval(), torch.randn(1, 6)).unknown
    what = {Inverts: "aten.linalg_inv_ex", Elsewhere: "not computed by torch", Spectrum: "aten._fft_r2c"}
    assert unknown == (f"layers.1: {what[kind]}",)
    assert count_macs(kind().eval(), torch.randn(1, 6)).unknown == (f"the network itself: {what[kind]}",)


def test_there_is_no_alarm_for_what_multiplies_nothing_or_never_ran() -> None:
    free = (Scale(), OnlyWhileTraining(), nn.LayerNorm(6), nn.PReLU(), nn.BatchNorm1d(6), nn.Softmax(-1))
    counted = count_macs(Chain(*free, nn.Linear(6, 6)).eval(), torch.randn(1, 6))
    assert counted.unknown == ()
    assert counted.total == 36


def test_an_operation_of_a_foreign_library_is_named() -> None:
    with torch.library._scoped_library("benchsuite_tests", "FRAGMENT") as library:
        library.define("triple(Tensor x) -> Tensor")
        library.impl("triple", lambda x: 3 * x, "CompositeExplicitAutograd")
        model = Calls(lambda x: torch.ops.benchsuite_tests.triple(x))
        assert count_macs(model, torch.randn(1, 6)).unknown == (
            "the network itself: benchsuite_tests.triple",
        )
