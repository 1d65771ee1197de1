"""Metric plugins: their numbers are what another computation gives, and what they do wrong is told."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import benchsuite
from benchsuite import cli
from benchsuite.errors import PluginError
from benchsuite.metrics.metric import declaration_problem
from benchsuite.metrics.run_metric import checked_numbers, run_metric
from benchsuite.metrics.showpieces import Showpieces
from benchsuite.store.run_directory import RunDirectory
from benchsuite.testing import (
    METRIC_CHECKS,
    TinyResidual,
    metric_context_for,
    tiny_convnet,
    tiny_samples,
)
from benchsuite.trials.shown_files import copy_shown, keep_shown

if TYPE_CHECKING:
    from collections.abc import Callable

DOCS = Path(__file__).parents[2] / "docs/plugins.md"
QUANTITY = benchsuite.Quantity("something", "mm", "lower")


class Something(benchsuite.Metric):
    """Returns what a test says."""

    name = "something"
    quantities: ClassVar = {"size": QUANTITY, "error": benchsuite.Quantity("error")}
    returned: Any = None

    def measure(self, context: benchsuite.MetricContext) -> Any:
        return self.returned(context) if callable(self.returned) else self.returned or {"size": 1.0}


def measured(returned: Any, stage: Any = "end") -> dict[str, float]:
    metric = Something()
    metric.returned = returned
    return run_metric(metric, metric_context_for(tiny_convnet(), *tiny_samples(), stage=stage))


@pytest.mark.parametrize("value", [2, 2.0, np.float32(2), np.int64(2), torch.tensor(2.0), torch.tensor([2])])
def test_numbers_of_any_kind_are_numbers(value: Any) -> None:
    assert measured({"size": value, "error/conv 1": 0}) == {"size": 2.0, "error/conv 1": 0.0}


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (0.5, "must return a dict of at most 1000 numbers, not float"),
        ([1.0], "not list"),
        ({f"error/{number}": 0 for number in range(1001)}, "at most 1000 numbers"),
        ({"sise": 1}, "returned 'sise', and its quantities are size, error"),
        ({1: 1}, "returned 1, and"),
        ({"size/": 1}, "returned 'size/'"),
        ({"error/a\nb": 1}, "returned"),
        ({"error/a_dense": 1}, "returned"),
        ({"size": math.nan}, "size is nan, no finite number"),
        ({"size": math.inf}, "no finite number"),
        ({"size": "1"}, "size is '1', no finite number"),
        ({"size": torch.zeros(2)}, "no finite number"),
        (lambda context: 1 / 0, r"measure\(\) raised ZeroDivisionError"),
        (lambda context: context.batches("holdout").__next__(), "there is no split 'holdout'"),
        (lambda context: context.model.train() and {}, "switched to training"),
        (lambda context: torch.rand(1) * 0 and {}, "global generator of torch"),
        (lambda context: context.dense[0].weight.data.zero_() is None or {}, "values of 0.weight changed"),
    ],
)
def test_whatever_else_is_returned_or_done_is_told(returned: Any, message: str) -> None:
    with pytest.raises(PluginError, match=message):
        measured(returned)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=7), inner, max_size=3),
    )
)
def test_forged_numbers_are_finite_ones_of_declared_quantities_or_refused(returned: Any) -> None:
    """What a stranger's process sends may be anything."""
    try:
        numbers = checked_numbers(returned, {"size": QUANTITY}, "metric something")
    except PluginError:
        return
    assert all(name.split("/")[0] == "size" and math.isfinite(value) for name, value in numbers.items())


@pytest.mark.parametrize(
    ("quantities", "stages", "message"),
    [
        ({}, ("end",), "quantities is {}; it must be a dict of 1 to 50 names"),
        (["ece"], ("end",), "it must be a dict"),
        ({"ECE": QUANTITY}, ("end",), "quantity 'ECE' must be called by lower-case letters"),
        ({"ece_dense": QUANTITY}, ("end",), "not ending in"),
        ({"ece": "error"}, ("end",), "quantity ece is 'error'; it must be benchsuite.Quantity"),
        ({"ece": benchsuite.Quantity("")}, ("end",), "quantity ece"),
        ({"ece": benchsuite.Quantity("a", better="more")}, ("end",), "quantity ece"),
        ({"ece": QUANTITY}, (), r"stages is \(\); it must be a tuple of some of dense, round, end"),
        ({"ece": QUANTITY}, ("start",), "some of dense, round, end"),
    ],
)
def test_a_wrong_declaration_is_told(quantities: Any, stages: Any, message: str) -> None:
    assert re.search(message, declaration_problem(quantities, stages) or "")


