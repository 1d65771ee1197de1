"""Targets for some layers each: `[[pruning.layers]]` and the sparsity "layers"."""

from __future__ import annotations

import copy
import csv
import io
import json
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pruning_networks import build, check_cut, example
from torch import nn

from benchsuite import cli
from benchsuite.errors import Collapsed, Unsupported, UsageError
from benchsuite.metrics.cost import measure_cost
from benchsuite.plan.matrix import build_plan
from benchsuite.pruning.layer_targets import TargetedLayers
from benchsuite.pruning.networks import MaskedNetwork, PrunedNetwork, SmallerNetwork
from benchsuite.pruning.settings import PruningSettings
from benchsuite.pruning.targets import Threshold, Width
from benchsuite.pruning.tracing.trace import trace
from benchsuite.pruning.units_and_weights import without_units_and_weights
from benchsuite.registry.discovery import discover_shipped
from benchsuite.store.run_directory import RunDirectory
from benchsuite.store.stages import load_tensors
from benchsuite.suite.reading import load_suite
from benchsuite.trials.facts import PRUNED, SCORES, pruned_stage
from benchsuite_leaderboard.grouping import boards
from benchsuite_leaderboard.protocol import OWN_TARGETS, TARGETS, is_shared

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from benchsuite.plan.trial import Trial
    from benchsuite.pruning.graph import PruningGraph
    from benchsuite.pruning.targets import Target

BY_LAYER = PruningSettings(scope="layer", budget="macs", normalise="none")


def network_of(kind: type[PrunedNetwork], network: nn.Module, rules: PruningSettings) -> PrunedNetwork:
    graph = trace(network, example())
    return kind(network, graph, measure_cost(network, example()[:1]), rules, 0, example())


def scores_of(graph: PruningGraph, *, of_weights: bool = False) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)
    layers = graph.weight_layers if of_weights else graph.layers
    shapes = {layer.name: layer.weight.shape if of_weights else (layer.units,) for layer in layers}
    return {name: torch.rand(shape, generator=generator) for name, shape in shapes.items()}


def position_scores(graph: PruningGraph, scores: dict[str, Tensor]) -> dict[str, list[float]]:
    """The mean over layers of the mean over a layer's units, written apart from the engine."""
    found = {}
    for group in graph.groups:
        rows = [
            [sum(float(scores[m.layer][u]) for u in m.units[i]) / len(m.units[i]) for m in group.members]
            for i in range(group.size)
        ]
        found[group.name] = [sum(row) / len(row) for row in rows]
    return found


TWO = {
    "mlp": (("1",), ("3",)),
    "resnet": (("stage1.conv1",), ("stage2.conv1",)),
}
"""Patterns for two targets in each kind of network."""


def named(graph: PruningGraph, patterns: tuple[str, ...]) -> list[Any]:
    """The groups all of whose layers one of the patterns matches."""
    return [
        group
        for group in graph.groups
        if all(any(fnmatchcase(m.layer, pattern) for pattern in patterns) for m in group.members)
    ]


@pytest.mark.parametrize("kind", ["mlp", "resnet"])
@settings(max_examples=15, deadline=None)
@given(first=st.floats(0, 0.85), second=st.floats(0, 0.85))
def test_each_target_takes_its_share_of_its_layers_and_others_stay(
    kind: str, first: float, second: float
) -> None:
    network = build(kind)
    cut = network_of(SmallerNetwork, network, BY_LAYER)
    graph = trace(network, example())
    scores = scores_of(graph)
    shares = dict(zip(TWO[kind], (first, second), strict=True))
    cut.cut_layers([TargetedLayers(names, share, BY_LAYER, scores) for names, share in shares.items()])
    of_position = position_scores(graph, scores)
    seen = set()
    for patterns, share in shares.items():
        (group,) = named(graph, patterns)
        seen.add(group.name)
        gone = cut.removed.get(group.name, ())
        assert abs(len(gone) / group.size - share) <= 0.5 / group.size + 1e-9
        lowest = sorted(range(group.size), key=of_position[group.name].__getitem__)[: len(gone)]
        assert sorted(lowest) == list(gone)
    assert cut.removed.keys() <= seen
    smaller = check_cut(network, graph, cut.removed)
    torch.testing.assert_close(cut.model(example()), smaller(example()))
    assert cut.metrics["sparsity/params"] == pytest.approx(
        1 - sum(p.numel() for p in smaller.parameters()) / sum(p.numel() for p in network.parameters())
    )


