"""A suite says how many units each layer keeps; the criterion says which."""

from __future__ import annotations

import csv
import io
import itertools
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pruning_networks import NETWORKS, build, check_cut, example
from torch import nn

from benchsuite import cli
from benchsuite.errors import Unsupported, UsageError
from benchsuite.metrics.cost import measure_cost
from benchsuite.pruning.networks import SmallerNetwork
from benchsuite.pruning.settings import PruningSettings
from benchsuite.pruning.tracing.trace import trace
from benchsuite.pruning.widths import _counts, select_widths
from benchsuite.registry.discovery import discover_shipped
from benchsuite.store.run_directory import RunDirectory
from benchsuite.suite.reading import load_suite

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

    from benchsuite.pruning.graph import PruningGraph
    from benchsuite.pruning.selection import UnitSelection

RULES = PruningSettings()


def chosen(graph: PruningGraph, widths: Mapping[str, int], seed: int = 0) -> UnitSelection:
    return select_widths(graph, scores_of(graph, seed), RULES, widths, seed)


def scores_of(graph: PruningGraph, seed: int) -> dict[str, Tensor]:
    """Few values, so that many are equal."""
    generator = torch.Generator().manual_seed(seed)
    return {g.name: torch.randint(5, (g.size,), generator=generator).double() for g in graph.groups}


@pytest.mark.parametrize("kind", sorted(NETWORKS))
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_named_layers_have_their_widths_with_the_best_units_and_others_stay(
    kind: str, data: st.DataObject
) -> None:
    network = build(kind)
    graph = trace(network, example())
    # Widths that exist: those of a cut of some groups.
    cut = {
        group.name: data.draw(st.integers(1, group.size - 1))
        for group in data.draw(
            st.lists(st.sampled_from(graph.groups), min_size=1, unique_by=lambda g: g.name)
        )
        if group.size > 1
    }
    assume(cut)
    left = {layer.name: layer.units for layer in graph.layers}
    touched: set[str] = set()
    for group in graph.groups:
        for member in group.members:
            left[member.layer] -= len(member.units[0]) * cut.get(group.name, 0)
            touched |= {member.layer} if group.name in cut else set()
    several = {
        layer for layer in touched if sum(any(m.layer == layer for m in g.members) for g in graph.groups) > 1
    }
    assume(not several and all(left[layer] > 0 for layer in touched))
    seed = data.draw(st.integers(0, 100))
    selection = chosen(graph, {layer: left[layer] for layer in touched}, seed)
    assert {name: len(gone) for name, gone in selection.removed.items()} == cut
    smaller = check_cut(network, graph, selection.removed)
    for layer in graph.weight_layers:
        width = smaller.get_submodule(layer.name).weight.shape[0]
        assert width == left.get(layer.name, layer.units)
    scores = scores_of(graph, seed)
    for name, gone in selection.removed.items():
        kept = sorted(set(range(len(scores[name]))) - set(gone))
        assert scores[name][list(gone)].max() <= scores[name][kept].min()


class Halves(nn.Module):
    """One convolution is added to two that are put together, so its channels go with those of either."""

    def __init__(self) -> None:
        super().__init__()
        self.both = nn.Conv2d(1, 10, 3, padding=1)
        self.first = nn.Conv2d(1, 4, 1)
        self.last = nn.Conv2d(1, 6, 1)
        self.head = nn.Linear(10, 5)

    def forward(self, x: Tensor) -> Tensor:
        parts = torch.cat([self.first(x), self.last(x)], 1)
        return self.head((self.both(x) + parts).relu().mean((2, 3)))  # type: ignore[no-any-return]


def test_a_layer_that_several_groups_cut_keeps_the_best_of_all_of_them() -> None:
    network = Halves().eval()
    graph = trace(network, example())
    small, large = sorted(graph.groups, key=lambda group: group.size)
    assert all({member.layer for member in group.members} > {"both"} for group in (small, large))
    scores = {small.name: torch.tensor([0.0, 9, 1, 9]), large.name: torch.tensor([9.0, 9, 2, 9, 3, 9])}

    def removed(widths: dict[str, int]) -> dict[str, tuple[int, ...]]:
        return select_widths(graph, scores, RULES, widths, 0).removed

    assert removed({"both": 7}) == {small.name: (0, 2), large.name: (2,)}
    # What one part keeps leaves less to choose for the whole, whatever the order of the names.
    for widths in ({"both": 7, "first": 3}, {"first": 3, "both": 7}):
        assert removed(widths) == {small.name: (0,), large.name: (2, 4)}
    smaller = check_cut(network, graph, removed({"both": 7}))
    assert [smaller.get_submodule(name).weight.shape[0] for name in ("both", "first", "last")] == [7, 2, 5]
    with pytest.raises(Unsupported, match="both cannot keep 7 of its 10 units: it loses the same as first"):
        removed({"both": 7, "first": 4, "last": 6})


