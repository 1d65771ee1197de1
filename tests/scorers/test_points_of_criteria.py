"""Each gradient criterion at its point: gates in the network by hand, and the removal of each unit."""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from deviations import agree
from gated_networks import NETWORKS, gate_derivatives, samples
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn import functional

from benchsuite.pruning.surgery import remove_units
from benchsuite.pruning.tracing.trace import trace
from benchsuite.scoring.check import run_scorer
from benchsuite.scoring.context import ScoringContext
from benchsuite_scorers.registration import BatchNormScale, Fisher, TaylorActivation, TaylorWeight

if TYPE_CHECKING:
    from deviations import Record

    from benchsuite import Scorer

Setting = tuple[nn.Module, ScoringContext]


def setting(name: str) -> Setting:
    """Batches of 8, 8 and 4 samples, so that a mean over batches differs from one over samples."""
    model = NETWORKS[name]().double()
    inputs, labels = samples()
    graph = trace(model, inputs[:1])
    assert {group.name: group.size for group in graph.groups} == model.GROUPS
    return model, ScoringContext(model, graph.layers, inputs, labels, groups=graph.groups, batch_size=8)


def assert_spread(
    record: Record, scorer: Scorer, context: ScoringContext, found: dict[str, Tensor], want: dict[str, Tensor]
) -> None:
    """Every coupled unit has the score of its position."""
    members = [(group.name, member.layer) for group in context.groups for member in group.members]
    assert {layer for _, layer in members} == set(found)
    for group, layer in members:
        agree(record, scorer.name, found[layer], want[group], rel=1e-8, absolute=1e-16)


