"""Units are switched where surgery removes them, with all that is coupled to them."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
import torch
from grouped import Coupled, grouped, zeroed
from pruning_networks import CLASSES, NETWORKS, build, example
from torch import Tensor, nn

from benchsuite import CoupledGroup, GroupMember, GroupReader, Layer, ScoringContext, Unsupported
from benchsuite.pruning.surgery import remove_units
from benchsuite.scoring.check import run_scorer
from benchsuite.testing import context_for, tiny_convnet, tiny_samples
from benchsuite_scorers._completeness import check_readers
from benchsuite_scorers._coupled import (
    by_first_call,
    member_gates,
    reader_gates,
)
from benchsuite_scorers._partial_forward import PartialForward
from benchsuite_scorers.registration import SCORERS, ImportanceSwitch, Shapley, ThiNet

if TYPE_CHECKING:
    from benchsuite import Scorer
    from benchsuite.pruning.graph import PruningGraph

CASES = ["coupled", *NETWORKS]


def setting(name: str) -> tuple[ScoringContext, PruningGraph]:
    if name == "coupled":
        return grouped(Coupled(), *tiny_samples(6))
    inputs = example(6)
    return grouped(build(name), inputs, torch.arange(6) % CLASSES)


def masks_of(group: CoupledGroup) -> Tensor:
    """Some positions off; never all, which surgery refuses."""
    masks = torch.rand(3, group.size, generator=torch.Generator().manual_seed(0)) < 0.6
    masks[:, 0] = True
    masks[:, -1] = False
    return masks


def off(mask: Tensor) -> list[int]:
    return (~mask).nonzero().flatten().tolist()


@pytest.mark.parametrize("name", CASES)
def test_a_closed_gate_behind_the_members_is_a_unit_whose_parameters_are_zero(name: str) -> None:
    context, _ = setting(name)
    ((inputs, _),) = context.batches()
    for group in context.groups:
        rest = PartialForward(context.model, member_gates(context, group), inputs)
        masks = masks_of(group)
        with torch.no_grad():
            found = rest.run(masks.float(), len(masks)).split(len(inputs))
            for mask, outputs in zip(masks, found, strict=True):
                expected = zeroed(context, group, off(mask))(inputs)
                torch.testing.assert_close(outputs, expected, rtol=1e-4, atol=1e-5)
                assert not torch.allclose(outputs, rest.outputs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_a_closed_gate_before_the_readers_is_surgery(name: str) -> None:
    context, graph = setting(name)
    ((inputs, _),) = context.batches()
    refused = []
    for group in context.groups:
        readers = reader_gates(context, group)
        if check_readers(context, group):
            refused.append(group.name)
            continue
        rest = PartialForward(context.model, readers, inputs)
        masks = masks_of(group)
        with torch.no_grad():
            found = rest.run(masks.float(), len(masks)).split(len(inputs))
            for mask, outputs in zip(masks, found, strict=True):
                pruned = remove_units(context.model, graph, {group.name: off(mask)})
                torch.testing.assert_close(outputs, pruned(inputs), rtol=1e-4, atol=1e-5, msg=group.name)
    # They go through layer normalisations, and a group normalisation with one group.
    assert refused == {"convnext": ["stem", "conv"], "vit": ["patches"]}.get(name, [])


def test_gates_reach_every_member_and_reader() -> None:
    context, _ = setting("coupled")
    group = context.groups[0]
    assert [gate.layer for gate in member_gates(context, group).gates] == [
        "stem_norm",
        "branch_norm",
        "depthwise_norm",
    ]
    readers = reader_gates(context, group).gates
    assert [gate.layer for gate in readers] == ["inner", "side", "last"]
    last = readers[2]
    assert last.places.tolist() == [4] * 12 + [p for p in range(4) for _ in range(4)]


class Functional(nn.Module):
    """The weights of `hidden` are used, and it is never called."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.hidden, self.last = nn.Linear(4, 5), nn.Linear(5, 6), nn.Linear(6, 3)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        x = torch.relu(nn.functional.linear(x, self.hidden.weight, self.hidden.bias))
        outputs: Tensor = self.last(x)
        return outputs