def test_kinds_of_targets_stand_side_by_side() -> None:
    network = build("mlp")
    graph = trace(network, example())
    scores = scores_of(graph)
    first, second = graph.groups
    keep = {layer.name: torch.arange(layer.units) % 3 != 0 for layer in graph.layers}
    every: list[tuple[Target, list[int]]] = [
        (Width(3), sorted(sorted(range(first.size), key=scores["1"].__getitem__)[: first.size - 3])),
        (Threshold(0.5), [i for i in range(first.size) if scores["1"][i] < 0.5]),
        ("native", [i for i in range(first.size) if i % 3 == 0]),
        (0.0, []),
    ]
    for target, expected in every:
        cut = network_of(SmallerNetwork, network, BY_LAYER)
        cut.cut_layers(
            [
                TargetedLayers(("1",), target, BY_LAYER, scores, keep),
                TargetedLayers(("3",), Width(second.size - 1), BY_LAYER, scores),
            ]
        )
        assert list(cut.removed.get(first.name, ())) == expected
        assert cut.removed[second.name] == (int(scores["3"].argmin()),)


def test_units_that_the_rule_merges_are_merged() -> None:
    network = build("mlp")
    graph = trace(network, example())
    scores = scores_of(graph)
    keep = {"1": torch.ones(graph.layers[0].units, dtype=torch.bool)}
    keep["1"][2] = False
    by_rule, by_target = (network_of(SmallerNetwork, network, BY_LAYER) for _ in range(2))
    by_rule.cut_by_rule(keep, {"1": [(2, 0)]})
    by_target.cut_layers(
        [
            TargetedLayers(("1",), "native", BY_LAYER, scores, keep, {"1": [(2, 0)]}),
            TargetedLayers(("3",), 0.0, BY_LAYER, scores),
        ]
    )
    assert torch.equal(by_rule.model(example()), by_target.model(example()))


def test_units_that_the_rule_would_merge_elsewhere_stay_as_they_are() -> None:
    network = build("mlp")
    scores = scores_of(trace(network, example()))
    keep = {name: torch.ones(len(score), dtype=torch.bool) for name, score in scores.items()}
    keep["1"][2] = keep["3"][1] = False
    scores["3"][1] = -1  # it goes by its score, not by the rule
    with_rule, without = (network_of(SmallerNetwork, network, BY_LAYER) for _ in range(2))
    merges = {"1": [(2, 0)], "3": [(1, 0)]}
    with_rule.cut_layers(
        [
            TargetedLayers(("1",), "native", BY_LAYER, scores, keep, merges),
            TargetedLayers(("3",), 0.25, BY_LAYER, scores, keep, merges),
        ]
    )
    without.cut_layers(
        [
            TargetedLayers(("1",), "native", BY_LAYER, scores, keep, {"1": [(2, 0)]}),
            TargetedLayers(("3",), 0.25, BY_LAYER, scores),
        ]
    )
    assert torch.equal(with_rule.model(example()), without.model(example()))


@settings(max_examples=20, deadline=None)
@given(units=st.floats(0, 0.85), weights=st.floats(0, 0.9), seed=st.integers(0, 100))
def test_of_what_the_units_leave_weights_go(units: float, weights: float, seed: int) -> None:
    """A network of three linear layers by hand: units of the first two, weights of the last."""
    torch.manual_seed(seed)
    network = ThreeLayers()
    graph, inputs = trace(network.eval(), example()), example()
    of_units = {"1": torch.rand(12), "3": torch.rand(8)}
    of_weights = {"5": torch.rand(10, 8), "3": torch.rand(8, 12), "1": torch.rand(12, 64)}
    cut = without_units_and_weights(
        *(network, graph, measure_cost(network, inputs[:1]), BY_LAYER, 0, inputs),
        (
            [
                TargetedLayers(("1",), units, BY_LAYER, of_units),
                TargetedLayers(("3",), 0.5, BY_LAYER, of_units),
            ],
            [TargetedLayers(("5",), weights, BY_LAYER, of_weights)],
        ),
    )
    first, second = (
        sorted(range(len(of_units[name])), key=of_units[name].__getitem__)[count:]
        for name, count in (("1", len(cut.removed.get("1", ()))), ("3", 4))
    )
    assert abs((12 - len(first)) / 12 - units) <= 0.5 / 12 + 1e-9
    masked = copy.deepcopy(network)
    last = of_weights["5"][:, sorted(second)]
    gone = int((cut.model.get_submodule("5").weight == 0).sum())
    assert abs(gone - weights * 40) <= 0.5 + 1e-9
    worst = last.flatten().sort().values[gone - 1] if gone else -1
    with torch.no_grad():
        masked[1].weight[[i for i in range(12) if i not in first]] = 0
        masked[1].bias[[i for i in range(12) if i not in first]] = 0
        masked[5].weight[:, [i for i in range(8) if i not in second]] = 0
        masked[5].weight[of_weights["5"] <= worst] = 0
    torch.testing.assert_close(cut.model(inputs), masked(inputs))
    left = 64 * len(first) + len(first) + 4 * len(first) + 4 + 40 + 10
    dense = sum(parameter.numel() for parameter in network.parameters())
    assert cut.metrics["sparsity/params"] == pytest.approx(1 - (left - gone) / dense)
    assert cut.metrics["sparsity/macs"] == pytest.approx(
        1 - (68 * len(first) + 40 - gone) / (64 * 12 + 12 * 8 + 80)
    )
    assert cut.metrics["sparsity/units"] == pytest.approx((12 - len(first) + 4) / 20)
    assert (cut.cost.params, cut.cost.nonzero_params) == (left, left - gone)