@pytest.mark.parametrize("network", NETWORKS)
def test_what_a_gate_at_zero_leaves_is_what_surgery_leaves(network: str) -> None:
    model, context = setting(network)
    graph = trace(model, samples()[0][:1])
    inputs, _ = samples()
    for group in context.groups:
        for position in range(group.size):
            z = {name: torch.ones(size, dtype=torch.float64) for name, size in model.GROUPS.items()}
            z[group.name][position] = 0
            with torch.no_grad():
                removed = remove_units(model, graph, {group.name: [position]})(inputs)
                torch.testing.assert_close(model.at_readers(inputs, z), removed, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("network", NETWORKS)
def test_fisher_is_the_gate_at_the_readers_of_each_sample(network: str, record_property: Record) -> None:
    model, context = setting(network)
    found = run_scorer(Fisher(), context).scores
    want: dict[str, Tensor] = {name: torch.zeros(()) for name in model.GROUPS}
    for inputs, labels in context.batches(1):
        slopes = gate_derivatives(model.at_readers, model.GROUPS, inputs, labels)
        want = {name: want[name] + slopes[name] ** 2 / 2 / 20 for name in want}
    assert_spread(record_property, Fisher(), context, found, want)


@pytest.mark.parametrize("average", ["batch", "sample"])
@pytest.mark.parametrize("network", NETWORKS)
def test_taylor_weight_is_the_gate_at_the_units(network: str, average: str, record_property: Record) -> None:
    model, context = setting(network)
    scorer = TaylorWeight(average=average)
    found = run_scorer(scorer, context).scores
    batches = list(context.batches(8 if average == "batch" else 1))
    slopes = [gate_derivatives(model.at_members, model.GROUPS, *batch) for batch in batches]
    want = {name: sum(each[name] ** 2 for each in slopes) / len(batches) for name in model.GROUPS}
    assert_spread(record_property, scorer, context, found, want)


@pytest.mark.parametrize("average", ["batch", "sample"])
@pytest.mark.parametrize("network", NETWORKS)
def test_the_variant_of_weights_squares_each_of_them(
    network: str, average: str, record_property: Record
) -> None:
    model, context = setting(network)
    scorer = TaylorWeight(variant="weight", average=average)
    found = run_scorer(scorer, context).scores
    batches = list(context.batches(8 if average == "batch" else 1))
    want = {group.name: torch.zeros(group.size, dtype=torch.float64) for group in context.groups}
    for inputs, labels in batches:
        model.zero_grad()
        functional.cross_entropy(model(inputs), labels).backward()
        for group in context.groups:
            for member in group.members:
                weight = model.get_parameter(f"{member.layer}.weight")
                squares = (weight.detach() * weight.grad) ** 2 / len(batches)
                want[group.name] += squares.flatten(1).sum(1)
    model.zero_grad()
    assert_spread(record_property, scorer, context, found, want)


def test_taylor_activation_is_the_gate_of_a_unit_with_one_reader(record_property: Record) -> None:
    """Up to the layer's length: a pooling behind the point and the number of positions change nothing."""
    for network, group in (
        ("chain", "body.0"),
        ("chain", "body.4"),
        ("chain", "body.7"),
        ("branches", "conv2"),
    ):
        model, context = setting(network)
        found = run_scorer(TaylorActivation(), context).scores[group]
        slopes = [
            gate_derivatives(model.at_readers, model.GROUPS, *sample)[group].abs()
            for sample in context.batches(1)
        ]
        mean = sum(slopes) / len(slopes)
        length = math.sqrt(float((mean**2).sum()))
        agree(record_property, "taylor-activation", found, mean / length, rel=1e-8, absolute=1e-12)


def before_the_norm(context: ScoringContext) -> dict[str, Tensor]:
    """A gate on what the layer itself computes, by layer: Fisher's old point."""
    totals: dict[str, Tensor] = {}
    for gradient in context.gradients(batch_size=1):
        for layer in context.layers:
            change = (gradient[f"{layer.name}.weight"] * layer.weight).flatten(1).sum(1)
            if layer.bias is not None:
                change = change + gradient[f"{layer.name}.bias"] * layer.bias
            totals[layer.name] = totals.get(layer.name, 0) + change**2
    return totals


def conv_norm(width: int = 12) -> nn.Sequential:
    def block(inputs: int, pool: bool) -> list[nn.Module]:
        parts = [nn.Conv2d(inputs, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
        return [*parts, nn.MaxPool2d(2)] if pool else parts

    blocks = [*block(1, False), *block(width, True), *block(width, False), *block(width, True)]
    return nn.Sequential(*blocks, nn.Flatten(), nn.Linear(width * 4, 4))


class Residual(nn.Module):
    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        for block in (1, 2):
            for half in "ab":
                self.add_module(f"conv{block}{half}", nn.Conv2d(width, width, 3, padding=1, bias=False))
                self.add_module(f"norm{block}{half}", nn.BatchNorm2d(width))
        self.last = nn.Linear(width * 16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        for block in (1, 2):
            y = torch.relu(getattr(self, f"norm{block}a")(getattr(self, f"conv{block}a")(x)))
            x = torch.relu(getattr(self, f"norm{block}b")(getattr(self, f"conv{block}b")(y)) + x)
        return self.last(functional.avg_pool2d(x, 2).flatten(1))


@functools.cache
def trained(network: str) -> tuple[nn.Module, ScoringContext, dict[str, Tensor]]:
    """A network that has learned four noisy patterns, and the true change of the loss, by group."""
    generator = torch.Generator().manual_seed(0)
    patterns = torch.randn(4, 1, 8, 8, generator=generator)
    labels = torch.randint(4, (512,), generator=generator)
    inputs = patterns[labels] + 1.5 * torch.randn(512, 1, 8, 8, generator=generator)
    torch.manual_seed(0)
    model = conv_norm() if network == "chain" else Residual()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    for step in range(120):
        part = torch.arange(64) + 64 * (step % 8)
        optimiser.zero_grad()
        functional.cross_entropy(model(inputs[part]), labels[part]).backward()
        optimiser.step()
    model.eval().zero_grad()
    graph = trace(model, inputs[:1])
    context = ScoringContext(model, graph.layers, inputs, labels, groups=graph.groups, batch_size=64)

    def loss(network: nn.Module) -> float:
        with torch.no_grad():
            return float(functional.cross_entropy(network(inputs), labels))

    whole = loss(model)
    truth = {
        group.name: torch.tensor(
            [loss(remove_units(model, graph, {group.name: [p]})) - whole for p in range(group.size)]
        )
        for group in graph.groups
    }
    return model, context, truth


def correlations(scores: dict[str, Tensor], truth: dict[str, Tensor]) -> list[float]:
    return [float(spearmanr(scores[name], change).statistic) for name, change in truth.items()]


@pytest.mark.parametrize("network", ["chain", "residual"])
def test_the_gates_rank_as_the_removal_of_each_unit_does(network: str, record_property: Record) -> None:
    _, context, truth = trained(network)
    found = {
        "fisher": correlations(run_scorer(Fisher(), context).scores, truth),
        "taylor-weight": correlations(run_scorer(TaylorWeight(average="sample"), context).scores, truth),
        "before the norm": correlations(before_the_norm(context), truth),
    }
    means = {name: sum(values) / len(values) for name, values in found.items()}
    for name, values in found.items():
        record_property(f"rank correlation: {network}: {name}", [round(value, 2) for value in values])
    assert means["fisher"] > 0.6
    assert means["taylor-weight"] > 0.6
    assert means["fisher"] > means["before the norm"]


class Sums(nn.Module):
    """Two layers that are added, with one norm, called twice, in front of the sum, or one behind it."""

    def __init__(self, norm: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(2, 4, 1)
        self.norm, self.last, self.where = nn.BatchNorm2d(4), nn.Linear(4, 3), norm
        nn.init.uniform_(self.norm.weight, 0.5, 1.5)
        nn.init.normal_(self.norm.bias)
        self.double().eval()

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.a(x), self.b(x)
        total = self.norm(a) + self.norm(b) if self.where == "shared" else a + b
        if self.where == "behind":
            total = self.norm(total)
        return self.last(torch.relu(total).mean((2, 3)))

    def changes(self, inputs: Tensor, labels: Tensor, at: tuple[str, ...]) -> list[Tensor]:
        """abs(sum over positions of map x gradient) of one sample, of the outputs or of the sum's ReLU."""
        maps = {"a": self.a(inputs), "b": self.b(inputs)}
        if self.where == "shared":
            normed = [self.norm(each) for each in maps.values()]
            maps["sum"] = torch.relu(normed[0] + normed[1])
        else:
            total = maps["a"] + maps["b"]
            maps["sum"] = torch.relu(self.norm(total) if self.where == "behind" else total)
        loss = functional.cross_entropy(self.last(maps["sum"].mean((2, 3))), labels)
        slopes = torch.autograd.grad(loss, [maps[name] for name in at])
        products = [(maps[name] * slope) for name, slope in zip(at, slopes, strict=True)]
        return [product.sum((0, 2, 3)).abs().detach() for product in products]


@pytest.mark.parametrize(("norm", "at"), [("none", ("sum",)), ("shared", ("sum",)), ("behind", ("a", "b"))])
def test_taylor_activation_counts_each_map_of_a_group_once(norm: str, at: tuple[str, ...]) -> None:
    model = Sums(norm)
    graph = trace(model, samples()[0][:1])
    (group,) = graph.groups
    context = ScoringContext(model, graph.layers, *samples(), groups=graph.groups, batch_size=8)
    found = run_scorer(TaylorActivation(), context).scores
    each = [model.changes(*sample, at) for sample in context.batches(1)]
    means = [sum(parts) for parts in zip(*each, strict=True)]
    want = sum(mean / mean.norm() for mean in means)
    for member in group.members:
        torch.testing.assert_close(found[member.layer], want, rtol=1e-8, atol=1e-12)
    if len(at) == 1:
        assert float(found["a"].norm()) == pytest.approx(1)


def test_a_norm_that_coupled_layers_share_counts_once() -> None:
    model = Sums("shared")
    graph = trace(model, samples()[0][:1])
    layers = [replace(layer, norm=model.norm, norm_name="norm") for layer in graph.layers]
    context = ScoringContext(model, layers, *samples(), groups=graph.groups, batch_size=8)
    scale, gates = run_scorer(BatchNormScale(), context).scores, run_scorer(TaylorWeight(), context).scores
    want = torch.zeros(4, dtype=torch.float64)
    for inputs, labels in context.batches():
        z = torch.ones(4, dtype=torch.float64, requires_grad=True)
        parts = [model.norm(layer(inputs)) * z[:, None, None] for layer in (model.a, model.b)]
        outputs = model.last(torch.relu(parts[0] + parts[1]).mean((2, 3)))
        (slope,) = torch.autograd.grad(functional.cross_entropy(outputs, labels), z)
        want += slope**2 / 3
    for name in ("a", "b"):
        torch.testing.assert_close(scale[name], model.norm.weight.detach().abs())
        torch.testing.assert_close(gates[name], want, rtol=1e-8, atol=1e-14)
