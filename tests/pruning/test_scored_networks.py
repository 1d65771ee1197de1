"""Whatever can be cut can be scored: every criterion on a network of each kind."""

from __future__ import annotations

import copy
import itertools
import random
from functools import partial
from typing import TYPE_CHECKING

import pytest
import torch
from grammar import SIDE, Grower
from pruning_networks import HEADS, WIDTH, Mixing, around, build, check_cut, example
from test_attention import Positioned, PositionMethod, PositionMlp, PositionTable
from test_joined_biases import Joining
from test_mixing import mixer
from test_own_width import Divided
from test_packed_attention import classifier
from test_sequences import sequence
from test_stated_sizes import KINDS
from torch import Tensor, nn
from transposed_networks import NETWORKS as TRANSPOSED
from transposed_networks import network as transposed_network

from benchsuite.errors import Unsupported
from benchsuite.pruning.graph import BESIDE_UNSAMPLED
from benchsuite.pruning.plain_form import make_plain
from benchsuite.pruning.settings import PruningSettings, Restriction
from benchsuite.pruning.tracing.trace import trace
from benchsuite.pruning.tracing.unsampled import unsampled_layers
from benchsuite.pruning.widths import select_widths
from benchsuite.scoring.check import run_scorer
from benchsuite.testing import tiny_trace
from benchsuite.testing.conformance import context_for
from benchsuite_scorers._coalitions import CoalitionGame
from benchsuite_scorers.registration import SCORERS

if TYPE_CHECKING:
    from collections.abc import Callable

SAMPLES = 24
RULES = PruningSettings()


