"""Networks with a normalisation of any type, with and without parameters, between layers of any dimension."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pruning_networks import unit_scores
from torch import Tensor, nn
from torch.nn import functional

from benchsuite.errors import Collapsed
from benchsuite.metrics.cost import measure_cost
from benchsuite.pruning.group_scores import group_scores
from benchsuite.pruning.selection import select_units
from benchsuite.pruning.settings import PruningSettings, Scope
from benchsuite.pruning.surgery import SurgeryFailed, check_surgery, remove_units
from benchsuite.pruning.tracing.proof import randomise
from benchsuite.pruning.tracing.trace import trace

if TYPE_CHECKING:
    from collections.abc import Callable

WIDTH = 12
CONVOLUTIONS: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
BATCH: dict[int, Any] = {0: nn.BatchNorm1d, 1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
INSTANCE: dict[int, Any] = {1: nn.InstanceNorm1d, 2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
SHAPES = {0: (64,), 1: (1, 64), 2: (1, 8, 8), 3: (1, 4, 4, 4)}


class Last(nn.Module):
    """A normalisation of the last dimension, applied to the channels."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.movedim(1, -1)).movedim(-1, 1)


NORMS: dict[str, Callable[[int, bool, bool], nn.Module]] = {
    "batch": lambda dims, affine, stats: BATCH[dims](WIDTH, affine=affine, track_running_stats=stats),
    "instance": lambda dims, affine, stats: INSTANCE[dims](WIDTH, affine=affine, track_running_stats=stats),
    "group": lambda dims, affine, stats: nn.GroupNorm(4 if stats else 1, WIDTH, affine=affine),
    "layer": lambda dims, affine, stats: Last(nn.LayerNorm(WIDTH, elementwise_affine=affine, bias=stats)),
    "rms": lambda dims, affine, stats: Last(nn.RMSNorm(WIDTH, elementwise_affine=affine)),
}


@dataclass(frozen=True)
class Case:
    """A norm of one kind before or after a layer of `dims` dimensions; linear where that is 0."""

    norm: str
    dims: int
    affine: bool
    stats: bool
    """Running statistics; four groups instead of one; a bias."""
    before: bool

    @property
    def exists(self) -> bool:
        """Whether torch computes it: a linear layer's features have no positions to be normalised over."""
        return self.dims > 0 or not (self.norm == "instance" or (self.norm == "batch" and not self.stats))


CASES = st.builds(
    Case, st.sampled_from(sorted(NORMS)), st.integers(0, 3), st.booleans(), st.booleans(), st.booleans()
).filter(lambda case: case.exists)


class Normalised(nn.Module):
    """Two layers and a classifier; the norm is of the first one's units."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.shape = SHAPES[case.dims]
        self.first = layer(case.dims, self.shape[0], WIDTH)
        self.norm = NORMS[case.norm](case.dims, case.affine, case.stats)
        self.second = layer(case.dims, WIDTH, 6)
        self.fc = nn.Linear(6, 5)
        self.before = case.before

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x.reshape(-1, *self.shape))
        x = self.norm(torch.relu(x)) if self.before else torch.relu(self.norm(x))
        x = torch.relu(self.second(x))
        return self.fc(x.flatten(2).mean(2) if x.ndim > 2 else x)


def layer(dims: int, inputs: int, units: int) -> nn.Module:
    return CONVOLUTIONS[dims](inputs, units, 3, padding=1) if dims else nn.Linear(inputs, units)


def inputs(samples: int = 3) -> Tensor:
    return torch.randn(samples, 64, generator=torch.Generator().manual_seed(1))


def made(case: Case) -> nn.Module:
    torch.manual_seed(0)
    model = Normalised(case).eval()
    randomise(model)
    return model


@settings(max_examples=60, deadline=None)
@given(CASES, st.sampled_from(["layer", "global", "protected"]), st.integers(0, 1000))
def test_every_unit_beside_a_norm_can_go(case: Case, scope: Scope, seed: int) -> None:
    model = made(case)
    graph = trace(model, inputs())
    assert {pin.layer for pin in graph.pinned} == {"fc"}
    chosen = PruningSettings(scope=scope, budget="units", normalise="none")
    scores = group_scores(graph, unit_scores(graph, seed), chosen)
    try:
        selection = select_units(graph, scores, chosen, 0.4, seed)
    except Collapsed:
        assert scope == "global", "the others leave some of each layer"
        return
    pruned = remove_units(model, graph, selection.removed)
    assert check_surgery(model, pruned, graph, selection.removed, inputs()).relative_difference < 1e-9
    cost = measure_cost(pruned, inputs())
    assert (cost.params, cost.macs) == (selection.params, selection.macs)
    left = pruned.get_submodule("first").get_parameter("weight").shape[0]
    for module in pruned.modules():
        sizes = (getattr(module, name, left) for name in ("num_features", "num_channels", "normalized_shape"))
        assert all(size in (left, (left,)) for size in sizes)


def by_hand(case: Case, model: nn.Module, kept: list[int]) -> Tensor:
    """The output of the linear network with a norm of the last dimension, from the kept units alone."""
    state = {name: value.double() for name, value in model.state_dict().items()}
    x = inputs().double() @ state["first.weight"][kept].T + state["first.bias"][kept]
    x = x.relu() if case.before else x
    if case.norm != "rms":
        x = x - x.mean(1, keepdim=True)
    eps = torch.finfo(torch.float64).eps if case.norm == "rms" else 1e-5
    x = x / (x.square().mean(1, keepdim=True) + eps).sqrt()
    prefix = "norm" if case.norm == "group" else "norm.norm"
    x = x * state.get(f"{prefix}.weight", torch.ones(WIDTH).double())[kept]
    x = x + state.get(f"{prefix}.bias", torch.zeros(WIDTH).double())[kept]
    x = (x @ state["second.weight"][:, kept].T + state["second.bias"]).relu()
    return x @ state["fc.weight"].T + state["fc.bias"]


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("norm", ["layer", "rms", "group"])
def test_statistics_are_those_of_the_units_that_are_left(norm: str, affine: bool) -> None:
    case = Case(norm, 0, affine, stats=norm != "group", before=True)
    model = made(case)
    graph = trace(model, inputs())
    pruned = remove_units(model, graph, {"first": (2, 3, 9)})
    kept = [unit for unit in range(WIDTH) if unit not in (2, 3, 9)]
    torch.testing.assert_close(pruned.double()(inputs().double()), by_hand(case, model, kept))


@pytest.mark.parametrize("norm", ["layer", "rms", "group"])
def test_a_norm_without_weight_that_was_cut_wrongly_is_noticed(norm: str) -> None:
    """The reference finds its units by the running module, and must not compute over the removed ones."""
    case = Case(norm, 2, affine=False, stats=False, before=True)
    model = made(case)
    graph = trace(model, inputs())
    pruned = remove_units(model, graph, {"first": (2, 3)})
    with pytest.raises(SurgeryFailed, match="differs from the masked one"):
        check_surgery(model, pruned, graph, {"first": (2, 4)}, inputs())


class RootMeanSquare(nn.Module):
    """The same computation in a network's own code, which nobody can know to be a normalisation."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.normalize(x, dim=1)


def test_a_norm_of_unknown_code_keeps_its_units() -> None:
    model = nn.Sequential(nn.Linear(64, 8), RootMeanSquare(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 5))
    graph = trace(model.eval(), inputs())
    assert [group.name for group in graph.groups] == ["2"]
    assert any("differs from the masked one" in pin.reason for pin in graph.pinned if pin.layer == "0")
