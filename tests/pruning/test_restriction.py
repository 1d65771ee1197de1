"""Layers that a suite names stay as they are, or are the only ones that lose something."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pruning_networks import NETWORKS, check_cut, drawn_cut, example

from benchsuite import cli
from benchsuite.errors import UsageError
from benchsuite.pruning.settings import Restriction
from benchsuite.pruning.tracing.trace import trace
from benchsuite.store.run_directory import RunDirectory
from benchsuite.store.stages import load_tensors

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from benchsuite.pruning.graph import PruningGraph
    from benchsuite.store.record import TrialRecord

KINDS = ("resnet", "mobilenet", "densenet", "resnext")


def network_of(kind: str) -> nn.Module:
    torch.manual_seed(0)
    network: nn.Module = NETWORKS[kind]().eval()
    return network


def drawn(data: st.DataObject, graph: PruningGraph) -> Restriction:
    """Names of layers, and beginnings of names with a star, of which each matches something."""
    names = [layer.name for layer in graph.weight_layers]
    patterns = st.sampled_from([*names, *(f"{name[: len(name) // 2 + 1]}*" for name in names)])
    layers = data.draw(st.none() | st.lists(patterns, min_size=1, unique=True))
    keep = data.draw(st.lists(patterns, max_size=2, unique=True))
    return Restriction(None if layers is None else tuple(layers), tuple(keep))


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), name) for pattern in patterns)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_only_what_is_named_loses_units_and_cuts_stay_right(kind: str, data: st.DataObject) -> None:
    network = network_of(kind)
    whole = trace(network, example())
    restriction = drawn(data, whole)
    graph = whole.restricted(restriction)
    may = {
        layer.name
        for layer in whole.weight_layers
        if restriction.layers is None or matches(layer.name, restriction.layers)
        if not matches(layer.name, restriction.keep)
    }
    free = [group for group in whole.groups if {member.layer for member in group.members} <= may]
    assert [group.name for group in graph.groups] == [group.name for group in free]
    assert {layer.name for layer in graph.layers} == {m.layer for group in free for m in group.members}
    assert {layer.name for layer in graph.weight_layers} == may
    assert graph.cost_model.cost(graph.cost_model.counts({})) == whole.cost_model.cost(
        whole.cost_model.counts({})
    )
    if not graph.groups:
        return
    smaller = check_cut(network, graph, drawn_cut(data, graph))
    for layer in whole.weight_layers:
        if layer.name not in {each.name for each in graph.layers}:
            assert smaller.get_submodule(layer.name).weight.shape[0] == layer.units


def test_what_is_coupled_with_a_layer_that_stays_stays_and_says_so() -> None:
    graph = trace(network_of("resnet"), example()).restricted(Restriction(keep=("stage1.conv2",)))
    assert {"conv1", "stage1.conv2"}.isdisjoint(layer.name for layer in graph.layers)
    assert "conv1 (it is coupled with stage1.conv2, which stays)" in graph.what_stays()
    assert "stage1.conv2 ([pruning] keep names it)" in graph.what_stays()


@pytest.mark.parametrize(
    ("restriction", "message"),
    [
        (Restriction(keep=("stage1.conv3",)), r"keep has 'stage1.conv3', .*did you mean 'stage1.conv"),
        (Restriction(layers=("conv1", "blocks.*")), r"layers has 'blocks\.\*', which no layer"),
    ],
)
def test_a_pattern_that_matches_nothing_is_an_error(restriction: Restriction, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        trace(network_of("resnet"), example()).restricted(restriction)


def run(folder: Path, pruning: str, capsys: pytest.CaptureFixture[str]) -> tuple[list[TrialRecord], str]:
    """The records of a small suite, and what the run printed."""
    folder.mkdir()
    (folder / "suite.toml").write_text(
        f"""
[suite]
name = "some"
seeds = [0]
sparsities = [0.3]
scorers = ["magnitude-l1", "taylor-weight"]

[[workload]]
dataset = "digits"
models = ["mlp"]

[training]
epochs = 1

[pruning]
budget = "params"
{pruning}

[recovery]
epochs = 0.5

[metrics]
latency = false
"""
    )
    code = cli.main(["run", str(folder / "suite.toml"), "--output", str(folder / "run"), "--jobs", "1"])
    records = list(RunDirectory(folder / "run").results().records)
    assert code == (1 if any(record.status == "failed" for record in records) else 0)
    return records, capsys.readouterr().out


def weights(folder: Path, record: TrialRecord, stage: str) -> dict[str, Any]:
    return load_tensors(folder / "run" / "stages" / record.stages[stage] / "model.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("granularity", ["unit", "weight"])
def test_a_suite_names_what_may_go_and_what_stays(
    granularity: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    everything, _ = run(tmp_path / "all", f'granularity = "{granularity}"', capsys)
    dense = weights(tmp_path / "all", everything[0], "train")
    first, *_ = [name.removesuffix(".weight") for name in dense if name.endswith(".weight")]
    for number, setting in enumerate((f'layers = ["{first}"]', 'keep = ["*"]')):
        folder = tmp_path / str(number)
        records, _out = run(folder, f'granularity = "{granularity}"\n{setting}', capsys)
        assert {r.key for r in records}.isdisjoint(r.key for r in everything)
        assert {r.stages["train"] for r in records} == {r.stages["train"] for r in everything}
        assert all(r.settings != everything[0].settings for r in records)
        if "keep" in setting:
            assert {r.status for r in records} == {"unsupported"}
            assert "[pruning] keep names it" in records[0].error
            continue
        assert {r.status for r in records} == {"done"}
        for record in records:
            found = weights(folder, record, "trial")
            smaller = {
                name
                for name, value in found.items()
                if name.endswith("weight")
                and (value.shape[0] < dense[name].shape[0] or bool((value == 0).any()))
            }
            assert smaller == {f"{first}.weight"}
            assert abs(record.metrics["sparsity/params"] - 0.3) < 0.05


def test_a_mistyped_layer_fails_with_its_neighbours_and_unset_settings_stand_in_no_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records, _ = run(tmp_path / "typo", 'keep = ["fc1x"]', capsys)
    assert {record.status for record in records} == {"failed"}
    assert all("mlp: [pruning] keep has 'fc1x', which no layer" in r.error for r in records)
    trained = {tmp_path / "typo" / "run" / "stages" / record.stages["train"] for record in records}
    assert not any((folder / "model.safetensors").exists() for folder in trained), "found before the training"
    records, _ = run(tmp_path / "plain", "", capsys)
    assert json.dumps(records[0].settings).count("keep") == 0
    assert records[0].settings["pruning"].keys().isdisjoint({"layers", "keep"})
