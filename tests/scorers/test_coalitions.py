"""Payoffs of coalitions of coupled units equal accuracies of networks that really lack the others."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
import torch
from deviations import agree
from grouped import Coupled, accuracy, balanced, grouped, learnable, zeroed
from torch import Tensor, nn

from benchsuite.pruning.surgery import remove_units
from benchsuite.testing import TinyResidual, tiny_convnet
from benchsuite_scorers._coalitions import CoalitionGame
from benchsuite_scorers.registration import Shapley
from benchsuite_scorers.shapley import exact_values

if TYPE_CHECKING:
    from collections.abc import Callable

    from deviations import Record

    from benchsuite import CoupledGroup, ScoringContext
    from benchsuite.pruning.graph import PruningGraph


def coupled() -> nn.Module:
    model = Coupled()
    return balanced(model, model.last)


def residual() -> nn.Module:
    model = TinyResidual()
    return balanced(model, model.last)


def convnet() -> nn.Module:
    model = tiny_convnet()
    return balanced(model, model[9])


class Viewed(nn.Module):
    """Flattens with `Tensor.view`, which needs the numbers in order in memory."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.inner, self.last = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 3, 3), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.max_pool2d(self.inner(self.first(x).relu()).relu(), 2)
        outputs: Tensor = self.last(x.view(x.size(0), -1))
        return outputs


def viewed() -> nn.Module:
    model = Viewed()
    return balanced(model, model.last)


class Upscaled(nn.Module):
    """A transposed convolution reads the units; its weight has the inputs first."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.up, self.last = nn.Conv2d(2, 5, 3), nn.ConvTranspose2d(5, 3, 2), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.last(self.up(self.first(x).relu()).relu().mean((2, 3)))
        return outputs


def upscaled() -> nn.Module:
    model = Upscaled()
    return balanced(model, model.last)


GROUPS: list[tuple[Callable[[], nn.Module], str]] = [
    *((convnet, name) for name in ("0", "4", "7")),
    *((residual, name) for name in ("stem", "branch")),
    *((coupled, name) for name in ("stem", "inner", "side")),
    *((viewed, name) for name in ("first", "inner")),
    (upscaled, "first"),
]
EACH = pytest.mark.parametrize(("build", "name"), GROUPS, ids=[f"{b.__name__}-{n}" for b, n in GROUPS])


def setting(build: Callable[[], nn.Module], name: str) -> tuple[ScoringContext, PruningGraph, CoupledGroup]:
    model = build()
    context, graph = grouped(model, *learnable(model), batch_size=25, classes=3)
    return context, graph, next(group for group in graph.groups if group.name == name)


def power_set(units: int) -> Tensor:
    return torch.tensor(list(itertools.product([False, True], repeat=units)))


def off(mask: Tensor) -> list[int]:
    return (~mask).nonzero().flatten().tolist()


@EACH
def test_zeroed_payoffs_are_accuracies_of_networks_with_zeros(
    build: Callable[[], nn.Module], name: str, record_property: Record
) -> None:
    context, _, group = setting(build, name)
    masks = power_set(group.size)
    game = CoalitionGame(context, group, "zeroed")
    expected = [accuracy(zeroed(context, group, off(mask)), context) for mask in masks]
    assert game.payoffs(masks).tolist() == pytest.approx(expected, abs=1e-6)
    assert len(set(expected)) > 2
    # The values by eq. 1: the mean over all orders, over the networks with zeros.
    if group.size <= 6:
        payoff = {tuple(mask.tolist()): value for mask, value in zip(masks, expected, strict=True)}
        values = [0.0] * group.size
        orders = list(itertools.permutations(range(group.size)))
        for order in orders:
            on = [False] * group.size
            for unit in order:
                before = payoff[tuple(on)]
                on[unit] = True
                values[unit] += (payoff[tuple(on)] - before) / len(orders)
        found = Shapley().estimate(context, group).values
        agree(record_property, "shapley", found, values, rel=0, absolute=1e-6)


@EACH
def test_removed_payoffs_are_accuracies_after_surgery(build: Callable[[], nn.Module], name: str) -> None:
    context, graph, group = setting(build, name)
    masks = power_set(group.size)[1:]
    found = CoalitionGame(context, group, "removed").payoffs(masks)
    expected = [
        accuracy(remove_units(context.model, graph, {group.name: off(mask)}), context) for mask in masks
    ]
    assert found.tolist() == pytest.approx(expected, abs=1e-6)
    assert len(set(expected)) > 2
    estimate = Shapley(off="removed", method="exact").estimate(context, group)
    nothing = float(CoalitionGame(context, group, "removed").payoffs(masks[:1] & False))
    assert float(estimate.values.sum()) == pytest.approx(expected[-1] - nothing)


def test_zeroed_and_removed_differ_where_something_follows_a_zero() -> None:
    # All that follows the units of "branch" belongs to the group, so that its zeros stay zeros.
    context, _, group = setting(residual, "branch")
    masks = power_set(group.size)
    zero, gone = (CoalitionGame(context, group, how).payoffs(masks) for how in ("zeroed", "removed"))
    assert torch.equal(zero, gone)
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Sigmoid(), nn.Flatten(), nn.Linear(144, 3)).eval()
    context, graph = grouped(model, *learnable(model), batch_size=25, classes=3)
    masks = power_set(4)
    zero, gone = (
        CoalitionGame(context, graph.groups[0], how).payoffs(masks) for how in ("zeroed", "removed")
    )
    assert not torch.equal(zero, gone)


@pytest.mark.parametrize("how", ["zeroed", "removed"])
def test_one_reading_layer_is_the_fast_way(how: str) -> None:
    for build, name, fast in (
        (convnet, "0", True),
        (convnet, "4", True),
        (residual, "branch", True),
        (coupled, "inner", True),
        (viewed, "first", True),
        (residual, "stem", False),
        (coupled, "stem", False),
    ):
        context, _, group = setting(build, name)
        game = CoalitionGame(context, group, how)
        game.payoffs(power_set(group.size)[:2])
        assert {batch.contributions is not None for batch in game._kept.values()} == {fast}


class TwoReaders(nn.Module):
    """Two layers read what a sigmoid makes of the units, which is not zero where they are."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.inner, self.last = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 3, 1), nn.Linear(36 * 7, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.sigmoid(3 * self.first(x))
        outputs: Tensor = self.last(torch.cat([self.inner(x).square(), x], 1).flatten(1))
        return outputs


