"""Coupled groups of networks whose couplings are known by construction."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import pytest
import torch
from pruning_networks import NETWORKS, build, check_cut, check_every_unit, example, mlp
from torch import Tensor, nn

from benchsuite.errors import Unsupported
from benchsuite.metrics.cost import measure_cost
from benchsuite.pruning.graph import UNREACHED
from benchsuite.pruning.networks import MaskedNetwork, SmallerNetwork
from benchsuite.pruning.settings import PruningSettings
from benchsuite.pruning.surgery import remove_units
from benchsuite.pruning.tracing.trace import trace

if TYPE_CHECKING:
    from benchsuite.pruning.graph import PruningGraph

EXPECTED = {
    "mlp": {"1": (20, {"1": 1}), "3": (10, {"3": 1})},
    "vgg": {"0": (6, {"0": 1}), "4": (8, {"4": 1}), "9": (10, {"9": 1})},
    "resnet": {
        "conv1": (8, {"conv1": 1, "stage1.conv2": 1}),
        "stage1.conv1": (8, {"stage1.conv1": 1}),
        "stage2.conv1": (12, {"stage2.conv1": 1}),
        "stage2.conv2": (12, {"stage2.conv2": 1, "stage2.shortcut.0": 1}),
    },
    # Only channels that come through the padded shortcuts from the first stage can be removed.
    "option-a": {
        "conv1": (8, {"conv1": 1, "stage1.conv2": 1, "stage2.conv2": 1, "stage3.conv2": 1}),
        "stage1.conv1": (8, {"stage1.conv1": 1}),
        "stage2.conv1": (16, {"stage2.conv1": 1}),
        "stage3.conv1": (32, {"stage3.conv1": 1}),
    },
    "mobilenet": {
        "stem.0": (8, {"stem.0": 1, "project.0": 1}),
        "expand.0": (16, {"expand.0": 1, "depthwise.0": 1, "excite.fc2": 1}),
        "excite.fc1": (4, {"excite.fc1": 1}),
    },
    "densenet": {
        "stem": (6, {"stem": 1}),
        "convs.0": (4, {"convs.0": 1}),
        "convs.1": (4, {"convs.1": 1}),
        "convs.2": (4, {"convs.2": 1}),
    },
    # Whole groups of the grouped convolution are removed: three of its inputs with six of its outputs.
    "resnext": {"reduce.0": (4, {"reduce.0": 3, "grouped.0": 6}), "widen": (10, {"widen": 1})},
    # A group normalisation of four groups loses whole groups of three channels.
    "convnext": {
        "stem": (8, {"stem": 1, "depthwise": 1, "fc2": 1}),
        "fc1": (16, {"fc1": 1}),
        "conv": (4, {"conv": 3}),
    },
    # Heads are removed as a whole: four features each of queries, keys and values.
    "vit": {
        "patches": (12, {"patches": 1, "attention.proj": 1, "fc2": 1}),
        "attention.qkv": (3, {"attention.qkv": 12}),
        "fc1": (20, {"fc1": 1}),
    },
}


def described(graph: PruningGraph) -> dict[str, tuple[int, dict[str, int]]]:
    return {
        group.name: (group.size, {member.layer: len(member.units[0]) for member in group.members})
        for group in graph.groups
    }


@pytest.mark.parametrize("name", NETWORKS)
def test_groups_are_those_of_the_construction(name: str) -> None:
    assert described(trace(build(name), example())) == EXPECTED[name]


def test_each_unit_is_in_one_position() -> None:
    graph = trace(build("option-a"), example())
    units: dict[str, list[int]] = {}
    for group in graph.groups:
        for member in group.members:
            assert len(member.units) == group.size
            units.setdefault(member.layer, []).extend(unit for position in member.units for unit in position)
    assert units["stage2.conv2"] == list(range(4, 12))
    assert units["stage3.conv2"] == list(range(12, 20))
    assert all(len(set(listed)) == len(listed) for listed in units.values())


def test_heads_go_with_their_features() -> None:
    graph = trace(build("vit"), example())
    group = next(group for group in graph.groups if group.name == "attention.qkv")
    assert group.members[0].units[1] == (4, 5, 6, 7, 16, 17, 18, 19, 28, 29, 30, 31)


@pytest.mark.parametrize("name", NETWORKS)
def test_output_layer_is_pinned_and_its_weights_are_not(name: str) -> None:
    graph = trace(build(name), example())
    outputs = [pin.layer for pin in graph.pinned if pin.reason == "it is the network's output"]
    assert len(outputs) == 1
    assert outputs[0] not in {layer.name for layer in graph.layers}
    assert outputs[0] in {layer.name for layer in graph.weight_layers}


def test_output_layer_need_not_be_the_last_nor_linear() -> None:
    class Squeeze(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.classes = nn.Conv2d(6, 4, 1)
            self.features = nn.Conv2d(1, 6, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(self.classes(torch.relu(self.features(x)))).mean((2, 3))

    graph = trace(Squeeze(), example())
    assert [group.name for group in graph.groups] == ["features"]


def test_norms_are_found() -> None:
    graph = trace(build("densenet"), example())
    assert {layer.name: layer.norm_name for layer in graph.layers} == dict.fromkeys(
        ("stem", "convs.0", "convs.1", "convs.2")
    )
    model = build("resnet")
    layers = {layer.name: layer for layer in trace(model, example()).layers}
    assert layers["stage2.shortcut.0"].norm_name == "stage2.shortcut.1"
    assert layers["conv1"].norm is model.get_submodule("bn1")


def test_network_and_random_state_are_left_as_they_were() -> None:
    model = build("resnet").train()
    model.get_submodule("stage1").eval()
    before = copy.deepcopy(model.state_dict())
    modes = [module.training for module in model.modules()]
    torch.manual_seed(3)
    state = torch.get_rng_state()
    trace(model, example())
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_graph_serves_a_copy() -> None:
    model = build("resnet")
    graph = trace(model, example())
    twin = build("resnet", seed=5)
    bound = graph.of(twin)
    assert [layer.module for layer in bound.layers] == [twin.get_submodule(x.name) for x in graph.layers]
    assert bound.layers[0].norm is twin.get_submodule("bn1")
    assert remove_units(twin, graph, {"conv1": (0,)}).get_submodule("conv1").out_channels == 7


class Shuffled(nn.Module):
    """Channels are shuffled between halves, and one half bypasses the block."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, 1, 1)
        self.inner = nn.Conv2d(4, 6, 1)
        self.outer = nn.Conv2d(6, 4, 1)
        self.fc = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        kept, worked = x.chunk(2, dim=1)
        x = torch.cat((kept, self.outer(torch.relu(self.inner(worked)))), 1)
        batch, channels, height, width = x.shape
        x = x.view(batch, 2, channels // 2, height, width).transpose(1, 2).reshape(x.shape)
        return self.fc(torch.relu(x).mean((2, 3)))


def test_what_channel_shuffling_touches_stays_and_the_rest_goes() -> None:
    graph = trace(Shuffled(), example())
    assert described(graph) == {"inner": (6, {"inner": 1})}
    assert {pin.layer for pin in graph.pinned} == {"stem", "outer", "fc"}


class Auxiliary(nn.Module):
    """A second classifier that is only used in training."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(64, 8)
        self.second = nn.Linear(8, 6)
        self.fc = nn.Linear(6, 5)
        self.auxiliary = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.first(x.flatten(1)))
        y = self.fc(torch.relu(self.second(x)))
        return y + self.auxiliary(x) if self.training else y


def test_units_that_only_training_reads_stay() -> None:
    graph = trace(Auxiliary(), example())
    assert described(graph) == {"second": (6, {"second": 1})}
    assert any("training mode" in pin.reason for pin in graph.pinned if pin.layer == "first")


class Centred(nn.Module):
    """Subtracts the mean over channels, which masking does not change but removal does."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(64, 8)
        self.fc = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x.flatten(1))
        return self.fc(torch.relu(x - x.mean(1, keepdim=True)))