class Past(nn.Module):
    """A parameter of its own reads the units of `first`, too."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(4, 5), nn.Linear(5, 3)
        self.own = nn.Parameter(torch.randn(5, 3))
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        return self.last(x) + x @ self.own


def by_hand(model: nn.Module, chain: list[str]) -> ScoringContext:
    """Groups of single layers, each read by the next of a chain."""
    layers, groups = [], []
    for name, following in itertools.pairwise(chain):
        module = model.get_submodule(name)
        layers.append(Layer(name, "linear", module))
        entries = tuple((unit,) for unit in range(layers[-1].units))
        members, readers = (GroupMember(name, entries),), (GroupReader(following, entries),)
        groups.append(CoupledGroup(name, members, layers[-1].units, readers))
    return ScoringContext(model, layers, *tiny_samples(12, (4,)), groups=groups)


@pytest.mark.parametrize("scorer", [Shapley(), ImportanceSwitch(epochs=1)])
def test_a_member_that_is_never_called_is_skipped(scorer: Shapley | ImportanceSwitch) -> None:
    result = run_scorer(scorer, by_hand(Functional(), ["first", "hidden", "last"]))
    assert "never calls hidden" in result.skipped["hidden"]
    assert set(result.scores) == {"first"}


@pytest.mark.parametrize("scorer", [ThiNet(), Shapley(off="removed")])
def test_a_reader_that_is_never_called_is_noticed(scorer: ThiNet | Shapley) -> None:
    context = by_hand(Functional(), ["first", "hidden", "last"])
    with pytest.raises(Unsupported, match="first: the forward pass never calls hidden"):
        run_scorer(scorer, context)
    assert "never calls hidden" in context.skipped["hidden"]


@pytest.mark.parametrize("scorer", [ThiNet(), Shapley(off="removed")])
def test_units_that_something_else_reads_are_skipped(scorer: ThiNet | Shapley) -> None:
    with pytest.raises(Unsupported, match="past the layers that are known"):
        run_scorer(scorer, by_hand(Past(), ["first", "last"]))


def test_multi_head_attention_is_noticed() -> None:
    class Attending(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.first, self.last = nn.Linear(4, 8), nn.Linear(8, 3)
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
            self.eval()

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x[:, None, :])
            x = x + self.attention(x, x, x, need_weights=False)[0]
            outputs: Tensor = self.last(x.mean(1))
            return outputs

    for chain in (["first", "last"], ["attention.out_proj", "last"]):
        with pytest.raises(Unsupported, match=r"past the layers|never calls attention\.out_proj"):
            run_scorer(Shapley(off="removed"), by_hand(Attending(), chain))


def test_a_norm_with_its_own_activation_is_switched_before_that() -> None:
    class NormAct(nn.BatchNorm2d):
        def __init__(self, units: int) -> None:
            super().__init__(units)
            self.act = nn.SiLU()

        def forward(self, x: Tensor) -> Tensor:
            outputs: Tensor = self.act(super().forward(x))
            return outputs

    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 3), NormAct(4), nn.Flatten(), nn.Linear(144, 3)).eval()
    entries = tuple((unit,) for unit in range(4))
    group = CoupledGroup("0", (GroupMember("0", entries),), 4)
    context = ScoringContext(
        model, [Layer("0", "conv", model[0], model[1], "1")], *tiny_samples(5), groups=[group]
    )
    ((inputs, _),) = context.batches()
    switch = torch.tensor([[0.2, 1.5, 0.0, 0.7]])
    norm = model[1]
    with torch.no_grad():
        found = PartialForward(model, member_gates(context, context.groups[0]), inputs).run(switch)
        plain = nn.functional.batch_norm(
            model[0](inputs), norm.running_mean, norm.running_var, norm.weight, norm.bias
        )
        scaled = nn.functional.silu(plain * switch[0][:, None, None])
        torch.testing.assert_close(found, model[3](scaled.flatten(1)))


def test_groups_come_in_the_order_in_which_the_network_calls_them() -> None:
    class Reversed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last, self.second, self.first = nn.Linear(5, 3), nn.Linear(6, 5), nn.Linear(4, 6)

        def forward(self, x: Tensor) -> Tensor:
            outputs: Tensor = self.last(torch.relu(self.second(torch.relu(self.first(x)))))
            return outputs

    context, graph = grouped(Reversed(), *tiny_samples(5, (4,)))
    assert [group.name for group in graph.groups] == ["second", "first"]
    assert [group.name for group in by_first_call(context, graph.groups)] == ["first", "second"]


def test_without_groups_each_layer_is_its_own() -> None:
    context = context_for(tiny_convnet(), *tiny_samples(12), groups=())
    assert [(group.name, group.size) for group in context.groups] == [("0", 6), ("4", 5), ("7", 7)]
    whole, _ = grouped(tiny_convnet(), *tiny_samples(12))
    for scorer in (Shapley(), ImportanceSwitch(epochs=2)):
        found, expected = run_scorer(scorer, context).scores, run_scorer(scorer, whole).scores
        for name, score in expected.items():
            torch.testing.assert_close(found[name], score)
    with pytest.raises(Unsupported, match="that read its units are not known"):
        run_scorer(Shapley(off="removed"), context)
    with pytest.raises(Unsupported, match="that read its units are not known"):
        run_scorer(ThiNet(), context)


def test_coupled_layers_get_the_same_scores() -> None:
    context, graph = setting("coupled")
    for scorer in (Shapley(), ImportanceSwitch(epochs=2), ThiNet()):
        scores = run_scorer(scorer, context).scores
        for group in graph.groups:
            for member in group.members:
                assert torch.equal(scores[member.layer], scores[group.name])


def test_a_layer_of_which_one_group_is_skipped_is_skipped() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3)).eval()
    groups = [
        CoupledGroup(name, (GroupMember("0", ((unit,), (unit + 1,))),), 2)
        for name, unit in (("0", 0), ("0#2", 2))
    ]
    layers = [Layer("0", "linear", model[0])]
    context = ScoringContext(model, layers, *tiny_samples(4, (4,)), groups=groups)
    both = {"0": torch.tensor([1.0, 2.0]), "0#2": torch.tensor([3.0, 4.0])}
    assert context.spread(both, {})["0"].tolist() == [1, 2, 3, 4]
    assert context.spread({"0": both["0"]}, {"0#2": "a reason"}) == {}
    assert context.skipped == {"0": "a reason"}


class Keywords(nn.Module):
    """Calls its layers by position or by keyword."""

    def __init__(self, by_keyword: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.by_keyword = by_keyword
        self.c1, self.c2 = nn.Conv2d(2, 5, 3), nn.Conv2d(5, 4, 3)
        self.norm, self.last = nn.BatchNorm2d(4), nn.Linear(4, 3)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        def call(layer: nn.Module, values: Tensor) -> Tensor:
            return layer(input=values) if self.by_keyword else layer(values)

        x = torch.relu(call(self.c1, x))
        x = torch.relu(call(self.norm, call(self.c2, x)))
        return call(self.last, x.mean((2, 3)))


@pytest.mark.parametrize("scorer", [scorer for scorer in SCORERS if not scorer.needs_training_trace])
def test_calls_by_keyword_are_calls(scorer: type[Scorer]) -> None:
    granularity = "weight" if scorer.granularity == "weight" else "unit"
    results = [
        run_scorer(scorer(), grouped(Keywords(way), *tiny_samples(6), granularity=granularity)[0])
        for way in (False, True)
    ]
    assert results[0].skipped == results[1].skipped
    assert set(results[0].scores) == set(results[1].scores)
    for name, score in results[0].scores.items():
        torch.testing.assert_close(results[1].scores[name], score)