def test_a_context_has_the_networks_and_the_data() -> None:
    """Tables and outputs beside hooks and passes of the test's own, on a pruned network."""
    model, (inputs, labels) = TinyResidual(), tiny_samples(30)
    context = metric_context_for(model, inputs, labels, stage="end")
    assert context.dense is model
    assert context.model is not model
    assert {layer.name: layer.units for layer in context.layers} == {
        name: len(units) for name, units in context.kept.items() if name != "last"
    }
    assert all(0 not in units for name, units in context.kept.items() if name != "last")
    with torch.no_grad():
        assert torch.allclose(context.outputs(), context.model(inputs), atol=1e-6)
        assert torch.allclose(context.outputs(dense=True), model(inputs), atol=1e-6)
    assert torch.equal(context.labels("train"), labels)
    assert [len(part) for _, part in context.batches("validation", 8)] == [8, 8, 8, 6]
    for dense, network in ((False, context.model), (True, model)):
        maps: list[torch.Tensor] = []
        handle = network.bare.register_forward_hook(lambda *passed, maps=maps: maps.append(passed[2].clone()))
        with torch.no_grad():
            network(inputs)
        handle.remove()
        table = context.activations("mean", "test", dense=dense)["bare"]
        rows, order = context.activation_labels("test"), maps[0].mean((2, 3))
        assert torch.allclose(table.sort(0).values, order.sort(0).values, atol=1e-6)
        for row, label in zip(table, rows, strict=True):
            here = (order - row).abs().sum(1).argmin()
            assert label == labels[here], "the labels are those of the rows"
    assert (
        len(context.activations("max", samples=7)["bare"]) == len(context.activation_labels(samples=7)) == 7
    )


def test_what_is_shown_is_checked() -> None:
    shown = Showpieces()
    shown.add_table("table", [{"layer": "a", "share": 0.5}])
    shown.add_curve("curve", [1, 2], {"line": [0.1, math.nan]}, ("x", "y"))
    from matplotlib.figure import Figure

    shown.add_picture("figure", Figure(figsize=(1, 1)))
    assert shown.curves["curve"].y == {"line": [0.1, None]}
    assert shown.pictures["figure"].startswith(b"\x89PNG")
    wrong: list[tuple[Callable[..., None], tuple[Any, ...], str]] = [
        (shown.add_table, ("table", [1.0]), "already"),
        (shown.add_table, ("../x", [1.0]), "no name"),
        (shown.add_table, ("number", 1.0), r"returned by measure\(\)"),
        (shown.add_curve, ("c2", [1], {"line": [1, 2]}, ("x", "y")), "2 values for 1 places"),
        (shown.add_curve, ("c3", [math.nan], {"line": [1]}, ("x", "y")), "no finite number"),
        (shown.add_curve, ("c4", [1], {}, ("x", "y")), "1 to 12 lines"),
        (shown.add_curve, ("c5", [1e308], {"line": [1]}, ("x", "y")), "no finite number below"),
        (shown.add_picture, ("p2", b"<svg onload=x>"), "bytes of a PNG file"),
        (shown.add_picture, ("p3", b"\x89PNG\r\n\x1a\n" + bytes(3 << 20)), "at most 2 MiB"),
    ]
    for add, arguments, message in wrong:
        with pytest.raises(PluginError, match=message):
            add(*arguments)


def documented() -> str:
    (text,) = (t for t in re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL) if "Metric)" in t)
    return str(text)