def test_equal_scores_are_counted_and_drawn_by_the_seed() -> None:
    graph = trace(build("mlp"), example())
    group = graph.groups[0]
    (layer,) = (member.layer for member in group.members)
    scores = {each.name: torch.ones(each.size) for each in graph.groups}
    found = {
        select_widths(graph, scores, RULES, {layer: group.size - 2}, seed).removed[group.name]
        for seed in range(20)
    }
    assert len(found) > 5
    assert select_widths(graph, scores, RULES, {layer: group.size - 2}, 0).ties == group.size


@pytest.mark.parametrize(
    ("kind", "widths", "error", "message"),
    [
        (
            "resnet",
            {"stage1.conv3": 4},
            UsageError,
            r"widths has 'stage1.conv3', .*did you mean 'stage1.conv",
        ),
        ("resnet", {"conv1": 1000}, UsageError, r"widths keeps 1000 units of conv1, which has \d+"),
        ("resnet", {"fc": 2}, Unsupported, r"fc cannot keep 2 of its \d+ units: none .*network's output"),
        ("resnet", {"conv1": 3, "stage1.conv2": 4}, Unsupported, r"cannot keep .* loses the same as "),
        (
            "resnext",
            {"reduce.0": 4},
            Unsupported,
            "reduce.0 cannot keep 4 of its 12 units: they go 3 at a time",
        ),
        ("resnext", {"reduce.0": 2}, Unsupported, "reduce.0 cannot keep 2 of its 12 units: at least 3 stay"),
        ("vit", {"nothing": 2}, UsageError, "which no layer of this network is called; there are: "),
        ("vit", {"fc*": 2}, UsageError, "; it takes names, no patterns"),
    ],
)
def test_what_cannot_be_is_said(
    kind: str, widths: dict[str, int], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        chosen(trace(build(kind), example()), widths)


def test_layers_that_stay_whole_need_no_scores() -> None:
    network = build("resnet")
    graph = trace(network, example())
    cut = SmallerNetwork(network, graph, measure_cost(network, example()[:1]), RULES, 0, example())
    (group,) = (each for each in graph.groups if "stage1.conv1" in {m.layer for m in each.members})
    cut.cut_to_widths({"stage1.conv1": torch.arange(group.size)}, {"stage1.conv1": group.size - 2}, dict)
    assert cut.removed == {group.name: (0, 1)}
    with pytest.raises(Unsupported, match="gives no scores for stage1"):
        cut.cut_to_widths({"conv1": torch.arange(8)}, {"stage1.conv1": group.size - 3}, dict)


SUITE = """
[suite]
name = "some"
seeds = [0]
sparsities = {sparsities}
scorers = ["magnitude-l1", "taylor-weight"]
controls = ["random", {{name = "shuffled", of = ["magnitude-l1"], draws = 1}}]

[[workload]]
dataset = "digits"
models = ["mlp"]

[training]
epochs = 1

[pruning]
{pruning}

[recovery]
epochs = 0.5

[metrics]
latency = false
"""


@pytest.mark.parametrize(
    ("sparsities", "pruning", "message"),
    [
        ('["widths"]', "", r'the sparsity "widths" needs widths'),
        ("[0.5]", "widths = { a = 1 }", r'widths would do nothing: add "widths" to \[suite\] sparsities'),
        ('["widths"]', 'widths = { a = 1 }\nkeep = ["b"]', "widths already says which layers lose units"),
        ('["widths"]', "widths = { a = 0 }", "widths.a"),
        ('["widths"]', "widths = { a = true }", "widths.a"),
        ('["widths"]', 'widths = { a = "5" }', "widths.a"),
        ('["widths"]', "widths = 5", "widths"),
        ('["widths"]', 'widths = { "a.b" = 1, a.b = 2 }', "a.b stands there twice"),
        ('["width"]', "", '"widths" for the widths under'),
    ],
)
def test_a_suite_that_contradicts_itself_is_refused(
    sparsities: str, pruning: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        read(tmp_path, sparsities, pruning)


def read(folder: Path, sparsities: str, pruning: str) -> Any:
    path = folder / "suite.toml"
    path.write_text(SUITE.format(sparsities=sparsities, pruning=pruning))
    return load_suite(path, discover_shipped())


def test_names_with_dots_need_no_quotes(tmp_path: Path) -> None:
    plain = read(tmp_path, '["widths"]', "widths.a.b = 3\nwidths.a.c.d = 4")
    quoted = read(tmp_path, '["widths"]', 'widths = { "a.b" = 3, "a.c.d" = 4 }')
    assert plain.pruning.widths == quoted.pruning.widths == {"a.b": 3, "a.c.d": 4}


@pytest.mark.slow
def test_a_suite_of_widths_compares_criteria_at_the_same_widths(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(name: str, sparsities: str, pruning: str) -> tuple[list[Any], str]:
        folder = tmp_path / name
        folder.mkdir()
        read(folder, sparsities, pruning)
        code = cli.main(["run", str(folder / "suite.toml"), "--output", str(folder / "run"), "--jobs", "1"])
        records = list(RunDirectory(folder / "run").results().records)
        assert code == (1 if any(record.status == "failed" for record in records) else 0)
        return records, capsys.readouterr().out

    shares, _ = run("shares", "[0.5]", "")
    records, said = run("widths", '[0.5, "widths"]', "widths = { hidden1 = 5 }")
    widths = [record for record in records if record.axes["sparsity"] == "widths"]
    assert {(r.key, str(r.settings)) for r in records if r not in widths} == {
        (r.key, str(r.settings)) for r in shares
    }
    assert {record.axes["scorer"] for record in widths} == {record.axes["scorer"] for record in records}
    assert {record.status for record in widths} == {"done"}
    assert {record.settings["pruning"]["widths"]["hidden1"] for record in widths} == {5}
    assert len({record.metrics["cost/params"] for record in widths}) == 1
    for record in widths:
        layers = tmp_path / "widths" / "run" / "stages" / record.key / "layers.csv"
        units = {row["layer"]: row for row in csv.DictReader(io.StringIO(layers.read_text()))}
        assert units["hidden1"]["units"] == "5"
        assert units["output"]["units"] == units["output"]["units_dense"]
    assert re.search(r"^fixed widths", said, re.M)
    packed = str(tmp_path / "widths.jsonl.gz")
    assert cli.main(["submit", str(tmp_path / "widths" / "run"), "--output", packed]) == 0
    assert cli.main(["verify", packed]) == 0

    others, _ = run("others", '["widths"]', "widths = { hidden1 = 6 }")
    assert {r.key for r in others}.isdisjoint(r.key for r in records)
    assert {r.stages["score"] for r in others} == {r.stages["score"] for r in widths}
    rounds, _ = run("rounds", '["widths"]', 'widths = { hidden1 = 6 }\nschedule = "iterative"')
    assert {r.status for r in rounds} == {"unsupported"}
    masks, _ = run("masks", '["widths"]', 'widths = { hidden1 = 6 }\ngranularity = "weight"')
    assert {r.status for r in masks} == {"unsupported"}
    typo, _ = run("typo", '["widths"]', "widths = { hidden2 = 6 }")
    assert {r.status for r in typo} == {"failed"}
    assert "mlp: [pruning] widths has 'hidden2', which no layer" in typo[0].error
    trained = tmp_path / "typo" / "run" / "stages" / typo[0].stages["train"] / "model.safetensors"
    assert not trained.exists(), "found before the training"


@pytest.mark.parametrize("seed", range(30))
def test_a_number_of_units_that_can_be_made_up_is_made_up(seed: int) -> None:
    generator = np.random.default_rng(seed)
    units = {name: int(generator.integers(1, 4)) for name in "abc"}
    places = generator.permutation(12)
    ranks = {
        name: np.sort(places[4 * n : 4 * n + int(generator.integers(1, 5))]) for n, name in enumerate("abc")
    }
    every = list(itertools.product(*(range(len(ranks[name]) + 1) for name in "abc")))

    def cost(counts: tuple[int, ...]) -> int:
        return sum(int(ranks[name][:count].sum()) for name, count in zip("abc", counts, strict=True))

    for wanted in range(sum(units[name] * len(ranks[name]) for name in "abc") + 1):
        ways = [c for c in every if sum(units[n] * k for n, k in zip("abc", c, strict=True)) == wanted]
        found = _counts(ranks, units, wanted)
        made = sum(units[name] * count for name, count in found.items())
        assert (made == wanted) == bool(ways)
        first = [name for _, name in sorted((rank, name) for name in "abc" for rank in ranks[name].tolist())]
        greedy, left = dict.fromkeys("abc", 0), wanted
        for name in first:
            if units[name] <= left:
                left -= units[name]
                greedy[name] += 1
        if left == 0:
            assert found == greedy, "the first ones in the order"
        elif ways:
            assert cost(tuple(found.values())) == min(map(cost, ways))