@pytest.mark.parametrize("target", [0.4, Threshold(0.3), "native"])
def test_of_convolutions_too(target: Any) -> None:
    """Half of the units of one block, then weights of what reads them and of others."""
    network, inputs = build("resnet"), example()
    graph = trace(network, inputs)
    of_units, of_weights = scores_of(graph), scores_of(graph, of_weights=True)
    keep = {name: score > 0.6 for name, score in of_weights.items()}
    cut = without_units_and_weights(
        *(network, graph, measure_cost(network, inputs[:1]), BY_LAYER, 0, inputs),
        (
            [TargetedLayers(("stage1.conv1",), 0.5, BY_LAYER, of_units)],
            [TargetedLayers(("stage1.conv2", "stage2.conv*"), target, BY_LAYER, of_weights, keep)],
        ),
    )
    ((name, gone),) = cut.removed.items()
    masked = copy.deepcopy(network)
    (group,) = (each for each in graph.groups if each.name == name)
    ((member),) = group.members
    units = [unit for position in gone for unit in member.units[position]]
    stays = [unit for unit in range(graph_layer(graph, "stage1.conv1").units) if unit not in units]
    for layer in ("stage1.conv2", "stage2.conv1", "stage2.conv2"):
        weight, here = masked.get_submodule(layer).weight, of_weights[layer]
        small = cut.model.get_submodule(layer).weight
        left = here[:, stays] if layer == "stage1.conv2" else here
        assert small.shape == left.shape
        zeros = small == 0
        if target == "native":
            assert torch.equal(zeros, left <= 0.6)
        elif isinstance(target, Threshold):
            assert torch.equal(zeros, left < 0.3)
        else:
            assert abs(int(zeros.sum()) - 0.4 * left.numel()) <= 1
            assert left[zeros].max() <= left[~zeros].min()
        with torch.no_grad():
            if layer == "stage1.conv2":
                weight[:, units] = 0
                weight[:, stays] = weight[:, stays] * ~zeros
            else:
                weight *= ~zeros
    torch.testing.assert_close(cut.model(inputs), masked(inputs))


@pytest.mark.parametrize("masked", ["3", "5"])
def test_other_weights_lose_the_same_units_and_weights(masked: str) -> None:
    """Of layers that read what went, and of others; `scratch` trains such weights."""
    network, other = ThreeLayers(), ThreeLayers()
    graph, inputs = trace(network.eval(), example()), example()
    of_units, of_weights = {"1": torch.rand(12)}, {masked: torch.rand(network[int(masked)].weight.shape)}
    cut = without_units_and_weights(
        *(network, graph, measure_cost(network, inputs[:1]), BY_LAYER, 0, inputs),
        (
            [TargetedLayers(("1",), 0.5, BY_LAYER, of_units)],
            [TargetedLayers((masked,), 0.5, BY_LAYER, of_weights)],
        ),
    )
    before = cut.model.state_dict()
    cut.take_weights(other)
    after = cut.model.state_dict()
    assert {name: value.shape for name, value in after.items()} == {n: v.shape for n, v in before.items()}
    zeros = before[f"{masked}.weight"] == 0
    assert torch.equal(after[f"{masked}.weight"] == 0, zeros)
    stays = [unit for unit in range(12) if unit not in cut.removed["1"]]
    assert torch.equal(after["1.weight"], other[1].weight[stays])
    whole = other[int(masked)].weight[:, stays] if masked == "3" else other[int(masked)].weight
    assert torch.equal(after[f"{masked}.weight"], whole * ~zeros)


class ThreeLayers(nn.Sequential):
    def __init__(self) -> None:
        layers = (nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 10))
        super().__init__(nn.Flatten(), *layers)


def test_targets_of_equal_scores_lose_different_positions() -> None:
    """What chance decides in one target says nothing of another."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU())
    network.append(nn.Linear(40, 10))
    graph = trace(network.eval(), example())
    cut = network_of(SmallerNetwork, network, BY_LAYER)
    scores = {layer.name: torch.ones(40) for layer in graph.layers}
    cut.cut_layers([TargetedLayers((name,), 0.5, BY_LAYER, scores) for name in ("1", "3")])
    first, second = cut.removed.values()
    assert len(first) == len(second) == 20
    assert first != second


class Tied(nn.Module):
    """Two layers with one weight, between others."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.a, self.b = nn.Linear(64, 12), nn.Linear(12, 12), nn.Linear(12, 12)
        self.mid, self.out = nn.Linear(12, 14), nn.Linear(14, 10)
        self.b.weight = self.a.weight

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.stem(inputs.flatten(1)).relu()
        return self.out(self.mid(self.b(self.a(hidden).relu()).relu()).relu())


