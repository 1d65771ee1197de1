"""Transposed convolutions with their units first compute what torch's do, and lose units like others."""

from __future__ import annotations

import copy
import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from pruning_networks import check_every_unit, example, gone_units
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode
from transposed_networks import CLASSES, NETWORKS, network

from benchsuite.errors import Collapsed, Unsupported
from benchsuite.metrics.cost import measure_cost
from benchsuite.pruning.group_scores import group_scores
from benchsuite.pruning.networks import MaskedNetwork, SmallerNetwork
from benchsuite.pruning.plain_form import make_plain
from benchsuite.pruning.selection import select_units
from benchsuite.pruning.settings import PruningSettings
from benchsuite.pruning.surgery import check_surgery, remove_units
from benchsuite.pruning.tracing.trace import trace
from benchsuite.pruning.transposed import LEFT_AS_IT_IS, TransposedConvolution, with_layers_of_torch
from benchsuite.pruning.units_first import put_units_first
from benchsuite.training.trace import TrainingTrace

if TYPE_CHECKING:
    from collections.abc import Callable

OF_TORCH = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
KINDS: dict[int, Callable[..., nn.Module]] = dict(enumerate(OF_TORCH, 1))
GEOMETRIES: list[dict[str, Any]] = [
    {},
    {"stride": 2},
    {"stride": 3, "padding": 1, "output_padding": 2, "bias": False},
    {"dilation": 2, "padding": 2},
    {"stride": 2, "dilation": 3, "output_padding": 1},
]
GROUPS = [(6, 8, 1), (6, 8, 2), (6, 3, 3), (6, 6, 6), (6, 12, 6)]


