"""A threshold on the scores in place of a sparsity: what scores less goes, and nothing else."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pruning_networks import build, check_cut, example

from benchsuite import cli
from benchsuite.errors import Collapsed, Unsupported, UsageError
from benchsuite.metrics.cost import measure_cost
from benchsuite.pruning.networks import MaskedNetwork, SmallerNetwork
from benchsuite.pruning.settings import PruningSettings
from benchsuite.pruning.threshold import named, positions_below, threshold_of
from benchsuite.pruning.tracing.trace import trace
from benchsuite.registry.discovery import discover_shipped
from benchsuite.store.run_directory import RunDirectory
from benchsuite.store.stages import load_tensors
from benchsuite.suite.reading import load_suite
from benchsuite.trials.facts import PRUNED
from benchsuite_scorers.registration import SCORERS

if TYPE_CHECKING:
    from torch import Tensor, nn

AS_THEY_ARE = PruningSettings(normalise="none")


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_what_stands_in_place_of_a_sparsity_is_read_again(threshold: float) -> None:
    assert threshold_of(named(threshold)) == pytest.approx(threshold, rel=1e-11, abs=0)


NONE = [*("native", "widths", "threshold=", "threshold=x", "threshold=nan"), 0.5, None]
NONE += ["threshold=1e999", "threshold=1 2", " threshold=1"]


@pytest.mark.parametrize("other", NONE)
def test_anything_else_is_no_threshold(other: object) -> None:
    assert threshold_of(other) is None


def scores_of(network: nn.Module, *, of_weights: bool = False) -> dict[str, Tensor]:
    """Multiples of a quarter from 0 to 1.75, so that many are the threshold itself."""
    generator = torch.Generator().manual_seed(0)
    graph = trace(network, example())
    layers = graph.weight_layers if of_weights else graph.layers
    shapes = {layer.name: layer.weight.shape if of_weights else (layer.units,) for layer in layers}
    return {name: torch.randint(8, shape, generator=generator) / 4 for name, shape in shapes.items()}


@pytest.mark.parametrize("kind", ["mlp", "resnet", "mobilenet", "vit"])
@settings(max_examples=5, deadline=None)
@given(quarters=st.integers(0, 3))
def test_units_below_it_go(kind: str, quarters: int) -> None:
    network, threshold = build(kind), quarters / 4
    graph, scores = trace(network, example()), scores_of(network)
    cut = SmallerNetwork(network, graph, measure_cost(network, example()[:1]), AS_THEY_ARE, 0, example())
    below = {}
    for group in graph.groups:
        for position in range(group.size):
            rows = [[float(scores[m.layer][u]) for u in m.units[position]] for m in group.members]
            # The mean over layers of the mean over a layer's units: `aggregate = "mean"`.
            if sum(sum(row) / len(row) for row in rows) / len(rows) < threshold:
                below.setdefault(group.name, []).append(position)
    if any(len(gone) == group.size for group in graph.groups for gone in [below.get(group.name, ())]):
        with pytest.raises(Collapsed):
            cut.cut_below(scores, threshold, dict)
        return
    cut.cut_below(scores, threshold, dict)
    assert cut.removed == {name: tuple(gone) for name, gone in below.items()}
    smaller = check_cut(network, graph, cut.removed)
    torch.testing.assert_close(cut.model(example()), smaller(example()))
    assert cut.metrics["sparsity/params"] == pytest.approx(
        1 - sum(p.numel() for p in smaller.parameters()) / sum(p.numel() for p in network.parameters())
    )


@pytest.mark.parametrize("quarters", [0, 1, 4])
def test_weights_below_it_go(quarters: int) -> None:
    network, threshold = build("resnet"), quarters / 4
    graph, scores = trace(network, example()), scores_of(network, of_weights=True)
    cut = MaskedNetwork(network, graph, measure_cost(network, example()[:1]), AS_THEY_ARE, 0, example())
    cut.cut_below(scores, threshold, dict)
    for name, score in scores.items():
        before = network.get_submodule(name).get_parameter("weight")
        after = cut.model.get_submodule(name).get_parameter("weight")
        assert torch.equal(after, torch.where(score < threshold, torch.zeros(()), before))
    gone = sum(int((score < threshold).sum()) for score in scores.values())
    assert cut.metrics["sparsity/params"] == gone / sum(p.numel() for p in network.parameters())


def test_what_would_lose_everything_has_collapsed() -> None:
    network = build("mlp")
    graph = trace(network, example())
    scores = {group.name: torch.zeros(group.size) for group in graph.groups}
    with pytest.raises(Collapsed, match=r"no unit of 1, 3 scores 0\.5 or more"):
        positions_below(graph, scores, 0.5)
    cost = measure_cost(network, example()[:1])
    weights = {name: torch.zeros_like(score) for name, score in scores_of(network, of_weights=True).items()}
    masked = MaskedNetwork(network, graph, cost, AS_THEY_ARE, 0, example())
    with pytest.raises(Collapsed, match=r"no weight of 1, 3, 5 scores 0\.5 or more"):
        masked.cut_below(weights, 0.5, dict)
    pairs = MaskedNetwork(network, graph, cost, PruningSettings(scope="2:4"), 0, example())
    with pytest.raises(Unsupported, match="2:4"):
        pairs.cut_below(weights, 0, dict)


SUITE = """
[suite]
name = "some"
seeds = [0]
sparsities = {sparsities}
scorers = {scorers}
controls = ["random", {{name = "shuffled", of = [{{name = "karnin", scaling = "rank"}}], draws = 1}}]