@pytest.mark.parametrize("kind", [SmallerNetwork, MaskedNetwork])
@pytest.mark.parametrize(
    "tables",
    [[("b", "mid")], [("a", "mid")], [("b*", "mid")], [("a", "mid"), ("b", "out")], [("mid",), ("b",)]],
)
def test_one_of_two_layers_with_one_weight_does_not_stay_unseen(
    kind: type[PrunedNetwork], tables: list[tuple[str, ...]]
) -> None:
    network = Tied().eval()
    scores = scores_of(trace(network, example()), of_weights=kind is MaskedNetwork)
    cut = network_of(kind, network, BY_LAYER)
    with pytest.raises(Unsupported, match=r"[ab] shares its weight with [ab]: .* names both, or none does"):
        cut.cut_layers([TargetedLayers(names, 0.5, BY_LAYER, scores) for names in tables])
    if kind is MaskedNetwork:
        cut.cut_layers([TargetedLayers(("a", "b"), 0.5, BY_LAYER, scores)])
        assert int((cut.model.get_submodule("a").weight == 0).sum()) == 72


@pytest.mark.parametrize("target", [0.5, Width(4), Threshold(0.5), "native"])
def test_a_layer_that_is_named_and_cannot_lose_units_is_told(target: Any) -> None:
    network = build("mlp")
    graph = trace(network, example())
    scores = scores_of(graph)
    keep = {layer.name: torch.arange(layer.units) > 0 for layer in graph.weight_layers}
    cut = network_of(SmallerNetwork, network, BY_LAYER)
    with pytest.raises(Unsupported, match=r"no unit of 5 can go, .*: it is the network's output"):
        cut.cut_layers([TargetedLayers(("3", "5"), target, BY_LAYER, scores, keep)])
    # A pattern may match layers of which nothing can go.
    cut.cut_layers([TargetedLayers(("[35]",), 0.5, BY_LAYER, scores, keep)])
    assert len(cut.removed) == 1


def graph_layer(graph: PruningGraph, name: str) -> Any:
    return next(layer for layer in graph.layers if layer.name == name)


@pytest.mark.parametrize("scope", ["layer", "global", "protected", "row"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.75])
def test_of_weights_each_target_takes_its_share(scope: Any, share: float) -> None:
    network, rules = build("resnet"), PruningSettings(scope=scope, budget="params", normalise="none")
    graph = trace(network, example())
    scores = scores_of(graph, of_weights=True)
    cut = network_of(MaskedNetwork, network, rules)
    cut.cut_layers(
        [
            TargetedLayers(("stage1.*",), share, rules, scores),
            TargetedLayers(("fc",), Threshold(0.25), rules, scores),
        ]
    )
    zeros = {
        layer.name: cut.model.get_submodule(layer.name).get_parameter("weight") == 0
        for layer in graph.weight_layers
    }
    mine = [name for name in zeros if name.startswith("stage1.")]
    total = sum(zeros[name].numel() for name in mine)
    gone = sum(int(zeros[name].sum()) for name in mine)
    # "row" and "layer" reach the same fraction in several parts at once.
    assert abs(gone - share * total) <= (0.5 if scope in ("global", "protected") else 16)
    if scope == "global" and gone:
        worst = max(float(scores[name][zeros[name]].max()) for name in mine if zeros[name].any())
        assert worst <= min(float(scores[name][~zeros[name]].min()) for name in mine)
    assert torch.equal(zeros["fc"], scores["fc"] < 0.25)
    assert not any(bool(mask.any()) for name, mask in zeros.items() if name not in {*mine, "fc"})
    removed = sum(int(mask.sum()) for mask in zeros.values())
    assert cut.metrics["sparsity/params"] == removed / sum(p.numel() for p in network.parameters())


def test_half_of_the_weights_in_pairs() -> None:
    rules = PruningSettings(scope="2:4", normalise="none")
    network = build("mlp")
    scores = scores_of(trace(network, example()), of_weights=True)
    cut = network_of(MaskedNetwork, network, rules)
    cut.cut_layers([TargetedLayers(("3",), 0.5, rules, scores)])
    zeros = cut.model.get_submodule("3").get_parameter("weight") == 0
    assert (zeros.unflatten(1, (-1, 4)).sum(2) == 2).all()
    assert not (cut.model.get_submodule("1").get_parameter("weight") == 0).any()
    with pytest.raises(Unsupported, match="2:4 removes half"):
        network_of(MaskedNetwork, network, rules).cut_layers([TargetedLayers(("3",), 0.4, rules, scores)])


KEEPS_NOTHING = {"1": torch.zeros(1, dtype=torch.bool)}