def test_the_documented_metric_is_short_and_conforms(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = documented().partition("class")[2].partition("@benchsuite")[0].strip().splitlines()
    assert len([line for line in lines if line.strip()]) <= 20
    (tmp_path / "calibration.py").write_text(documented())
    assert cli.main(["check-plugin", str(tmp_path / "calibration.py")]) == 0
    said = capsys.readouterr().out
    assert [f"calibration-error: {check}: ok" in said for check in ("networks", "determinism")] == [True] * 2


def test_files_beside_a_dense_model_are_those_of_its_stage_under_the_suites_name(tmp_path: Path) -> None:
    stage, dense = tmp_path / "stage", tmp_path / "dense"
    dense.mkdir()
    shown = Showpieces()
    shown.add_table("a", [1.0])
    shown.add_curve("b", [1, 2], {"line": [1, 2]}, ("x", "y"))
    keep_shown(stage, "show", shown)
    for name in ("measured-mine-old.csv", "measured-mine-2-a.csv", "measured-mine-a.csv"):
        (dense / name).write_text("of another time")
    copy_shown(stage, "show", dense, "mine")
    own = {path.name: path.read_bytes() for path in dense.iterdir()}
    assert own.pop("measured-mine-2-a.csv") == b"of another time", "it is another metric's"
    assert own == {
        path.name.replace("measured-show-", "measured-mine-"): path.read_bytes() for path in stage.iterdir()
    }


class Unsteady(Something):
    """Its numbers are others each time."""

    calls: list[int] = []  # noqa: RUF012 - what a stranger may write

    def measure(self, context: benchsuite.MetricContext) -> dict[str, float]:
        self.calls.append(1)
        return {"size": float(len(self.calls))}


def test_checks_find_what_is_wrong() -> None:
    for check in METRIC_CHECKS.values():
        check(Something())
    unsteady = Unsteady(calls=[])
    with pytest.raises(AssertionError, match=r"two measurements with one seed differ: size is 1\.0 and 2\.0"):
        METRIC_CHECKS["determinism"](unsteady)
    nothing = Something()
    nothing.returned = lambda context: (_ for _ in ()).throw(benchsuite.Unsupported("no"))
    with pytest.raises(AssertionError, match="measures none of"):
        METRIC_CHECKS["networks"](nothing)


PLUGIN = """
import os
import benchsuite

class Cautious(benchsuite.Metric):
    name = "cautious"
    quantities = {"layers": benchsuite.Quantity("layers", "<b>layers</b>", "higher")}
    stages = ("end",)

    def measure(self, context):
        raise benchsuite.Unsupported("only on Sundays")

class Breaks(benchsuite.Metric):
    name = "breaks"
    quantities = {"layers": benchsuite.Quantity("layers")}
    stages = ("dense", "end")
    at: str = "dense"
    how: str = "raise"

    def measure(self, context):
        if context.stage == self.at:
            if self.how == "raise":
                raise ValueError("oh no")
            os._exit(3)
        return {"layers": len(context.layers)}

class Reads(Breaks):
    # A file that somebody edits meanwhile.
    name = "reads"
    path: str = ""

    def fingerprint(self):
        return benchsuite.file_fingerprint(self.path)

    def measure(self, context):
        with open(self.path, "a") as file:
            file.write("more")
        return {"layers": len(context.layers)}

class Forges(Breaks):
    # Leaves a folder where its answer should be.
    name = "forges"
    path: str = ""

    def measure(self, context):
        import pathlib
        for network in pathlib.Path(self.path).rglob("stages/*/worker.log"):
            (network.parent / "measured.json" / "x").mkdir(parents=True, exist_ok=True)
        os._exit(0)

@benchsuite.hookimpl
def benchsuite_register_metrics(register):
    for metric in (Cautious, Breaks, Reads, Forges):
        register(metric)
"""
SUITE = """
[suite]
name = "measured"
seeds = [0]
sparsities = [0.5]
scorers = ["magnitude-l1"]

[[workload]]
dataset = "digits"
models = ["mlp"]

[training]
epochs = 1

[recovery]
epochs = 0.2

[metrics]
latency = false
plugins = [{metrics}]
"""


def run(folder: Path, metrics: str, *, plugin: str = PLUGIN) -> tuple[int, Path]:
    (folder / "mine.py").write_text(plugin)
    (folder / "suite.toml").write_text(SUITE.replace("{metrics}", metrics))
    words = ["run", str(folder / "suite.toml"), "--plugin", str(folder / "mine.py"), "--jobs", "1"]
    return cli.main([*words, "--output", str(folder / "run")]), folder / "run"


def by_hand(outputs: torch.Tensor, labels: torch.Tensor, bins: int) -> float:
    """The calibration error sample by sample."""
    sums, counts = [0.0] * bins, 0
    for scores, label in zip(outputs.double().numpy(), labels.tolist(), strict=True):
        shares = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
        number = min(int(shares.max() * bins), bins - 1)
        sums[number] += float(scores.argmax() == label) - float(shares.max())
        counts += 1
    return sum(map(abs, sums)) / counts


@pytest.mark.slow
def test_a_strangers_numbers_are_right_and_everywhere(tmp_path: Path) -> None:
    """Records, files, MLflow and pages; and beside the exported network, one sample at a time."""
    from safetensors.torch import load_file

    metrics = '"calibration-error", { name = "calibration-error", bins = 4, called = "coarse" }'
    code, folder = run(tmp_path, metrics, plugin=documented())
    assert code == 0
    (record,) = RunDirectory(folder).results().records
    words = ["export", str(folder), record.key, "--output", str(tmp_path / "net")]
    assert cli.main([*words, "--plugin", str(tmp_path / "mine.py")]) == 0
    data = load_file(folder / "stages" / record.stages["data"] / "data.safetensors")
    network = torch.export.load(tmp_path / "net/model.pt2").module()
    inputs, labels = data["test/inputs"], data["test/labels"]
    normalised = normalise(tmp_path / "net/pruning.json", inputs)
    with torch.no_grad():
        outputs = network(normalised)
    right = (outputs.argmax(1) == labels).float().mean().item()
    assert right == pytest.approx(record.metrics["accuracy/top1"], abs=1e-6)
    for called, bins in (("calibration-error", 15), ("coarse", 4)):
        found = record.metrics[f"measured/{called}/ece"]
        assert found == pytest.approx(by_hand(outputs, labels, bins), abs=1e-4)
        assert 0 < record.metrics[f"measured/{called}/ece_dense"] < 1
    noted = record.provenance["measured"]["coarse"]
    assert noted == {
        "metric": "calibration-error(bins=4)",
        "quantities": {"ece": ["expected calibration error", "", "lower"]},
    }
    (page,) = (path.read_text() for path in (folder / "site/workloads").glob("*.html"))
    assert "calibration-error(bins=4)" in page
    assert "Expected calibration error: lower is better" in page
    assert f"dense {record.metrics['measured/coarse/ece_dense']:.3g}" in page
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'measured'")
    logged = [run.data.metrics for run in client.search_runs([experiment.experiment_id])]
    assert any(
        values.get("measured/coarse/ece") == record.metrics["measured/coarse/ece"] for values in logged
    )
    assert cli.main(["doctor", str(folder)]) == 0
    before = (folder / "results.jsonl").read_bytes()
    assert run(tmp_path, metrics, plugin=documented())[0] == 0
    assert (folder / "results.jsonl").read_bytes() == before, "nothing is measured again"


def normalise(pruning: Path, inputs: torch.Tensor) -> torch.Tensor:
    import json

    told = json.loads(pruning.read_text())["input"]
    mean, std = (torch.tensor(told[name]) for name in ("mean", "std"))
    if inputs.dtype == torch.uint8:
        inputs = inputs.float() / 255
        mean, std = (each.view(1, -1, 1, 1) for each in (mean, std))
    return (inputs - mean) / std


@pytest.mark.slow
def test_a_metric_that_breaks_costs_its_trials_and_says_where(tmp_path: Path) -> None:
    found: dict[str, Any] = {}
    for metrics in (
        '"cautious"',
        '"breaks"',
        '{ name = "breaks", at = "end" }',
        '{ name = "breaks", how = "die" }',
        '{ name = "reads", path = "PATH/data.txt" }',
        '{ name = "forges", path = "PATH" }',
    ):
        folder = tmp_path / str(len(found))
        folder.mkdir()
        (folder / "data.txt").write_text("some")
        code, where = run(folder, metrics.replace("PATH", str(folder)))
        (record,) = RunDirectory(where).results().records
        found[metrics] = code, record
        assert not list((where / "stages" / record.stages["metric"]).glob("measured.*"))
        assert "forges" in metrics or not list(where.rglob("measured.*")), "what was handed over is gone"
    code, record = found['"cautious"']
    assert (code, record.status) == (0, "done")
    assert record.provenance["measured"]["cautious"]["unsupported"] == "only on Sundays"
    assert not any(name.startswith("measured/") for name in record.metrics)
    for metrics, message in (
        ('"breaks"', r"metric breaks: measure\(\) raised ValueError: oh no \(mine.py:\d+\)"),
        ('{ name = "breaks", at = "end" }', r"metric breaks: measure\(\) raised ValueError: oh no"),
        ('{ name = "breaks", how = "die" }', "measuring breaks of mlp · digits · seed 0: .*"),
        ('{ name = "reads", path = "PATH/data.txt" }', "the files that metric reads.* changed after"),
        ('{ name = "forges", path = "PATH" }', "measuring forges of mlp|metric forges: its process left no"),
    ):
        code, record = found[metrics]
        assert (code, record.status) == (1, "failed")
        assert re.match(message, record.error), record.error


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ('"calibrationerror"', "there is no metric 'calibrationerror'; did you mean 'calibration-error'"),
        ('"calibration-error", "calibration-error"', "two metrics are called calibration-error"),
        ('{ name = "calibration-error", bin = 3 }', "there is no parameter 'bin'; did you mean 'bins'"),
        ('{ name = "calibration-error", called = "A/B" }', "called"),
    ],
)
def test_a_suite_that_names_metrics_wrongly_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], metrics: str, message: str
) -> None:
    (tmp_path / "mine.py").write_text(documented())
    path = tmp_path / "suite.toml"
    path.write_text(SUITE.replace("{metrics}", metrics))
    assert cli.main(["validate", str(path), "--plugin", str(tmp_path / "mine.py")]) == 4
    said = " ".join(capsys.readouterr().err.split())
    assert message in said
    line = path.read_text().splitlines().index(f"plugins = [{metrics}]") + 1
    assert f"suite.toml:{line}" in said
