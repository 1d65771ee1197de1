"""Parametrised weights become plain ones; the network computes the same and is pruned like any other."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
import torch
from pruning_networks import build, example
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

from benchsuite.errors import Unsupported
from benchsuite.metrics.cost import measure_cost
from benchsuite.pruning.folding import fold
from benchsuite.pruning.masks import WeightMasks
from benchsuite.pruning.surgery import check_surgery, remove_units
from benchsuite.pruning.tracing.trace import trace

if TYPE_CHECKING:
    from collections.abc import Callable


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 6, 3, padding=1), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(6 * 64, 12), nn.ReLU(), nn.Linear(12, 5)),
    )


def pruned_twice(layer: nn.Module) -> None:
    prune.random_unstructured(layer, "weight", 0.3)
    prune.l1_unstructured(layer, "weight", 0.5)


def pruned_under_a_norm(layer: nn.Module) -> None:
    torch.nn.utils.weight_norm(layer)
    prune.random_unstructured(layer, "weight_v", 0.3)


class Symmetric(nn.Module):
    """A parametrisation of a stranger."""

    def forward(self, weight: Tensor) -> Tensor:
        return (weight + weight.flip(0)) / 2


PARAMETRISED: dict[str, Callable[[nn.Module], Any]] = {
    "weight_norm": parametrizations.weight_norm,
    "old weight_norm": torch.nn.utils.weight_norm,
    "old weight_norm of all": lambda layer: torch.nn.utils.weight_norm(layer, dim=None),
    "spectral_norm": parametrizations.spectral_norm,
    "old spectral_norm": torch.nn.utils.spectral_norm,
    "prune": pruned_twice,
    "prune and weight_norm": pruned_under_a_norm,
    "symmetric": lambda layer: parametrize.register_parametrization(layer, "weight", Symmetric()),
    "two": lambda layer: [parametrizations.spectral_norm(layer) for _ in range(2)],
}
pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning")


def trained(kind: str, place: str) -> nn.Module:
    """A network with a parametrised layer after a step of training, which moves what makes the weight."""
    model = network()
    PARAMETRISED[kind](model.get_submodule(place))
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    model(example(8)).square().mean().backward()
    optimiser.step()
    return model.eval()


@pytest.mark.parametrize(
    ("kind", "place"),
    [*((kind, "2") for kind in PARAMETRISED), ("weight_norm", "0"), ("old spectral_norm", "5")],
)
def test_a_folded_network_computes_the_same_and_is_pruned_like_any_other(kind: str, place: str) -> None:
    model = trained(kind, place)
    with torch.no_grad():
        before = [model(example()) for _ in range(2)][-1]
    folded = fold(model, example())
    assert f"{place}.weight" in folded
    with torch.no_grad():
        torch.testing.assert_close(model(example()), before)
    plain = network()
    assert {name: p.shape for name, p in model.named_parameters()} == {
        name: p.shape for name, p in plain.named_parameters()
    }
    assert all(parameter.requires_grad for parameter in model.parameters())
    plain.load_state_dict(model.state_dict())
    torch.testing.assert_close(plain(example()), before)
    graph = trace(model, example())
    assert {layer.name for layer in graph.layers} == {"0", "2", "5"}
    removed = {group.name: (0, group.size - 1) for group in graph.groups}
    smaller = remove_units(model, graph, removed)
    assert check_surgery(model, smaller, graph, removed, example()).relative_difference < 1e-9


@pytest.mark.parametrize("kind", PARAMETRISED)
def test_what_is_masked_is_zero_where_it_is_multiplied(kind: str) -> None:
    model = trained(kind, "2")
    fold(model, example())
    keep = torch.rand(model.get_submodule("2").weight.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    WeightMasks({"2": keep}).apply_(model)
    used: list[Tensor] = []
    hook = model.get_submodule("2").register_forward_hook(lambda m, *_: used.append(m.weight.detach()))
    model(example())
    hook.remove()
    assert not used[0][~keep].any()
    assert measure_cost(model, example()).nonzero_params <= sum(map(Tensor.numel, model.parameters())) - int(
        (~keep).sum()
    )


def test_zeros_that_another_pruning_left_stay_zero_in_the_plain_weight() -> None:
    model = network()
    prune.random_unstructured(model[2], "weight", 0.4)
    mask = model[2].weight_mask.clone()
    fold(model, example())
    assert torch.equal(model[2].weight.detach() != 0, mask.bool())


def test_a_frozen_weight_stays_frozen() -> None:
    model = network()
    parametrizations.weight_norm(model[2])
    model[2].requires_grad_(False)
    fold(model, example())
    assert not model[2].weight.requires_grad


def test_a_recurrent_layer_is_folded() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = parametrizations.weight_norm(nn.LSTM(8, 6, batch_first=True), "weight_hh_l0")
            self.fc = nn.Linear(6, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.lstm(x.flatten(1, 2))[0][:, -1])

    model = Recurrent().eval()
    before = model(example()).detach()
    assert fold(model, example()) == {"lstm.weight_hh_l0": "WeightNorm"}
    torch.testing.assert_close(model(example()), before)
    copied = copy.deepcopy(model)
    with torch.no_grad():
        copied.lstm.weight_hh_l0.zero_()
    assert not torch.allclose(copied(example()), before)


def test_a_plain_network_is_not_touched() -> None:
    class NotRun(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
            raise AssertionError("the network was run")

    model = NotRun(4, 4)
    assert fold(model, example()) == {}
    assert fold(build("resnet"), example()) == {}


class Noise(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight + torch.randn_like(weight)


class Broken(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        raise KeyError("out of luck") if weight.isfinite().all() else ValueError


def test_a_weight_that_is_drawn_in_every_pass_is_refused_with_the_call_that_removes_it() -> None:
    model = network()
    parametrize.register_parametrization(model[2], "weight", Noise())
    call = r'parametrize\.remove_parametrizations\(network\.get_submodule\("2"\), "weight"\) in the model'
    with pytest.raises(Unsupported, match=r"something else once 2\.weight .*" + call):
        fold(model, example())


def test_a_parametrisation_that_fails_is_refused_with_its_error() -> None:
    model = network()
    parametrize.register_parametrization(model[2], "weight", Broken(), unsafe=True)
    with pytest.raises(Unsupported, match="does not run: KeyError: 'out of luck'"):
        fold(model, example())


def test_a_network_that_was_not_folded_says_why_its_units_stay() -> None:
    model = network()
    parametrizations.weight_norm(model[2])
    graph = trace(model, example())
    assert {layer.name for layer in graph.weight_layers} == {"0", "5", "7"}
    reasons = {pin.layer: pin.reason for pin in graph.pinned}
    assert reasons["0"] == "2 (ParametrizedConv2d) cannot be cut: its weight is no parameter of its own"