@pytest.mark.parametrize(
    ("kind", "targets", "error", "message"),
    [
        (SmallerNetwork, {("q",): 0.5}, UsageError, r"layers has 'q', which no layer of this network"),
        (SmallerNetwork, {("1",): 0.5, ("3", "*"): 0.2}, UsageError, r"two of \[\[pruning.layers\]\] name 1"),
        (
            SmallerNetwork,
            {("5",): 0.5},
            Unsupported,
            r"no unit of 5 can go, .* \(5: it is the ne",
        ),
        (SmallerNetwork, {("1",): Width(1000)}, UsageError, "keeps 1000 units of 1, which has"),
        (SmallerNetwork, {("1",): Threshold(2.0)}, Collapsed, r"no unit of 1 scores 2 or more; .*is 0\.9"),
        (MaskedNetwork, {("1",): Threshold(2.0)}, Collapsed, "no weight of 1 scores 2 or more"),
        (MaskedNetwork, {("1",): Width(2)}, Unsupported, "widths are numbers of units"),
        (MaskedNetwork, {("1",): "native"}, Collapsed, "the rule keeps no weight of 1"),
    ],
)
def test_what_cannot_be_is_said(
    kind: type[PrunedNetwork], targets: dict[Any, Any], error: type[Exception], message: str
) -> None:
    network = build("mlp")
    scores = scores_of(trace(network, example()), of_weights=kind is MaskedNetwork)
    cut = network_of(kind, network, BY_LAYER)
    with pytest.raises(error, match=message):
        cut.cut_layers([TargetedLayers(n, t, BY_LAYER, scores, KEEPS_NOTHING) for n, t in targets.items()])


@pytest.mark.parametrize("target", [0.2, Threshold(0.1), "native"])
@pytest.mark.parametrize("kind", [SmallerNetwork, MaskedNetwork])
def test_a_target_of_layers_of_which_nothing_is_said_is_not_missed_unseen(
    kind: type[PrunedNetwork], target: Any
) -> None:
    network = build("mlp")
    scores = scores_of(trace(network, example()), of_weights=kind is MaskedNetwork)
    keep = {name: score > 0.5 for name, score in scores.items()}
    for said in (scores, keep):
        del said["3"]
    cut = network_of(kind, network, BY_LAYER)
    with pytest.raises(
        Unsupported, match=r"(gives no scores for|says by its own rule nothing of) 3, (which|nor)"
    ):
        cut.cut_layers([TargetedLayers(("1", "3"), target, BY_LAYER, scores, keep)])
    cut.cut_layers([TargetedLayers(("1",), target, BY_LAYER, scores, keep)])


def test_more_than_the_floor_allows_is_said() -> None:
    rules = PruningSettings(scope="protected", floor=0.5, normalise="none")
    network = build("mlp")
    graph = trace(network, example())
    with pytest.raises(Unsupported, match=r"can remove at most 50\.0% of the units, not 80\.0%"):
        network_of(SmallerNetwork, network, rules).cut_layers(
            [TargetedLayers(("1",), 0.8, rules, scores_of(graph))]
        )
    with pytest.raises(Unsupported, match=r"can remove at most 50\.0% of the weights, not 80\.0%"):
        network_of(MaskedNetwork, network, rules).cut_layers(
            [TargetedLayers(("1",), 0.8, rules, scores_of(graph, of_weights=True))]
        )


SUITE = """
[suite]
name = "some"
seeds = [0]
sparsities = {sparsities}
scorers = ["magnitude-l1", "fisher"]
controls = ["random", {{name = "shuffled", of = ["fisher"], draws = 1}}]

[[workload]]
dataset = "digits"
models = ["mlp"]

[training]
epochs = 1

[recovery]
epochs = 0.5

[metrics]
latency = false

[pruning]
{pruning}
"""
ONE = '[[pruning.layers]]\npattern = "hidden1"\ntarget = {}\n'


def read(folder: Path, sparsities: str, pruning: str) -> Any:
    path = folder / "suite.toml"
    path.write_text(SUITE.format(sparsities=sparsities, pruning=pruning))
    return load_suite(path, discover_shipped())


