"""A criterion's own rule: which positions it removes, and whose outgoing weights are added up."""

from __future__ import annotations

import pytest
import torch
from pruning_networks import build, example
from torch import Tensor, nn

from benchsuite.contracts.layers import CoupledGroup, GroupMember
from benchsuite.pruning.native import merge_units, positions_to_remove
from benchsuite.pruning.surgery import remove_units
from benchsuite.pruning.tracing.trace import trace
from benchsuite.testing.networks import tiny_convnet, tiny_samples


def keeping(size: int, *gone: int) -> Tensor:
    keep = torch.ones(size, dtype=torch.bool)
    keep[list(gone)] = False
    return keep


def test_a_position_goes_when_no_layer_that_the_rule_speaks_of_keeps_it() -> None:
    members = tuple(GroupMember(name, tuple((unit,) for unit in range(4))) for name in ("a", "b", "c"))
    group = CoupledGroup("a", members, 4)
    assert positions_to_remove(group, {"a": keeping(4, 0, 1), "b": keeping(4, 1, 2)}) == (1,)
    assert positions_to_remove(group, {"a": keeping(4, 0, 1)}) == (0, 1)
    assert positions_to_remove(group, {"x": keeping(4, 0)}) == ()
    tied = CoupledGroup("t", (GroupMember("t", ((0, 1), (2, 3))),), 2)
    assert positions_to_remove(tied, {"t": keeping(4, 0, 1, 2)}) == (0,)


def make_twins(layer: nn.Module, copy: int, original: int) -> None:
    """Make one unit an exact copy of another."""
    with torch.no_grad():
        for name, value in layer.state_dict().items():
            if value.dim():
                layer.state_dict()[name][copy] = value[original]


def test_merging_exact_twins_changes_nothing_behind_a_flattened_map() -> None:
    model = tiny_convnet()
    inputs, _ = tiny_samples(4)
    make_twins(model[4], 1, 3)
    make_twins(model[7], 0, 6)
    graph = trace(model, inputs)
    removed = {"4": (1,), "7": (0,)}
    merged = remove_units(merge_units(model, graph, {"4": [(1, 3)], "7": [(0, 6)]}, removed), graph, removed)
    assert merged(inputs).shape == (4, 3)
    assert torch.allclose(merged(inputs), model(inputs), atol=1e-5)
    assert not torch.allclose(remove_units(model, graph, removed)(inputs), model(inputs), atol=1e-3)


def test_merging_exact_twins_changes_nothing_in_a_residual_sum() -> None:
    model = build("resnet").eval()
    for layer in (model.conv1, model.bn1, model.stage1.conv2, model.stage1.bn2):
        make_twins(layer, 2, 5)
    graph = trace(model, example())
    removed = {"conv1": (2,)}
    # Both layers of the group name the pair; it is added once.
    merges = {"conv1": [(2, 5)], "stage1.conv2": [(2, 5)]}
    merged = remove_units(merge_units(model, graph, merges, removed), graph, removed)
    assert torch.allclose(merged(example()), model(example()), atol=1e-5)


def test_a_unit_that_a_coupled_layer_keeps_is_merged_with_none() -> None:
    model = build("resnet").eval()
    graph = trace(model, example())
    merges = {"conv1": [(0, 5), (1, 6)], "stage1.conv2": [(1, 7)]}
    merged = merge_units(model, graph, merges, {"conv1": (1,)})
    for name in ("stage1.conv1", "stage2.conv1", "stage2.shortcut.0"):
        before, after = (network.get_submodule(name).weight for network in (model, merged))
        changed = [unit for unit in range(8) if not torch.equal(before[:, unit], after[:, unit])]
        assert changed == [6]
        assert torch.equal(after[:, 6], before[:, 6] + before[:, 1])


class BeforeTransposed(nn.Module):
    """A convolution that a transposed one reads, with fewer outputs than inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.up = nn.Conv2d(1, 8, 3, padding=1), nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.head = nn.Linear(4, 5)

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.head(torch.relu(self.up(torch.tanh(self.first(images)))).mean((2, 3)))
        return scores


class BeforeTwo(nn.Module):
    """A layer that two others with one weight read."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(64, 8)
        self.left, self.right = nn.Linear(8, 6), nn.Linear(8, 6)
        self.right.weight = self.left.weight
        self.head = nn.Linear(6, 5)

    def forward(self, images: Tensor) -> Tensor:
        x = torch.tanh(self.first(images.flatten(1)))
        scores: Tensor = self.head(torch.relu(self.left(x)) + torch.tanh(self.right(x)))
        return scores


@pytest.mark.parametrize("network", [BeforeTransposed, BeforeTwo])
def test_merging_exact_twins_changes_nothing_for_any_kind_of_reader(network: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model = network().eval()
    make_twins(model.get_submodule("first"), 2, 5)
    graph = trace(model, example())
    removed = {"first": (2,)}
    merged = remove_units(merge_units(model, graph, {"first": [(2, 5)]}, removed), graph, removed)
    assert torch.allclose(merged(example()), model(example()), atol=1e-5)
    assert not torch.allclose(remove_units(model, graph, removed)(example()), model(example()), atol=1e-3)