class Counted(nn.Module):
    """Reads its own input and a table that a layer of no sample made of the number of channels."""

    def __init__(self) -> None:
        super().__init__()
        self.places, self.inner, self.back = nn.Linear(2, WIDTH), nn.Linear(WIDTH, 7), nn.Linear(7, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        steps = torch.linspace(0, 1, x.shape[1], dtype=x.dtype)
        return self.back(self.inner(x + self.places(torch.stack((steps, steps**2), -1))).relu())  # type: ignore[no-any-return]


class InPlace(nn.Module):
    """The first layer's output is a view of a matrix, which the activation changes in place."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(WIDTH, 7), nn.ReLU(inplace=True), nn.Linear(7, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x.contiguous())  # type: ignore[no-any-return]


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "in place behind a view": lambda: around(InPlace()),
    "token mixing": lambda: mixer(Mixing(4, 7)),
    "LSTM": sequence,
    "GRU": lambda: sequence("GRU", "last state"),
    "both directions": lambda: sequence("both directions", "last step"),
    "own width": lambda: around(Divided()),
    "packed attention": lambda: classifier("encoder"),
    "joined biases": lambda: around(Joining()),
    "stated sizes": lambda: KINDS["tuple"],
    "a network of positions": lambda: around(Positioned(PositionMlp)),
    "a network of positions by a method": lambda: around(Positioned(PositionMethod)),
    "a table of positions": lambda: around(Positioned(PositionTable)),
    "positions added": lambda: around(Counted()),
    **{f"transposed: {kind}": partial(transposed_network, kind) for kind in TRANSPOSED},
}


def scored(network: nn.Module, inputs: Tensor, labels: Tensor) -> dict[str, str]:
    """By criterion that serves no layer, why."""
    make_plain(network, inputs)
    graph = trace(network, inputs)
    why = {}
    for scorer in SCORERS if graph.groups else ():
        context = context_for(
            network,
            inputs,
            labels,
            layers=graph.layers,
            groups=graph.groups,
            trace=tiny_trace(network) if scorer.needs_training_trace else None,
            target=0.4 if scorer.needs_target else None,
        )
        try:
            run_scorer(scorer(), context)
        except Unsupported as error:
            why[scorer.name] = str(error)
    return why


@pytest.mark.parametrize("kind", NETWORKS)
def test_every_criterion_scores_it(kind: str) -> None:
    network = NETWORKS[kind]().float().eval()
    why = scored(network, example(SAMPLES), torch.arange(SAMPLES) % 5)
    assert set(why) <= {"apoz", "bn-scale", "hrank"}, why
    assert all("can serve no layer of this network" in each for each in why.values())


@pytest.mark.parametrize("seed", range(10))
def test_no_criterion_fails_on_a_random_network(seed: int) -> None:
    network = Grower(random.Random(seed)).network().float().eval()
    inputs = torch.randn(12, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        labels = torch.arange(12) % network(inputs).shape[1]
    # What has no meaning on a network, such as a norm's scale where there is none, is said.
    assert len(scored(network, inputs, labels)) <= 5


def test_layers_of_no_sample_go_with_heads_and_are_not_scored() -> None:
    network = around(Positioned(PositionMlp))
    graph = trace(network, example())
    assert graph.unsampled == {"attention.positions.fc1", "attention.positions.fc2"}
    assert not graph.unsampled & {layer.name for layer in graph.layers}
    assert not graph.unsampled & {member.layer for group in graph.groups for member in group.members}
    (heads,) = (group for group in graph.groups if group.size == HEADS)
    smaller = check_cut(network, graph, {heads.name: (1,)})
    assert smaller.get_submodule("attention.positions.fc2").out_features == HEADS - 1
    again = graph.without({heads.name: (1,)}, smaller)
    assert {group.name for group in again.groups} == {group.name for group in graph.groups}
    kept = graph.restricted(Restriction(None, ("attention.positions.fc2",)))
    assert {group.name for group in kept.groups} == {group.name for group in graph.groups} - {heads.name}
    scores = {group.name: torch.rand(group.size) for group in graph.groups}
    with pytest.raises(Unsupported, match="its units go with those that they are coupled with"):
        select_widths(graph, scores, RULES, {"attention.positions.fc2": 2}, 0)


class Placed(nn.Module):
    """Adds to units what a layer makes of positions, which another such layer may read."""

    def __init__(self, *, read: bool) -> None:
        super().__init__()
        self.read = read
        self.first, self.other, self.back = nn.Linear(WIDTH, 6), nn.Linear(2, 6), nn.Linear(6, WIDTH)
        self.next = nn.Linear(6, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        steps = torch.linspace(0, 1, x.shape[1], dtype=x.dtype)
        places = self.other(torch.stack((steps, steps**2), -1))
        found = self.back(self.first(x) + places)
        return found + self.next(places) if self.read else found  # type: ignore[no-any-return]


def test_units_that_another_layer_of_no_sample_reads_stay() -> None:
    pinned = trace(around(Placed(read=True)), example()).pinned
    assert ("attention.first", BESIDE_UNSAMPLED) in {(pin.layer, pin.reason) for pin in pinned}


def test_a_coalition_has_all_layers_of_its_units_off() -> None:
    network = around(Placed(read=False))
    inputs, labels = example(SAMPLES), torch.arange(SAMPLES) % 5
    graph = trace(network, inputs)
    (group,) = (group for group in graph.groups if group.name == "attention.first")
    assert [member.layer for member in group.unscored] == ["attention.other"]
    context = context_for(network, inputs, labels, layers=graph.layers, groups=graph.groups)
    masks = torch.tensor(list(itertools.product([False, True], repeat=group.size)))
    found = CoalitionGame(context, group, "zeroed").payoffs(masks)
    for mask, payoff in zip(masks[::5], found[::5].tolist(), strict=True):
        off = copy.deepcopy(network)
        with torch.no_grad():
            for name in ("attention.first", "attention.other"):
                layer = off.get_submodule(name)
                layer.weight[~mask], layer.bias[~mask] = 0, 0
            assert payoff == pytest.approx(float((off(inputs).argmax(1) == labels).double().mean()), abs=1e-6)
    smaller = check_cut(network, graph, {group.name: (0, 3)})
    again = graph.without({group.name: (0, 3)}, smaller)
    assert [m.layer for g in again.groups if g.name == group.name for m in g.unscored] == ["attention.other"]


class BySample(nn.Module):
    """Calls its layers for each sample, the second one twice as often and with other sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(64, 6), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.stack([self.first(sample.flatten()) for sample in x])
        twice = self.second(torch.cat((hidden, hidden)))
        return self.second(hidden) + twice[: len(x)] + twice[len(x) :]  # type: ignore[no-any-return]


def test_calls_for_each_sample_and_of_several_sizes_are_of_samples() -> None:
    assert unsampled_layers(BySample(), example()[:1]) == set()


def test_a_network_for_one_sample_alone_is_named() -> None:
    class One(BySample):
        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.first(x.view(1, 64)))  # type: ignore[no-any-return]

    with pytest.raises(Unsupported, match="runs on one sample, but not on two: RuntimeError"):
        trace(One().eval(), example())


@pytest.mark.parametrize("kind", ["resnet", "vit"])
def test_ordinary_networks_have_no_such_layers(kind: str) -> None:
    assert unsampled_layers(build(kind), example()[:1]) == set()
