"""What a scorer reports of its own work: `context.report`."""

from __future__ import annotations

import csv
import io
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import benchsuite
from benchsuite import cli
from benchsuite.errors import PluginError
from benchsuite.scoring.check import run_scorer
from benchsuite.scoring.reports import Reports
from benchsuite.store.run_directory import RunDirectory
from benchsuite.store.texts import printable
from benchsuite.testing import context_for, tiny_convnet, tiny_samples
from benchsuite_scorers.registration import Shapley, TreeGain, XgboostGain

if TYPE_CHECKING:
    from pathlib import Path


def read(table: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(table)))


def reported(value: object) -> Reports:
    found = Reports()
    found.add("it", value)
    return found


@pytest.mark.parametrize("value", [3, 3.0, np.float32(3), torch.tensor(3), np.array(3.0), True + 2])
def test_numbers_of_any_kind_are_numbers(value: object) -> None:
    assert (reported(value).numbers, reported(value).tables) == ({"it": 3.0}, {})


@pytest.mark.parametrize("kind", [list, tuple, np.array, torch.tensor])
def test_arrays_of_any_kind_are_tables(kind: Any) -> None:
    assert read(reported(kind([1.5, 2.0])).tables["it"]) == [["value"], ["1.5"], ["2"]]
    assert read(reported(kind([[1, 2], [3, 4]])).tables["it"]) == [["0", "1"], ["1", "2"], ["3", "4"]]


cells = st.one_of(
    st.text(max_size=20), st.floats(allow_infinity=False), st.integers(-(10**12), 10**12), st.booleans()
)


@given(st.lists(st.fixed_dictionaries({"a": cells, "b, \"'\n": cells}), min_size=1, max_size=5))
def test_tables_come_back_as_they_were(rows: list[dict[str, Any]]) -> None:
    table = reported(rows).tables["it"]
    table.encode()  # it can be written
    names, *found = read(table)
    columns = list(rows[0])
    assert names == [printable(name, 200) for name in columns]
    for row, texts_of_row in zip(rows, found, strict=True):
        for cell, text in zip((row[column] for column in columns), texts_of_row, strict=True):
            if isinstance(cell, str):
                assert text == printable(cell, 200)
            elif isinstance(cell, float):
                assert (text == "") if math.isnan(cell) else float(text) == pytest.approx(cell, rel=1e-8)
            else:
                assert text == str(cell)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("It", 1, "a lower-case letter"),
        ("a" * 41, 1, "a lower-case letter"),
        ("../a", 1, "a lower-case letter"),
        ("", 1, "a lower-case letter"),
        (3, 1, "a lower-case letter"),
        ("it", math.nan, "no finite number"),
        ("it", torch.tensor(math.inf), "no finite number"),
        ("it", [1.0, math.inf], "infinite numbers"),
        ("it", [], "an array has one or two dimensions"),
        ("it", torch.zeros(2, 2, 2), "an array has one or two dimensions"),
        ("it", np.zeros(1_000_001), "1 to 1000000 numbers"),
        ("it", "text", "an array has one or two|is no number"),
        ("it", None, "is no number|an array has"),
        ("it", object(), "an array has one or two|is no number"),
        ("it", torch.zeros(2, dtype=torch.complex64), "an array has|is no number"),
        ("it", [{"a": 1}, {"b": 1}], "columns of the first"),
        ("it", [{}], "texts as names"),
        ("it", [{1: 2}], "texts as names"),
        ("it", [{"a": "x" * 201}], "no short text"),
        ("it", [{"a": math.inf}], "no finite number"),
        ("it", [{"a": [1]}], "no short text"),
    ],
)
def test_anything_else_is_refused(name: Any, value: object, message: str) -> None:
    found = Reports()
    with pytest.raises(PluginError, match=message):
        found.add(name, value)
    assert (found.numbers, found.tables) == ({}, {})


def test_a_name_is_used_once_and_there_are_so_many() -> None:
    found = Reports()
    found.add("a", 1)
    for value in (2, [1.0]):
        with pytest.raises(PluginError, match="reported before"):
            found.add("a", value)
    for number in range(49):
        found.add(f"b{number}", number)
    with pytest.raises(PluginError, match="50 reports are the most"):
        found.add("c", 1)


def test_each_scoring_reports_anew() -> None:
    class Counts(benchsuite.Scorer):
        name = "counts"

        def score(self, context: benchsuite.ScoringContext) -> dict[str, torch.Tensor]:
            context.report("layers", len(context.layers))
            return {layer.name: layer.weight.flatten(1).sum(1) for layer in context.layers}

    context = context_for(tiny_convnet(), *tiny_samples())
    for _ in range(2):
        assert run_scorer(Counts(), context).reports.numbers == {"layers": 3}