@pytest.mark.parametrize(
    ("sparsities", "pruning", "message"),
    [
        ('["layers"]', "", r'"layers" needs tables \[\[pruning.layers\]\]'),
        ('["layers"]', 'layers = ["a"]', r'"layers" needs tables \[\[pruning.layers\]\]'),
        ("[0.5]", ONE.format("0.5"), r'would do nothing: add "layers" to \[suite\] sparsities'),
        ('["layers"]', 'keep = ["b"]\n' + ONE.format("0.5"), "already says which layers lose something"),
        ('["layers", "widths"]', "widths = { a = 1 }\n" + ONE.format("0.5"), "already says which layers"),
        ('["layers"]', 'layers = ["a", { pattern = "b", target = 0.5 }]', "already says which layers"),
        ('["layers"]', ONE.format("1.0"), r"target.*a target is a fraction in \[0, 1\)"),
        ('["layers"]', ONE.format("true"), "a target is a fraction"),
        ('["layers"]', ONE.format('"widths"'), "a target is a fraction"),
        ('["layers"]', ONE.format("{ width = 0 }"), "a target is a fraction"),
        ('["layers"]', ONE.format("{ width = 1, threshold = 2 }"), "a target is a fraction"),
        ('["layers"]', ONE.format("{ threshold = inf }"), "a target is a fraction"),
        ('["layers"]', '[[pruning.layers]]\npattern = "a"', "target"),
        ('["layers"]', "[[pruning.layers]]\ntarget = 0.5\npattern = []", "pattern"),
        ('["layers"]', ONE.format("0.5") + "wrong = 1", "wrong"),
        ('["layers"]', ONE.format("0.5") + 'scorer = "fishr"', "did you mean 'fisher'"),
        ('["layers"]', ONE.format("0.5") + 'scorer = "all"', 'one of them, not "all"'),
        ('["layers"]', ONE.format("0.5") + 'scorer = { name = "random", draws = 2 }', "leave out 'draws'"),
        ('["layers"]', ONE.format("0.5") + 'scorer = "fisher"', "each of .* has a scorer of its own"),
        ('["layers"]', ONE.format("0.5") + 'granularity = "units"', "'units' is not one of unit, weight"),
        (
            '["layers"]',
            ONE.format("{ width = 2 }") + 'granularity = "weight"',
            "a width is a number of units",
        ),
        ('["layers"]', "layers = [5]", "layers"),
        ('["layers"]', ONE.format("0.5") + ONE.format("0.25"), "two of .* name 'hidden1'"),
        ('["layers"]', ONE.format("0.9999999999999"), "is 1 to 12 digits"),
        ('["layers"]', "normalise = 'mean'\n" + ONE.format("{ threshold = 1 }"), "leave out 'normalise'"),
    ],
)
def test_a_suite_that_contradicts_itself_is_refused(
    sparsities: str, pruning: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        read(tmp_path, sparsities, pruning)


def plan_of(folder: Path, pruning: str, scorers: str = '["magnitude-l1", "fisher"]') -> list[Trial]:
    suite = SUITE.format(sparsities='["layers"]', pruning=pruning)
    text = suite.replace('["magnitude-l1", "fisher"]', scorers).replace(
        '"mlp"', '{ name = "mlp", hidden = [9, 9] }'
    )
    (folder / "suite.toml").write_text(text)
    return build_plan(load_suite(folder / "suite.toml", discover_shipped()), discover_shipped(), folder)


TWO_TABLES = (
    '[[pruning.layers]]\npattern = ["hidden1", "output"]\ntarget = 0\n',
    '[[pruning.layers]]\npattern = "hidden2"\ntarget = 0.25\nscorer = "fisher"\n',
)


@pytest.mark.parametrize(
    "pruning",
    [
        TWO_TABLES[1] + TWO_TABLES[0],
        "".join(TWO_TABLES).replace("target = 0\n", "target = -0.0\n"),
        "".join(TWO_TABLES).replace('["hidden1", "output"]', '["output", "hidden1", "output"]'),
        "".join(TWO_TABLES) + 'granularity = "unit"\n',
        "".join(TWO_TABLES).replace('"fisher"', '{ name = "fisher" }'),
    ],
)
def test_ways_to_write_one_suite_are_one(tmp_path: Path, pruning: str) -> None:
    here, there = (plan_of(tmp_path, text) for text in ("".join(TWO_TABLES), pruning))
    assert [trial.key for trial in here] == [trial.key for trial in there]
    assert [trial.shared for trial in here] == [trial.shared for trial in there]


@pytest.mark.parametrize(
    "pruning",
    [
        'granularity = ["unit", "weight"]\n' + "".join(TWO_TABLES) + 'granularity = "weight"\n',
        'granularity = ["unit", "weight"]\n' + "".join(TWO_TABLES),
        'schedule = ["one-shot", "at-init"]\nscope = ["layer", "global"]\n' + "".join(TWO_TABLES),
    ],
)
def test_no_two_cells_are_told_apart_by_their_keys_alone(tmp_path: Path, pruning: str) -> None:
    trials = plan_of(tmp_path, pruning)
    told = [json.dumps([trial.axes, trial.shared], sort_keys=True) for trial in trials]
    assert len(set(told)) == len(told) == len({trial.key for trial in trials})


def test_criteria_of_several_tables_do_not_stand_for_each_other(tmp_path: Path) -> None:
    """Nor do their random numbers; those of a table are the same in all cells."""
    tables = TWO_TABLES[0].replace('["hidden1", "output"]', '"hidden1"')
    tables += TWO_TABLES[1].replace('"fisher"', '"random"')
    more = TWO_TABLES[1].replace('"hidden2"', '"output"').replace('"fisher"', '"obd"')
    trials = plan_of(tmp_path, tables + more)
    for trial in trials:
        hidden1, hidden2, output = trial.targets
        assert (hidden1.own, hidden2.own, output.own) == (False, True, True)
        assert hidden1.score is trial.score
        assert (hidden2.score.scorer.name, output.score.scorer.name) == ("random", "obd")
        assert (hidden2.score.draw, output.score.draw) == (0, 0)
        assert len({each.score.stream for each in trial.targets}) == 3
    assert len({trial.targets[1].score.key for trial in trials}) == 1


@pytest.mark.parametrize(
    ("granularity", "table", "served", "not_served"),
    [
        ("unit", "", "apoz", "wanda"),
        ("unit", 'granularity = "weight"\n', "wanda", "apoz"),
        ("weight", 'granularity = "unit"\n', "apoz", "wanda"),
        ("weight", "", "wanda", "apoz"),
    ],
)
def test_all_are_those_that_serve_what_the_cell_s_criterion_decides(
    tmp_path: Path, granularity: str, table: str, served: str, not_served: str
) -> None:
    pruning = f'granularity = "{granularity}"\n{ONE.format("0.5")}{table}'
    names = {trial.score.scorer.name for trial in plan_of(tmp_path, pruning, '["all"]')}
    assert served in names
    assert not_served not in names


@pytest.mark.slow
def test_a_suite_of_targets_compares_criteria_at_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(name: str, sparsities: str, pruning: str) -> list[Any]:
        folder = tmp_path / name
        folder.mkdir()
        read(folder, sparsities, pruning)
        code = cli.main(["run", str(folder / "suite.toml"), "--output", str(folder / "run"), "--jobs", "1"])
        records = list(RunDirectory(folder / "run").results().records)
        assert code == (1 if any(record.status == "failed" for record in records) else 0)
        return records

    shares = run("shares", "[0.5]", "")
    records = run("half", '[0.5, "layers"]', ONE.format("0.2"))
    mine = [record for record in records if record.axes["sparsity"] == "layers"]
    assert {r.key for r in records if r not in mine} == {r.key for r in shares}, "other cells are the same"
    assert {record.axes["scorer"] for record in mine} == {record.axes["scorer"] for record in records}
    assert {record.status for record in mine} == {"done"}
    for record in mine:
        path = tmp_path / "half" / "run" / "stages" / record.key / "layers.csv"
        units = {row["layer"]: row for row in csv.DictReader(io.StringIO(path.read_text()))}
        assert 5 * int(units["hidden1"]["units"]) == 4 * int(units["hidden1"]["units_dense"])
        assert units["output"]["units"] == units["output"]["units_dense"]
    packed = str(tmp_path / "half.jsonl.gz")
    assert cli.main(["submit", str(tmp_path / "half" / "run"), "--output", packed]) == 0
    assert cli.main(["verify", packed]) == 0
    (board,) = boards(mine)
    assert [t.block.sparsity for t in board.trials] == [TARGETS] * len(mine)
    assert is_shared(TARGETS)
    assert board.protocol.layers == "hidden1: 20% removed"
    assert "targets by layer" in capsys.readouterr().out

    masks = run("masks", '["layers"]', 'granularity = "weight"\n' + ONE.format("{ threshold = 1e-9 }"))
    status = {record.axes["scorer"]: record.status for record in masks}
    assert status == {
        "magnitude-l1": "unsupported",  # no scale of its own
        "fisher": "done",
        "random": "done",
        "shuffled(fisher)": "done",
    }
    for record in masks:
        if record.status == "done":
            weights = load_tensors(tmp_path / "masks" / "run" / "stages" / record.key / PRUNED)
            assert record.metrics["sparsity/params"] >= 0
            assert not (weights["output.weight"] == 0).any()
    assert {t.block.sparsity for b in boards(masks) for t in b.trials} == {OWN_TARGETS}
    assert not is_shared(OWN_TARGETS)

    rounds = run("rounds", '["layers"]', 'schedule = "iterative"\n' + ONE.format("0.5"))
    assert {r.error for r in rounds} == {
        "targets of layers are reached in one cut: the schedule iterative has several"
    }
    twice = run("twice", '["layers"]', ONE.format("0.5") + ONE.format("0.25").replace("hidden1", "hid*"))
    assert {r.status for r in twice} == {"failed"}
    assert "two of [[pruning.layers]] name hidden1" in twice[0].error
    trained = tmp_path / "twice" / "run" / "stages" / twice[0].stages["train"] / "model.safetensors"
    assert not trained.exists(), "found before the training"


OWN = """
[[pruning.layers]]
pattern = "hidden1"
target = 0.5

[[pruning.layers]]
pattern = "hidden2"
target = 0.25
scorer = "fisher"

[[pruning.layers]]
pattern = "output"
target = {{ threshold = 1e-4 }}
scorer = {{ name = "obd" }}
granularity = "weight"
"""


@pytest.mark.slow
def test_layers_have_a_criterion_and_a_granularity_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Their share of the network is the same in every cell, whatever the cell's criterion or control."""

    def run(name: str, pruning: str) -> dict[str, Any]:
        text = SUITE.format(sparsities='["layers"]', pruning=pruning.format())
        text = text.replace('"mlp"', '{ name = "mlp", hidden = [20, 16] }').replace(
            "epochs = 0.5", "epochs = 0"
        )
        (tmp_path / f"{name}.toml").write_text(text)
        words = ["run", str(tmp_path / f"{name}.toml"), "--output", str(tmp_path / name), "--jobs", "1"]
        assert cli.main(words) == 0
        return {
            r.axes["scorer"]: r for r in RunDirectory(tmp_path / name).results().records if not r.axes["draw"]
        }

    def removed(name: str, record: Any) -> dict[str, tuple[int, ...]]:
        facts = pruned_stage(tmp_path / name / "stages" / record.key).read()
        assert facts is not None
        return facts.removed

    records, alone = run("own", OWN), run("alone", OWN.replace('scorer = "fisher"\n', ""))
    assert {record.status for record in records.values()} == {"done"}
    cut = {label: removed("own", record) for label, record in records.items()}
    fishers = removed("alone", alone["fisher"])
    assert {label: each["hidden2"] for label, each in cut.items()} == dict.fromkeys(cut, fishers["hidden2"])
    assert cut["fisher"] == fishers
    assert len({each["hidden1"] for each in cut.values()}) == len(cut), "by the cell's criterion"
    outputs = set()
    for record in records.values():
        weights = load_tensors(tmp_path / "own" / "stages" / record.key / PRUNED)
        assert [len(weights[f"{name}.weight"]) for name in ("hidden1", "hidden2", "output")] == [10, 12, 10]
        zeros = weights["output.weight"] == 0
        assert zeros.any()
        outputs.add(tuple(zeros.flatten().tolist()))
        assert not (weights["hidden1.weight"] == 0).all(1).any()
        left = sum(weight.numel() for name, weight in weights.items()) - int(zeros.sum())
        assert record.metrics["cost/params_nonzero"] <= left
        assert record.metrics["sparsity/params"] == pytest.approx(
            1 - left / record.metrics["cost/params_dense"]
        )
        assert record.axes["granularity"] == "unit+weight"
        assert record.settings["pruning"]["layers"] == {
            "hidden1": {"granularity": "unit", "target": 0.5},
            "hidden2": {"granularity": "unit", "scorer": "fisher", "target": 0.25},
            "output": {"granularity": "weight", "scorer": "obd", "target": {"threshold": 0.0001}},
        }
        assert {"score_2_content", "score_3_content"} <= record.stages.keys()
        stages = [record.stages[name] for name in ("score", "score_2", "score_3")]
        noted = [json.loads((tmp_path / "own" / "stages" / key / "stage.json").read_text()) for key in stages]
        seconds, ties = ([each["facts"][name] for each in noted] for name in ("seconds", "ties"))
        assert record.metrics["time/score_s"] == pytest.approx(sum(seconds))
        assert record.metrics["scoring/ties"] == sum(ties)
    assert len(outputs) == 1

    (board,) = boards(list(records.values()))
    assert {t.block.sparsity for t in board.trials} == {TARGETS}
    assert board.protocol.layers == (
        "hidden1: 50% removed, units; hidden2: 25% removed, units, by fisher; "
        "output: scores under 0.0001 removed, weights, by obd"
    )
    for trial in board.trials:
        metrics = trial.record.metrics
        assert trial.remaining("params") == metrics["cost/params_nonzero"] / metrics["cost/params_dense"]
    folder = str(tmp_path / "own")
    assert cli.main(["doctor", folder]) == 0
    packed = str(tmp_path / "own.jsonl.gz")
    assert cli.main(["submit", folder, "--output", packed]) == 0
    assert cli.main(["verify", packed]) == 0
    capsys.readouterr()
    assert cli.main(["clean", folder, "--dry-run"]) == 0
    assert "criterion of some layers" not in capsys.readouterr().out
    assert cli.main(["run", str(tmp_path / "own.toml"), "--output", folder, "--jobs", "1"]) == 0
    assert "0 to run" in capsys.readouterr().out

    # What one of the others stands on is damaged: all cells that stand on it are made anew.
    second = records["random"].stages["score_2"]
    assert {record.stages["score_2"] for record in records.values()} == {second}
    (tmp_path / "own" / "stages" / second / SCORES).write_bytes(b"")
    assert cli.main(["doctor", folder]) != 0
    assert "the criterion of some layers" in capsys.readouterr().out