def test_network_that_mixes_channels_is_unsupported_with_the_reason() -> None:
    with pytest.raises(Unsupported, match=r"no layer .* can be pruned .*differs from the masked one"):
        trace(Centred(), example()).require_units()


def test_weights_can_be_pruned_where_no_unit_can_be_removed() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 5)).eval()
    graph, dense = trace(model, example()), measure_cost(model, example()[:1])
    assert (graph.groups, [layer.name for layer in graph.weight_layers]) == ((), ["1"])
    network = MaskedNetwork(model, graph, dense, PruningSettings("global", "params"), 0, example())
    network.cut({"1": model[1].weight.detach().abs()}, 0.5, dict)
    assert network.cost.nonzero_params == dense.params - round(0.5 * dense.params)
    assert network.metrics["sparsity/units"] == 0
    with pytest.raises(Unsupported, match=r"no layer .* can be pruned .*the network's output"):
        SmallerNetwork(model, graph, dense, PruningSettings("global", "params"), 0, example())


def test_network_that_cannot_run_is_unsupported_with_the_reason() -> None:
    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(64, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise ArithmeticError("out of luck")

    with pytest.raises(Unsupported, match="ArithmeticError: out of luck"):
        trace(Broken(), example())


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_every_unit_can_go_or_it_is_said_why_not(name: str) -> None:
    check_every_unit(trace(build(name), example()))


@pytest.mark.parametrize("activation", [nn.ReLU, nn.SiLU, nn.Hardswish])
@pytest.mark.parametrize("positions", [(64,), (8, 8)], ids=["tokens", "maps"])
def test_layers_before_an_activation_in_place_are_found(
    positions: tuple[int, ...], activation: type[nn.ReLU]
) -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.act, self.last = nn.Linear(4, 9), activation(inplace=True), nn.Linear(9, 5)
            self.make = nn.Conv2d(1, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            # What is contiguous in memory is a matrix for the layer, and its output a view of one.
            x = self.make(x).flatten(2).transpose(1, 2).contiguous().unflatten(1, positions)
            return self.last(self.act(self.first(x))).flatten(1, -2).mean(1)  # type: ignore[no-any-return]

    network = InPlace().eval()
    graph = trace(network, example())
    assert {group.name: group.size for group in graph.groups} == {"first": 9, "make": 4}
    check_cut(network, graph, {"first": (0, 4), "make": (3,)})


class Kept(nn.Linear):
    """Keeps its output, a view of a matrix."""

    def forward(self, x: Tensor) -> Tensor:
        self.kept = super().forward(x)
        return self.kept


class Keeping(nn.Module):
    """What a layer has kept of its output is read beside its activation."""

    def __init__(self) -> None:
        super().__init__()
        self.make, self.first, self.last = nn.Conv2d(1, 4, 2, 2), Kept(4, 9), nn.Linear(9, 5)
        self.beside = nn.Linear(9, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(self.make(x).flatten(2).transpose(1, 2).contiguous()).relu()
        return (self.last(x) + self.beside(self.first.kept)).mean(1)


def test_an_output_that_the_network_keeps_is_followed() -> None:
    network = Keeping().eval()
    graph = trace(network, example())
    assert {group.name: group.size for group in graph.groups} == {"make": 4, "first": 9}
    assert all(pin.output for pin in graph.pinned)


@pytest.mark.parametrize("where", [0, -1])
@pytest.mark.parametrize("width", [5, 13, 16, 64])
def test_code_that_knows_a_channel_by_its_number_is_found_by_the_trial(width: int, where: int) -> None:
    class ByNumber(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Conv2d(1, width, 3), nn.Linear(width, 5)

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x).mean((2, 3))
            keep = torch.ones(x.shape[1], dtype=x.dtype)
            keep[where] = 0
            return self.last(x * keep)  # type: ignore[no-any-return]

    graph = trace(ByNumber().eval(), example())
    assert "first" not in {group.name for group in graph.groups}


def test_layers_that_no_gradient_reaches_are_named() -> None:
    class Detached(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.behind, self.head = nn.Conv2d(1, 6, 3), nn.Conv2d(6, 4, 3), nn.Linear(4, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.behind(self.first(x).detach()).mean((2, 3)))  # type: ignore[no-any-return]

    graph = trace(Detached().eval(), example())
    assert [(pin.layer, pin.units, pin.reason) for pin in graph.pinned if not pin.output] == [
        ("first", 6, UNREACHED)
    ]
    assert [group.name for group in graph.groups] == ["behind"]


def test_a_frozen_layer_is_still_found() -> None:
    model = mlp()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    graph = trace(model, example())
    assert set(described(graph)) == {"1", "3"}
    assert not any(p.requires_grad for p in remove_units(model, graph, {"1": (0,)}).parameters())


@pytest.mark.parametrize("name", NETWORKS)
def test_weight_macs_add_up(name: str) -> None:
    model = build(name)
    graph = trace(model, example())
    counted = sum(graph.weight_macs[layer.name] * layer.weight.numel() for layer in graph.weight_layers)
    attention = 2 * 5 * 5 * 12 if name == "vit" else 0
    assert counted + attention == measure_cost(model, example()).macs


@pytest.mark.parametrize("name", NETWORKS)
def test_graph_of_a_pruned_network_needs_no_new_trace(name: str) -> None:
    model = build(name)
    graph = trace(model, example())
    removed = {group.name: tuple(range(0, group.size - 1, 3)) for group in graph.groups}
    pruned = remove_units(model, graph, removed)
    derived, traced = graph.without(removed, pruned), trace(pruned, example())
    assert derived.groups == traced.groups
    for group in traced.groups:
        found = {cut.axis: cut.entries.tolist() for cut in derived.cuts[group.name]}
        assert found == {cut.axis: cut.entries.tolist() for cut in traced.cuts[group.name]}
    for counts in ({}, {group.name: group.size - 1 for group in traced.groups}):
        predicted = derived.cost_model.cost(derived.cost_model.counts(counts))
        assert predicted == traced.cost_model.cost(traced.cost_model.counts(counts))
    assert [(x.name, x.module) for x in derived.layers] == [(x.name, x.module) for x in traced.layers]
    assert derived.weight_macs == traced.weight_macs


def test_a_group_that_is_down_to_one_position_stays() -> None:
    model = build("mlp")
    graph = trace(model, example())
    removed = {"3": tuple(range(9))}
    left = graph.without(removed, remove_units(model, graph, removed))
    assert [group.name for group in left.groups] == ["1"]
    assert [(pin.layer, pin.units) for pin in left.pinned if not pin.output] == [("3", 1)]
    assert [layer.name for layer in left.layers] == ["1"]


@pytest.mark.parametrize("name", NETWORKS)
def test_readers_are_the_layers_whose_inputs_a_removal_cuts(name: str) -> None:
    model = build(name)
    graph = trace(model, example())
    for group in graph.groups:
        gone = (0, group.size - 1)
        smaller = remove_units(model, graph, {group.name: gone})
        lost = {
            layer: module.get_parameter("weight").shape[1] - smaller.get_submodule(layer).weight.shape[1]
            for layer, module in model.named_modules()
            if hasattr(module, "weight") and module.weight is not None and module.weight.ndim > 1
        }
        named = {reader.layer: sum(len(reader.inputs[p]) for p in set(gone)) for reader in group.readers}
        lost = {layer: count for layer, count in lost.items() if count}
        assert named == lost


class NormAct(nn.BatchNorm2d):
    """A normalisation that ends in an activation of its own."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(super().forward(x))


def test_a_norm_with_an_activation_of_its_own_follows_its_layer() -> None:
    model = nn.Sequential(
        *(nn.Conv2d(1, 6, 3, bias=False), NormAct(6), nn.Conv2d(6, 8, 3), nn.BatchNorm2d(8), nn.ReLU()),
        *(nn.Conv2d(8, 4, 1), nn.ReLU(), NormAct(4), nn.Flatten(), nn.Linear(64, 5)),
    )
    found = {layer.name: layer.norm_name for layer in trace(model.eval(), example()).layers}
    assert found == {"0": "1", "2": "3", "5": None}