def test_what_trees_and_shapley_say_is_so() -> None:
    """Accuracies by trees fitted anew, and Shapley's values and errors by its own estimates."""
    from sklearn.tree import DecisionTreeClassifier

    context = context_for(tiny_convnet(), *tiny_samples())
    (table,) = run_scorer(TreeGain(), context).reports.tables.values()
    columns, *rows = read(table)
    assert columns == ["layer", "training_accuracy", "depth", "leaves"]
    assert [row[0] for row in rows] == [layer.name for layer in context.layers]
    context.restart()
    labels = torch.cat([labels for _, labels in context.batches()]).numpy()
    for name, accuracy, depth, _ in rows:
        features = context.activations("mean")[name].numpy()
        best = max(
            DecisionTreeClassifier(max_depth=int(depth), random_state=seed)
            .fit(features, labels)
            .score(features, labels)
            for seed in range(3)
        )
        assert float(accuracy) == pytest.approx(best, abs=0.1)
    boosted = read(run_scorer(XgboostGain(), context).reports.tables["trees"])
    assert all(0 < float(row[1]) <= 1 for row in boosted[1:])

    scorer = Shapley(method="permutations", permutations=30, stable=1)
    result = run_scorer(scorer, context)
    context.restart()
    estimates = {group.name: scorer.estimate(context, group) for group in context.groups}
    _, *rows = read(result.reports.tables["values"])
    for name, estimate in estimates.items():
        mine = [row for row in rows if row[0] == name]
        assert [float(row[2]) for row in mine] == pytest.approx(estimate.values.tolist(), abs=1e-8)
        assert estimate.standard_error is not None
        assert [float(row[3]) for row in mine] == pytest.approx(estimate.standard_error.tolist(), abs=1e-8)
    assert result.reports.numbers["coalitions"] == sum(each.coalitions for each in estimates.values())
    unsure = run_scorer(Shapley(method="permutations", permutations=5), context).reports
    assert "largest_standard_error" not in unsure.numbers
    assert {row[3] for row in read(unsure.tables["values"])[1:]} == {""}


PLUGIN = """
import benchsuite

class Says(benchsuite.Scorer):
    name = "says"

    def score(self, context):
        context.report("samples", sum(len(labels) for _, labels in context.batches()))
        context.report("note", [{"layer": layer.name, "text": "<b>bold</b>"} for layer in context.layers])
        return {layer.name: layer.weight.flatten(1).abs().sum(1) for layer in context.layers}

class Wrong(benchsuite.Scorer):
    name = "wrong"

    def score(self, context):
        context.report("share", float("nan"))

@benchsuite.hookimpl
def benchsuite_register_scorers(register):
    register(Says)
    register(Wrong)
"""
SUITE = """
[suite]
name = "reports"
seeds = [0]
sparsities = [0.5]
scorers = ["says", "wrong"]
controls = [{ name = "reversed", of = ["says"] }, { name = "shuffled", of = ["says"] }]

[[workload]]
dataset = "digits"
models = ["mlp"]

[training]
epochs = 0.1

[recovery]
epochs = 0

[scoring]
samples = 100

[pruning]
schedule = ["one-shot", "iterative"]
rounds = 2

[metrics]
latency = false
"""


@pytest.mark.slow
def test_reports_are_in_records_folders_and_pages(tmp_path: Path) -> None:
    (tmp_path / "says.py").write_text(PLUGIN)
    (tmp_path / "suite.toml").write_text(SUITE)
    run = tmp_path / "run"
    words = ["run", str(tmp_path / "suite.toml"), "--plugin", str(tmp_path / "says.py"), "--jobs", "1"]
    assert cli.main([*words, "--output", str(run)]) == 1
    for record in RunDirectory(run).results().records:
        folder = run / "stages" / record.key
        if record.axes["scorer"] == "wrong":
            assert record.status == "failed"
            assert "report share: nan is no finite number" in record.error
        elif record.axes["scorer"] == "shuffled(says)":
            assert not any(name.startswith("reported/") for name in record.metrics)
            assert not list(folder.glob("report-*"))
        else:
            assert record.metrics["reported/samples"] == 100, "not half of them"
            rows = read((folder / "report-note.csv").read_text())
            assert rows[0] == ["layer", "text"]
            assert {row[1] for row in rows[1:]} == {"<b>bold</b>"}
    assert cli.main(["clean", str(run), "--dry-run"]) == 0
