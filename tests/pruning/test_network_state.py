"""A network that is set back to a stored state goes on as if it had never been away."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from pruning_networks import build, example

from benchsuite.metrics.cost import measure_cost
from benchsuite.pruning.networks import MaskedNetwork, NetworkState, PrunedNetwork, SmallerNetwork
from benchsuite.pruning.settings import PruningSettings
from benchsuite.pruning.tracing.trace import trace
from benchsuite.store.stages import load_tensors, save_tensors

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

RULES = {"unit": PruningSettings("protected", "params"), "weight": PruningSettings("layer", "params")}
KINDS: dict[str, type[PrunedNetwork]] = {"unit": SmallerNetwork, "weight": MaskedNetwork}


def new(kind: str, model: nn.Module) -> PrunedNetwork:
    cost = measure_cost(model, example()[:1])
    return KINDS[kind](model, trace(model, example()), cost, RULES[kind], 7, example())


def through_files(network: PrunedNetwork, folder: Path) -> NetworkState:
    save_tensors(folder / "weights", network.model.state_dict())
    save_tensors(folder / "keep", network.keep)
    return NetworkState(
        weights=load_tensors(folder / "weights"),
        keep=load_tensors(folder / "keep"),
        removed=network.removed,
        metrics=network.metrics,
        cost=network.cost,
        cuts=network.cuts,
    )


def train(network: PrunedNetwork, number: int) -> None:
    """What a training leaves: other weights and statistics, with masked weights at zero."""
    generator = torch.Generator().manual_seed(number)
    with torch.no_grad():
        for value in network.model.state_dict().values():
            if value.is_floating_point():
                value.add_(0.01 * torch.rand(value.shape, generator=generator))
    if network.after_step is not None:
        network.after_step()


def scores(network: PrunedNetwork, kind: str) -> dict[str, Tensor]:
    """Mostly ties, so that the order among equal scores decides."""
    found = {}
    for layer in network.layers:
        weight = layer.weight.detach().flatten(1)
        found[layer.name] = (weight.sum(1) if kind == "unit" else layer.weight.detach()).gt(0.1).float() + 1
    return found


@pytest.mark.parametrize("name", ["mlp", "resnet", "option-a"])
@pytest.mark.parametrize("kind", ["unit", "weight"])
@pytest.mark.parametrize("cuts", [1, 2])
def test_what_follows_a_stored_state_is_what_followed_in_memory(tmp_path, name, kind, cuts):
    model = build(name)
    going_on = new(kind, model)
    targets = [0.2, 0.4, 0.55, 0.65]
    for number, target in enumerate(targets[:cuts]):
        going_on.cut(scores(going_on, kind), target, dict)
        train(going_on, number)
    continued = new(kind, model)
    continued.set_to(through_files(going_on, tmp_path))
    for number, target in enumerate(targets[cuts:], start=cuts):
        assert [layer.name for layer in continued.layers] == [layer.name for layer in going_on.layers]
        assert [vars(group) for group in continued.groups] == [vars(group) for group in going_on.groups]
        for network in (going_on, continued):
            network.cut(scores(network, kind), target, dict)
            train(network, number)
        assert continued.removed == going_on.removed
        assert continued.masked == going_on.masked
        assert continued.metrics == going_on.metrics
        assert continued.cost == going_on.cost
        assert continued.cuts == going_on.cuts == number + 1
        assert continued.keep.keys() == going_on.keep.keys()
        assert all(torch.equal(continued.keep[layer], keep) for layer, keep in going_on.keep.items())
        after, expected = continued.model.state_dict(), going_on.model.state_dict()
        assert after.keys() == expected.keys()
        assert all(torch.equal(after[each], value) for each, value in expected.items())
    assert going_on.metrics["selection/ties"] > 0
    assert torch.equal(continued.model.eval()(example()), going_on.model.eval()(example()))
    # The dense network is as it was.
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), build(name).parameters(), strict=True))


def test_the_state_of_another_kind_of_pruning_is_refused(tmp_path):
    model = build("resnet")
    networks = {kind: new(kind, model) for kind in KINDS}
    for kind, network in networks.items():
        network.cut(scores(network, kind), 0.3, dict)
    states = {}
    for kind, network in networks.items():
        (tmp_path / kind).mkdir()
        states[kind] = through_files(network, tmp_path / kind)
    with pytest.raises(KeyError, match="are removed, where weights are masked"):
        new("weight", model).set_to(states["unit"])
    with pytest.raises(KeyError, match="are masked, where units are removed"):
        new("unit", model).set_to(states["weight"])