def test_removed_is_surgery_where_two_layers_read_what_is_not_zero() -> None:
    model = TwoReaders().eval()
    context, graph = grouped(model, *learnable(model), batch_size=25, classes=3)
    (group,) = (group for group in graph.groups if group.name == "first")
    assert len(group.readers) == 2
    masks = power_set(4)[1:]
    zero, gone = (CoalitionGame(context, group, how).payoffs(masks).tolist() for how in ("zeroed", "removed"))
    cut = [accuracy(remove_units(model, graph, {"first": off(mask)}), context) for mask in masks]
    assert gone == pytest.approx(cut, abs=1e-6)
    assert zero == pytest.approx([accuracy(zeroed(context, group, off(m)), context) for m in masks], abs=1e-6)
    assert zero != gone


class Mixing(nn.Module):
    """A softmax over the units before the layer that reads them, so that they do not act apart."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.last(torch.nn.functional.layer_norm(self.first(x).softmax(-1), (5,)))
        return outputs


def test_units_that_do_not_act_apart_are_computed_in_full() -> None:
    from benchsuite import CoupledGroup, GroupMember, GroupReader, Layer, ScoringContext
    from benchsuite.testing import tiny_samples

    model = Mixing().eval()
    inputs, _ = tiny_samples(60, (4,))
    with torch.no_grad():
        outputs = model(inputs)
    labels = (outputs - outputs.mean(0)).argmax(1)
    entries = tuple((unit,) for unit in range(5))
    group = CoupledGroup("first", (GroupMember("first", entries),), 5, (GroupReader("last", entries),))
    context = ScoringContext(model, [Layer("first", "linear", model.first)], inputs, labels, groups=[group])
    masks = power_set(5)
    game = CoalitionGame(context, group, "zeroed")
    expected = [accuracy(zeroed(context, group, off(mask)), context) for mask in masks]
    assert game.payoffs(masks).tolist() == pytest.approx(expected, abs=1e-6)
    assert all(batch.contributions is None for batch in game._kept.values())
    assert len(set(expected)) > 5


def test_exact_values_of_a_coupled_group_are_those_of_its_payoffs() -> None:
    context, _, group = setting(coupled, "stem")
    game = CoalitionGame(context, group, "zeroed")
    expected = exact_values(game.payoffs, group.size).values
    scores = Shapley().score(context)
    for member in group.members:
        assert torch.equal(scores[member.layer], expected)
    assert len(set(expected.tolist())) == 3