[[workload]]
dataset = "digits"
models = ["mlp"]

[training]
epochs = 1

[pruning]
{pruning}

[recovery]
epochs = 0

[metrics]
latency = false
"""


RANKED = '{ name = "karnin", scaling = "rank" }'


def read(folder: Path, sparsities: str, pruning: str, scorers: str = '["karnin"]') -> Any:
    folder.mkdir(exist_ok=True)
    path = folder / "suite.toml"
    path.write_text(SUITE.format(sparsities=sparsities, pruning=pruning, scorers=scorers))
    return load_suite(path, discover_shipped())


@pytest.mark.parametrize(
    ("sparsities", "pruning", "message"),
    [
        ('[{ threshold = "a" }]', "", "a threshold is a number, not 'a'"),
        ("[{ threshold = inf }]", "", "a threshold is a number, not inf"),
        ("[{ threshold = " + "1" * 400 + " }]", "", "a threshold is a number"),
        ("[{ threshold = 0.0 }, { threshold = -0.0 }]", "", "threshold=0"),
        ("[{ threshold = true }]", "", "a threshold is a number, not True"),
        ("[{ threshold = 1, of = 2 }]", "", r"or \{ threshold = 0.05 \}, not"),
        ('["threshold=x"]', "", r"or \{ threshold = 0.05 \}, not 'threshold=x'"),
        ("[{ threshold = 1 }]", 'normalise = "mean"', "a threshold is one on the scores as they are"),
        ("[{ threshold = 1 }, { threshold = 1.0 }]", "", "threshold=1"),
    ],
)
def test_what_is_no_threshold_is_refused(sparsities: str, pruning: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        read(tmp_path, sparsities, pruning)


def test_both_ways_to_write_it_are_the_same(tmp_path: Path) -> None:
    table = read(tmp_path, "[{ threshold = 5e-2 }, { threshold = 1 }]", "")
    text = read(tmp_path, '["threshold=0.05", "threshold=1.0"]', "")
    assert table.suite.sparsities == text.suite.sparsities == ["threshold=0.05", "threshold=1"]


def test_the_page_names_the_criteria_that_a_threshold_is_for() -> None:
    page = (Path(__file__).parents[2] / "docs" / "suites.md").read_text()
    (those,) = re.findall(r"\(`absolute = True`: (.*?), whose", page, re.S)
    assert re.findall(r"`([a-z-]+)`", those) == sorted(
        (scorer.name for scorer in SCORERS if scorer.absolute), key=lambda name: (name == "random", name)
    )


@pytest.mark.slow
def test_a_sweep_of_thresholds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # By ranks: scaled from the smallest to the largest, nearly all of these weights lie below 0.45.
    def run(name: str, sparsities: str, pruning: str, scorers: str = f"[{RANKED}]") -> list[Any]:
        folder = tmp_path / name
        read(folder, sparsities, pruning, scorers)
        command = ["run", str(folder / "suite.toml"), "--output", str(folder / "run"), "--jobs", "1"]
        assert cli.main(command) == 0
        return list(RunDirectory(folder / "run").results().records)

    masks = 'granularity = "weight"'
    sweep = '[0.5, "native", { threshold = 0.1 }, { threshold = 0.45 }, { threshold = 2 }]'
    records = run("sweep", sweep, masks, f'[{RANKED}, "magnitude-l1"]')
    karnin = "karnin(scaling=rank)"
    found = {(r.axes["scorer"], r.axes["sparsity"], r.axes["draw"]): r for r in records}
    # Karnin's own rule is a threshold of 0.45, so the same weights go.
    own, same = found[karnin, "native", 0], found[karnin, "threshold=0.45", 0]
    assert own.status == same.status == "done"
    alike = [name for name in own.metrics if name.startswith(("accuracy/", "cost/", "sparsity/"))]
    assert {name: own.metrics[name] for name in alike} == {name: same.metrics[name] for name in alike}
    stages = tmp_path / "sweep" / "run" / "stages"
    one, other = (load_tensors(stages / r.key / PRUNED) for r in (own, same))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert found[karnin, "threshold=0.1", 0].metrics["sparsity/params"] < own.metrics["sparsity/params"]
    shuffled = found[f"shuffled({karnin})", "threshold=0.45", 0]
    assert shuffled.metrics["sparsity/params"] == own.metrics["sparsity/params"]
    # Of uniform scores, the share below a threshold is the threshold; biases are no part of it.
    for draw in range(3):
        record = found["random", "threshold=0.1", draw]
        share = record.metrics["sparsity/macs"]
        weights = record.metrics["cost/params_dense"]
        assert math.isclose(share, 0.1, abs_tol=5 * math.sqrt(0.09 / weights))
    assert found[karnin, "threshold=2", 0].status == "collapsed"
    refused = found["magnitude-l1", "threshold=0.1", 0]
    assert refused.status == "unsupported"
    assert "the scores of magnitude-l1 have no fixed zero and unit (absolute = False)" in refused.error
    capsys.readouterr()

    chosen = ["--filter", "sparsity=threshold=0.45", "--format", "json"]
    assert cli.main(["results", str(tmp_path / "sweep" / "run"), *chosen]) == 0
    assert {row["axes"]["sparsity"] for row in json.loads(capsys.readouterr().out)} == {"threshold=0.45"}
    packed = str(tmp_path / "sweep.jsonl.gz")
    assert cli.main(["submit", str(tmp_path / "sweep" / "run"), "--output", packed]) == 0
    assert cli.main(["verify", packed]) == 0
    site = tmp_path / "site"
    assert cli.main(["leaderboard", packed, "--output", str(site)]) == 0
    page = "".join(path.read_text() for path in site.rglob("*.html"))
    assert "scores under 0.45" in page
    assert re.search(r"scores under 0\.1<.*scores under 0\.45<.*scores under 2<", page, re.S)

    units = run("units", "[{ threshold = 0.3 }]", "", f'[{RANKED}, "fisher"]')
    assert {r.status for r in units if r.axes["scorer"] == "random"} == {"done"}
    rounds = run("rounds", "[{ threshold = 0.3 }]", f'{masks}\nschedule = "iterative"')
    assert {r.status for r in rounds} == {"unsupported"}
    assert all("a threshold decides in one cut" in r.error for r in rounds)
    assert {r.stages["score"] for r in rounds} <= {r.stages["score"] for r in records}


@pytest.mark.parametrize(
    ("sparsities", "pruning", "is_told"),
    [
        ("[0.5]", "", False),
        ("[0.5, { threshold = 0.1 }]", "", True),
        ('["layers"]', '[[pruning.layers]]\npattern = "hidden1"\ntarget = { threshold = 0.1 }', True),
        ('["layers"]', '[[pruning.layers]]\npattern = "hidden1"\ntarget = 0.1', False),
    ],
)
@pytest.mark.parametrize("command", ["validate", "plan"])
def test_criteria_for_which_it_means_nothing_are_named_before_anything_runs(
    command: str,
    sparsities: str,
    pruning: str,
    is_told: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    suite = f"""
[suite]
name = "some"
seeds = [0]
sparsities = {sparsities}
scorers = ["magnitude-l1", "fisher", "wanda"]
controls = ["random"]

[[workload]]
dataset = "digits"
models = ["mlp"]

[pruning]
{pruning}
"""
    Path("some.toml").write_text(suite)
    assert cli.main([command, "some.toml"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert ("unsupported for magnitude-l1, wanda, whose" in said) is is_told
    assert (
        "those of apoz, distinctiveness, fisher, karnin, obd, random, taylor-weight have" in said
    ) is is_told