def by_definition(layer: Any, weight: Tensor, x: Tensor) -> Tensor:
    """Each input at each place adds its multiple of the kernel to the places it belongs to.

    Args:
        layer: whose geometry counts.
        weight: (units, inputs / groups, *kernel).
        x: (samples, inputs, *places).
    """
    units, inputs = weight.shape[0], x.shape[1]
    of_group, read = units // layer.groups, inputs // layer.groups
    dims = range(x.ndim - 2)
    whole = [
        (x.shape[2 + d] - 1) * layer.stride[d]
        + layer.dilation[d] * (weight.shape[2 + d] - 1)
        + 1
        + layer.output_padding[d]
        for d in dims
    ]
    output = torch.zeros(len(x), units, *whole, dtype=x.dtype)
    for unit in range(units):
        for number in range(read):
            given = x[:, unit // of_group * read + number]
            for at in itertools.product(*map(range, weight.shape[2:])):
                first = [at[d] * layer.dilation[d] for d in dims]
                places = tuple(
                    slice(first[d], first[d] + (x.shape[2 + d] - 1) * layer.stride[d] + 1, layer.stride[d])
                    for d in dims
                )
                output[(slice(None), unit, *places)] += given * weight[(unit, number, *at)]
    inside = tuple(slice(layer.padding[d], whole[d] - layer.padding[d]) for d in dims)
    output = output[(slice(None), slice(None), *inside)]
    return output if layer.bias is None else output + layer.bias.view(-1, *[1 for _ in dims])


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize(("inputs", "units", "groups"), GROUPS)
@pytest.mark.parametrize("dims", KINDS)
def test_it_computes_what_torch_computes(
    dims: int, inputs: int, units: int, groups: int, geometry: Any
) -> None:
    torch.manual_seed(0)
    layer: Any = KINDS[dims](inputs, units, 3 if dims < 3 else (2, 3, 1), groups=groups, **geometry).double()
    model = nn.Sequential(layer)
    x = torch.randn(2, inputs, *(4, 3, 5)[:dims], dtype=torch.float64)
    expected = model(x)
    (wanted,) = torch.autograd.grad(expected.square().sum(), layer.weight)
    assert put_units_first(model, x) == {"0": groups}
    assert type(layer) is TransposedConvolution
    assert layer.weight.shape == (units, inputs // groups, *layer.kernel_size)
    torch.testing.assert_close(model(x), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(model(x), by_definition(layer, layer.weight, x), rtol=1e-12, atol=1e-12)
    (gradient,) = torch.autograd.grad(model(x).square().sum(), layer.weight)
    again = with_layers_of_torch(model)
    (own,) = torch.autograd.grad(again(x).square().sum(), again.get_parameter("0.weight"))
    torch.testing.assert_close(own, wanted, rtol=1e-12, atol=1e-12)
    assert torch.equal(gradient.flatten().sort().values, own.flatten().sort().values)


@pytest.mark.parametrize("kind", NETWORKS)
def test_all_units_but_the_outputs_can_go(kind: str) -> None:
    model = network(kind)
    names = {name for name, each in model.named_modules() if isinstance(each, OF_TORCH)}
    assert make_plain(model, example()).units_first.keys() == names
    graph = trace(model, example())
    check_every_unit(graph)
    assert all(pin.output for pin in graph.pinned)
    assert names <= {layer.name for layer in graph.layers}
    assert graph.left_out == {}


TARGETS = (0.7, 0.4, 0.15)


@pytest.mark.parametrize("scope", ["layer", "global", "protected"])
@pytest.mark.parametrize("budget", ["units", "params", "macs"])
@pytest.mark.parametrize("kind", NETWORKS)
def test_what_is_left_computes_what_the_network_without_the_units_does(
    kind: str, budget: Any, scope: Any
) -> None:
    """The dense network as it was written says itself what it computes without them."""
    dense = network(kind).double()
    inputs = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    plain = copy.deepcopy(dense)
    make_plain(plain, inputs)
    graph = trace(plain, inputs)
    settings, cuts = PruningSettings(scope=scope, budget=budget), 0
    for seed, target in itertools.product(range(4), TARGETS):
        generator = np.random.default_rng(seed)
        scores = {layer.name: torch.from_numpy(generator.random(layer.units)) for layer in graph.layers}
        try:
            chosen = select_units(graph, group_scores(graph, scores, settings), settings, target, seed)
            pruned = remove_units(plain, graph, chosen.removed)
        except (Collapsed, Unsupported):
            continue
        gone = gone_units(graph, chosen.removed)
        cuts += bool(gone)
        dense.gone = gone
        given_away = with_layers_of_torch(pruned)
        with torch.no_grad():
            torch.testing.assert_close(pruned(inputs), dense(inputs), rtol=1e-9, atol=1e-9)
            torch.testing.assert_close(given_away(inputs), dense(inputs), rtol=1e-9, atol=1e-9)
        check_surgery(plain, pruned, graph, chosen.removed, inputs)
        assert counted(given_away, inputs) == (chosen.params, chosen.macs)
        kept = {name: graph_units(graph, name) - len(units) for name, units in gone.items()}
        assert {name: given_away.get_submodule(name).weight.shape for name in kept} == {
            name: torch_shape(given_away.get_submodule(name), units) for name, units in kept.items()
        }
        dense.gone = {}
    assert cuts >= 4


def graph_units(graph: Any, name: str) -> int:
    return next(int(layer.units) for layer in graph.layers if layer.name == name)


def torch_shape(layer: Any, units: int) -> torch.Size:
    """The shape of a weight of torch's layer with so many units."""
    if isinstance(layer, nn.Linear):
        return torch.Size((units, layer.in_features))
    if isinstance(layer, OF_TORCH):
        return torch.Size((layer.in_channels, units // layer.groups, *layer.kernel_size))
    return torch.Size((units, layer.in_channels // layer.groups, *layer.kernel_size))


def counted(model: nn.Module, inputs: Tensor) -> tuple[int, int]:
    """Parameters and multiply-accumulates of one sample, by each layer's formula; torch counts the same."""
    macs: list[int] = []

    def add(layer: Any, given: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(layer, nn.Linear):
            macs.append(layer.in_features * layer.out_features)
            return
        places = (given[0] if isinstance(layer, OF_TORCH) else output).shape[2:]
        pairs = layer.in_channels * layer.out_channels // layer.groups
        macs.append(pairs * math.prod(layer.kernel_size) * math.prod(places))

    layers = [m for m in model.modules() if isinstance(m, nn.Linear | nn.modules.conv._ConvNd)]
    hooks = [layer.register_forward_hook(add) for layer in layers]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(inputs[:1])
    for hook in hooks:
        hook.remove()
    assert counter.get_total_flops() == 2 * sum(macs)
    return sum(parameter.numel() for parameter in model.parameters()), sum(macs)


@pytest.mark.parametrize("kind", NETWORKS)
def test_networks_cost_what_they_did(kind: str) -> None:
    model = network(kind)
    before = measure_cost(model, example()[:1])
    plain = copy.deepcopy(model)
    make_plain(plain, example())
    assert measure_cost(with_layers_of_torch(plain), example()[:1]) == before
    found = measure_cost(plain, example()[:1])
    assert (found.params, found.macs, found.nonzero_macs) == (
        before.params,
        before.macs,
        before.nonzero_macs,
    )
    assert counted(model, example()) == (before.params, before.macs)


def test_a_pruned_network_costs_what_it_does_when_it_is_given_away() -> None:
    model = network("decoder")
    make_plain(model, example())
    graph = trace(model, example())
    settings = PruningSettings(scope="layer", budget="units")
    pruned = SmallerNetwork(
        model, graph, measure_cost(with_layers_of_torch(model), example()), settings, 0, example()
    )
    pruned.cut({each.name: torch.rand(each.units) for each in graph.layers}, 0.4, dict)
    assert pruned.cost == measure_cost(with_layers_of_torch(pruned.model), example()[:1])
    copied = measure_cost(pruned.model, example()[:1]).peak_activation_bytes
    assert copied >= pruned.cost.peak_activation_bytes


@pytest.mark.parametrize(("scope", "sparsity"), [("layer", 0.5), ("global", 0.6), ("row", 0.4), ("2:4", 0.5)])
@pytest.mark.parametrize("kind", NETWORKS)
def test_masked_weights_are_counted(kind: str, scope: Any, sparsity: float) -> None:
    model = network(kind)
    as_built = copy.deepcopy(model)
    make_plain(model, example())
    graph = trace(model, example())
    settings = PruningSettings(scope=scope, budget="params")
    masked = MaskedNetwork(model, graph, measure_cost(as_built, example()), settings, 0, example())
    scores = {layer.name: torch.rand(layer.weight.shape) for layer in graph.weight_layers}
    masked.cut(scores, sparsity, dict)
    given_away = with_layers_of_torch(masked.model)
    zeros, saved = 0, 0
    places: dict[nn.Module, int] = {}

    def note(layer: Any, given: tuple[Tensor, ...], output: Tensor) -> None:
        linear = isinstance(layer, nn.Linear)
        read = (given[0] if isinstance(layer, OF_TORCH) else output).shape[2:]
        places[layer] = places.get(layer, 0) + (1 if linear else math.prod(read))

    layers: list[Any] = [
        m for m in given_away.modules() if isinstance(m, nn.Linear | nn.modules.conv._ConvNd)
    ]
    for layer in layers:
        layer.register_forward_hook(note)
    given_away(example()[:1])
    for layer in layers:
        gone = int((layer.weight == 0).sum())
        zeros, saved = zeros + gone, saved + gone * places[layer]
    assert masked.metrics["sparsity/params"] == zeros / sum(p.numel() for p in as_built.parameters())
    assert masked.metrics["sparsity/macs"] == saved / masked._dense_cost.macs
    assert masked.cost.macs - masked.cost.nonzero_macs == saved
    if scope == "2:4":
        for layer in layers:
            if isinstance(layer, OF_TORCH) and (read := layer.in_channels // layer.groups) % 4 == 0:
                by_input = layer.weight.unflatten(0, (layer.groups, read)).movedim(1, -1)
                assert ((by_input.reshape(-1, 4) == 0).sum(1) == 2).all()


@pytest.mark.parametrize("kind", NETWORKS)
def test_what_is_given_away_is_of_torch_alone_and_loads(kind: str) -> None:
    model = network(kind)
    built, plain = copy.deepcopy(model), copy.deepcopy(model)
    form = make_plain(plain, example())
    given = with_layers_of_torch(plain)
    assert [type(each) for each in given.modules()] == [type(each) for each in built.modules()]
    assert repr(given) == repr(built)
    assert given.state_dict().keys() == built.state_dict().keys()
    assert all(torch.equal(given.state_dict()[name], value) for name, value in built.state_dict().items())
    assert all(isinstance(plain.get_submodule(name), TransposedConvolution) for name in form.units_first), (
        "the network itself was changed"
    )
    state = form.state(built.state_dict())
    assert all(torch.equal(plain.state_dict()[name], value) for name, value in state.items())
    assert with_layers_of_torch(built) is built


def test_a_recorded_training_is_read_with_units_first() -> None:
    model = network("decoder")
    plain = copy.deepcopy(model)
    form = make_plain(plain, example())
    of_all = {name: torch.rand_like(value) for name, value in model.named_parameters()}
    recorded = TrainingTrace(of_all, of_all, of_all, {0: model.state_dict()}, torch.zeros(1)).changed(
        form.state
    )
    shapes = {name: value.shape for name, value in plain.named_parameters()}
    for states in (recorded.initial, recorded.squared_updates, recorded.snapshots[0]):
        assert {name: value.shape for name, value in states.items()} == shapes
    first = recorded.initial["grouped.weight"][
        2
    ]  # of the second of three groups of two units and three inputs
    assert torch.equal(first, of_all["grouped.weight"][3:6, 0])


def test_modes_hooks_layouts_and_what_learns_stay() -> None:
    model = network("generator").train()
    calls: list[nn.Module] = []
    model.get_submodule("up1").register_forward_hook(lambda module, *_: calls.append(module))
    model.get_submodule("up1").weight.requires_grad_(False)
    before = model(example())
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    put_units_first(model, example())
    layer = model.get_submodule("up1")
    assert isinstance(layer, TransposedConvolution)
    assert (layer.training, layer.weight.requires_grad, layer.transposed) == (True, False, False)
    calls.clear()
    torch.testing.assert_close(model(example()), before)
    assert calls == [layer]
    given = with_layers_of_torch(model)
    assert not given.get_submodule("up1").weight.requires_grad
    assert given.get_submodule("up1").transposed


def deconvolution(**options: Any) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(4, 4, 3, stride=2, padding=1, **options)


class Around(nn.Module):
    """A convolution, what is tried, and a classifier."""

    def __init__(self, between: nn.Module) -> None:
        super().__init__()
        self.first, self.between = nn.Conv2d(1, 4, 3, 2, 1), between
        self.last, self.head = nn.Conv2d(4, 6, 1), nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.between(torch.relu(self.first(x)))
        return self.head(torch.relu(self.last(torch.relu(x))).mean((2, 3)))


def around(between: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return Around(between).eval()


class Own(nn.ConvTranspose2d):
    """A subclass, whose code nobody knows."""


class Sized(nn.Module):
    """Called with the size of its output."""

    def __init__(self, more: int, own: int = 0) -> None:
        super().__init__()
        self.up, self.more = deconvolution(output_padding=own), more

    def forward(self, x: Tensor) -> Tensor:
        side = 2 * x.shape[-1] - 1 + self.more
        return self.up(x, output_size=[side, side])  # type: ignore[no-any-return]


class Reading(nn.Module):
    """Reads the weight itself."""

    def __init__(self, *, in_training: bool = False) -> None:
        super().__init__()
        self.up, self.in_training = nn.ConvTranspose2d(4, 4, 3), in_training

    def forward(self, x: Tensor) -> Tensor:
        if self.training or not self.in_training:
            return functional.conv_transpose2d(x, self.up.weight.view(4, 4, 3, 3), self.up.bias) + self.up(x)
        return 2 * self.up(x)  # type: ignore[no-any-return]


class Tied(nn.Module):
    """An autoencoder whose decoder has the weight of its encoder."""

    def __init__(self, other: nn.Module) -> None:
        super().__init__()
        self.other, self.up = other, nn.ConvTranspose2d(4, 4, 3, padding=1)
        self.up.weight = other.weight  # type: ignore[assignment]

    def forward(self, x: Tensor) -> Tensor:
        return self.up(torch.relu(self.other(x)))  # type: ignore[no-any-return]


STAYS: dict[str, Callable[[], nn.Module]] = {
    "subclass": lambda: Own(4, 4, 3),
    "another size": lambda: Sized(1),
    "read": Reading,
    "tied with a convolution": lambda: Tied(nn.Conv2d(4, 4, 3, padding=1)),
    "tied with another": lambda: Tied(nn.ConvTranspose2d(4, 4, 3, padding=1)),
}


@pytest.mark.parametrize("kind", STAYS)
def test_what_is_not_the_same_stays_as_it_is(kind: str) -> None:
    model = around(STAYS[kind]())
    expected = model(example())
    before = [type(module) for module in model.modules()]
    assert put_units_first(model, example()) == {}
    assert [type(module) for module in model.modules()] == before
    assert torch.equal(model(example()), expected)
    graph = trace(model, example())
    names = [name for name, each in model.named_modules() if isinstance(each, nn.ConvTranspose2d)]
    assert all(graph.left_out[name] == LEFT_AS_IT_IS for name in names)
    assert not {layer.name for layer in graph.weight_layers} & set(names)
    for group in graph.groups:  # and what else can go, may go
        pruned = remove_units(model, graph, {group.name: (0,)})
        check_surgery(model, pruned, graph, {group.name: (0,)}, example())


def test_each_is_judged_by_itself_where_not_all_can() -> None:
    model = around(nn.Sequential(deconvolution(), Sized(1)))
    assert put_units_first(model, example()) == {"between.0": 1}


@pytest.mark.parametrize(("more", "own"), [(0, 0), (1, 1)])
def test_a_size_that_is_its_own_is_taken(more: int, own: int) -> None:
    model = around(Sized(more, own))
    expected = model(example())
    assert put_units_first(model, example()) == {"between.up": 1}
    torch.testing.assert_close(model(example()), expected)


def lazy() -> nn.Module:
    made = nn.Sequential(nn.LazyConvTranspose2d(6, 3), nn.ReLU(inplace=True), nn.LazyConvTranspose2d(4, 3))
    made(torch.rand(1, 4, 4, 4))
    return made


def normed(kind: Any, **options: Any) -> nn.Module:
    layer = kind(nn.ConvTranspose2d(4, 6, 3, groups=options.pop("groups", 1)), **options)
    return nn.Sequential(layer, nn.ReLU(inplace=True), nn.ConvTranspose2d(6, 4, 3))


def shared() -> nn.Module:
    up = deconvolution()
    return nn.Sequential(up, nn.ReLU(inplace=True), up)


GOES: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "lazy": (lazy, 2),
    "weight_norm": (lambda: normed(torch.nn.utils.parametrizations.weight_norm, dim=1), 2),
    "weight_norm of inputs": (lambda: normed(torch.nn.utils.parametrizations.weight_norm), 2),
    "spectral_norm": (lambda: normed(torch.nn.utils.parametrizations.spectral_norm), 2),
    "old spectral_norm": (lambda: normed(torch.nn.utils.spectral_norm), 2),
    "old weight_norm of groups": (lambda: normed(torch.nn.utils.weight_norm, dim=1, groups=2), 2),
    "one layer by two names": (shared, 2),
}


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature:UserWarning")
@pytest.mark.parametrize("kind", GOES)
def test_other_ways_to_have_one(kind: str) -> None:
    build, names = GOES[kind]
    model = around(build())
    expected = model(example())
    form = make_plain(model, example())
    assert len(form.units_first) == names
    torch.testing.assert_close(model(example()), expected, rtol=1e-5, atol=1e-5)
    graph = trace(model, example())
    assert all(pin.output for pin in graph.pinned)
    removed = {group.name: (0,) for group in graph.groups}
    assert (
        check_surgery(
            model, remove_units(model, graph, removed), graph, removed, example()
        ).relative_difference
        < 1e-9
    )


def test_a_network_without_them_is_not_run() -> None:
    def forbidden(*_: object) -> None:
        raise AssertionError

    model = nn.Linear(3, 2)
    model.forward = forbidden  # type: ignore[assignment]
    assert put_units_first(model, torch.zeros(1, 3)) == {}
