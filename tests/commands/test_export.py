"""A trial's network, exported from its run directory: it must load without benchsuite."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
import tomli_w
import torch
from safetensors.torch import load_file, save_file

from benchsuite import cli
from benchsuite.commands.export import as_recorded, planned
from benchsuite.commands.loading import load
from benchsuite.commands.run import resolved
from benchsuite.errors import UsageError
from benchsuite.execution.jobs import without_result
from benchsuite.hardware.devices import prepare
from benchsuite.plan.matrix import build_plan
from benchsuite.registry.discovery import discover
from benchsuite.store.run_directory import Cell, RunDirectory
from benchsuite.store.stages import read_facts
from benchsuite.suite import load_suite
from benchsuite.trials.dense_training import train_dense
from benchsuite.trials.facts import PrunedFacts, pruned_stage
from benchsuite.trials.run_trial import run_trial
from benchsuite.trials.scores import score_dense
from benchsuite.trials.usable_model import usable
from benchsuite.trials.worker_context import RunConfiguration, WorkerContext

if TYPE_CHECKING:
    from pathlib import Path

SUITE = """
[suite]
name = "small"
seeds = [0]
sparsities = [0.5, 0.6, 0.7]
scorers = ["magnitude-l1"]

[[workload]]
dataset = "digits"
models = [{ name = "mlp", hidden = [24, 16], activation = "relu" }]

[training]
epochs = 4

[pruning]
granularity = ["unit", "weight"]

[metrics]
latency = false
"""

PLUGIN = """
import benchsuite

class Fixed(benchsuite.ModelPlugin):
    \"\"\"A network that looks at its inputs while it runs, as torch.export cannot.\"\"\"

    name = "looks"

    def build(self, input_shape, classes):
        from torch import nn

        class Looks(nn.Module):
            def __init__(self):
                super().__init__()
                self.hidden, self.output = nn.Linear(64, 12), nn.Linear(12, classes)

            def forward(self, x):
                hidden = self.hidden(x.flatten(1)).relu()
                return self.output(hidden * (2.0 if float(hidden.detach().sum()) >= 0 else 1.0))

        return Looks()

@benchsuite.hookimpl
def benchsuite_register_models(register):
    register(Fixed)
"""

ELSEWHERE = """
import json, pathlib, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0].startswith("benchsuite"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
import torch
from safetensors.torch import load_file

data, folder = sys.argv[1:]
model = torch.export.load(f"{folder}/model.pt2").module()
history = json.loads(pathlib.Path(folder, "pruning.json").read_text())
split = load_file(data)
shape = (1, -1, 1, 1)
mean, std = (torch.tensor(history["input"][name]).view(shape) for name in ("mean", "std"))
with torch.no_grad():
    logits = model((split["test/inputs"].float() / 255 - mean) / std)
right = (logits.argmax(1) == split["test/labels"]).double().mean()
loaded = any(name.startswith("benchsuite") for name in sys.modules)
print(repr(float(right)), sum(p.numel() for p in model.parameters()), loaded)
"""


def run_suite(folder: Path, text: str, plugins: tuple[Path, ...] = (), skipped: float | None = None) -> None:
    """Fill a run directory with the suite's trials, except those of one sparsity."""
    directory = RunDirectory(folder)
    registry, _ = discover(plugins)
    folder.mkdir()
    directory.suite_file.write_text(text)
    trials = build_plan(load_suite(directory.suite_file, registry), registry, folder)
    directory.write_plan([Cell(trial.key, trial.axes) for trial in trials])
    worker = WorkerContext(RunConfiguration(folder, folder), registry, prepare("cpu", 1), 1)
    train_dense(worker, trials[0].dense)
    for trial in trials:
        if trial.sparsity == 0.6 and trial.score.granularity == "unit":
            directory.append(without_result(trial, "collapsed", "no unit would be left in hidden1"))
        elif trial.sparsity != skipped:
            directory.append(run_trial(worker, trial, [score_dense(worker, trial.score)]))


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "small"
    run_suite(folder, SUITE, skipped=0.7)
    return folder


def record_of(run: Path, granularity: str, sparsity: float):
    records, _ = RunDirectory(run).records()
    return next(
        r for r in records.values() if (r.axes["granularity"], r.axes["sparsity"]) == (granularity, sparsity)
    )


@pytest.mark.parametrize("granularity", ["unit", "weight"])
def test_the_program_gives_the_recorded_accuracy_without_benchsuite(run, granularity, tmp_path, capsys):
    record = record_of(run, granularity, 0.5)
    assert cli.main(["export", str(run), record.key, "--output", str(tmp_path / "out")]) == 0
    assert str(tmp_path / "out" / "model.pt2") in capsys.readouterr().out
    data = run / "stages" / record.stages["data"] / "data.safetensors"
    command = [sys.executable, "-I", "-c", ELSEWHERE, str(data), str(tmp_path / "out")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert said == [repr(record.metrics["accuracy/top1"]), str(int(record.metrics["cost/params"])), "False"]


def test_weights_history_and_readme_lie_beside_it(run):
    record = record_of(run, "unit", 0.5)
    folder = run / "exports" / record.key
    folder.mkdir(parents=True)
    assert cli.main(["export", str(run), record.key[:12]]) == 0, "an empty folder is as good as none"
    weights, kept = (load_file(f / "model.safetensors") for f in (folder, run / "stages" / record.key))
    assert weights.keys() == kept.keys()
    assert all(torch.equal(weights[name], kept[name]) for name in kept)
    history = json.loads((folder / "pruning.json").read_text())
    assert history["axes"] == record.axes
    assert history["settings"] == record.settings
    assert history["input"]["shape"] == [1, 8, 8]
    assert history["classes"] == [str(digit) for digit in range(10)]
    for layer, units in (("hidden1", 24), ("hidden2", 16)):
        left = history["kept_units"][layer]
        assert weights[f"{layer}.weight"].shape[0] == len(left) < units
        assert sorted(left + history["removed"][layer]) == list(range(units))
    readme = (folder / "README.md").read_text()
    snippet = readme.split("```python\n")[1].split("```")[0]
    inputs = torch.zeros(3, 1, 8, 8)
    scope = {"inputs": inputs}
    exec(snippet.replace("model.pt2", str(folder / "model.pt2")), scope)
    assert scope["logits"].shape == (3, 10)
    assert len(snippet.strip().splitlines()) == 3


def test_what_lies_in_the_folder_is_not_overwritten(run, tmp_path, capsys):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "README.md").write_text("my own")
    words = ["export", str(run), record_of(run, "unit", 0.5).key, "--output", str(folder)]
    assert cli.main(words) == 4
    assert (
        f"not overwritten: {folder} is not empty; choose another folder with --output"
        in capsys.readouterr().err
    )
    assert [file.read_text() for file in folder.iterdir()] == ["my own"]
    assert cli.main([*words, "--force"]) == 0
    assert "my own" not in (folder / "README.md").read_text()


def test_a_record_from_before_a_change_of_the_source_is_found_by_its_axes(run):
    registry, _ = discover()
    trials = planned(RunDirectory(run), registry, run)
    record = record_of(run, "unit", 0.5)
    old = replace(record, key="0" * 20, stages={**record.stages, "train": "1" * 20, "data": "2" * 20})
    found = as_recorded(trials, old)
    assert (found.key, found.dense.key, found.dense.data_key) == ("0" * 20, "1" * 20, "2" * 20)
    assert found.axes == as_recorded(trials, record).axes
    with pytest.raises(UsageError, match="a suite that the run no longer has"):
        as_recorded(trials, replace(old, axes={**old.axes, "seed": 9}))


def test_a_cell_that_has_a_record_is_not_counted_beside_it(run, tmp_path, capsys):
    copied = shutil.copytree(run, tmp_path / "copied", ignore=shutil.ignore_patterns("exports"))
    results = copied / "results.jsonl"
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    for number, line in enumerate(lines):  # the keys of other code
        line["key"] = f"{number:020x}"
    results.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = RunDirectory(run).results()
    assert cli.main(["export", str(copied), ""]) == 4
    assert f"has {len(found.records) + found.pending} trials whose keys begin with" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("field", "content", "told"),
    [("metrics", {"accuracy/top1": 0.5, "accuracy/top1_dense": 0.5}, "the metric"), ("axes", {}, "the axis")],
)
def test_a_record_that_lacks_something_is_said_before_anything_is_written(
    run, tmp_path, capsys, field, content, told
):
    record = replace(record_of(run, "unit", 0.5), **{field: content})
    copied = shutil.copytree(run, tmp_path / "copied", ignore=shutil.ignore_patterns("exports"))
    RunDirectory(copied).append(record)
    assert cli.main(["export", str(copied), record.key]) == 4
    assert f"the record of {record.key} is not complete: it has not {told}" in capsys.readouterr().err
    assert not (copied / "exports").exists()


def test_a_record_that_names_no_stages_is_refused(run):
    registry, _ = discover()
    trials = planned(RunDirectory(run), registry, run)
    record = replace(record_of(run, "unit", 0.5), key="0" * 20, stages={})
    with pytest.raises(UsageError, match="does not name its stages train, data, score"):
        as_recorded(trials, record)


def kept_anew(folder: Path) -> None:
    """Update the checksums of a trial's files to their current content."""
    facts = read_facts(folder, PrunedFacts)
    pruned_stage(folder).complete(facts)


def test_a_network_that_computes_something_else_now_is_refused(run, tmp_path, capsys):
    changed = shutil.copytree(run, tmp_path / "changed", ignore=shutil.ignore_patterns("exports"))
    record = record_of(run, "unit", 0.5)
    path = changed / "stages" / record.key / "model.safetensors"
    weights = load_file(path)
    weights["hidden1.weight"] *= 1.05
    save_file(weights, path)
    assert cli.main(["export", str(changed), record.key]) == 1
    assert "model.safetensors is damaged (its checksum is another)" in capsys.readouterr().err
    # As after a change of the model's code: the files are undamaged, but the outputs are different.
    kept_anew(path.parent)
    assert cli.main(["export", str(changed), record.key]) == 1
    assert "its outputs differ by" in capsys.readouterr().err
    weights["hidden1.weight"] = weights["hidden1.weight"][1:]
    save_file(weights, path)
    kept_anew(path.parent)
    assert cli.main(["export", str(changed), record.key]) == 1
    assert f"the weights of trial {record.key} do not fit" in capsys.readouterr().err
    assert not (changed / "exports").exists()


def test_keys_that_name_no_finished_trial(run, capsys, tmp_path):
    def said(key: str, folder: Path = run) -> str:
        assert cli.main(["export", str(folder), key]) == 4
        return capsys.readouterr().err

    done = record_of(run, "unit", 0.5)
    unknown = said("xyz")
    assert "no trial with the key 'xyz'; finished ones are" in unknown
    assert f"{done.key}  digits · mlp" in unknown
    assert "trials whose keys begin with ''" in said("")
    assert "collapsed, no unit would be left in hidden1" in said(record_of(run, "unit", 0.6).key)
    registry, _ = discover()
    pending = next(t for t in planned(RunDirectory(run), registry, run) if t.sparsity == 0.7)
    assert "has not been run yet" in said(pending.key)
    assert "is not a run directory" in said("xyz", tmp_path)


def test_a_network_that_cannot_be_exported_still_leaves_weights_and_history(tmp_path, capsys):
    plugin = tmp_path / "looks.py"
    plugin.write_text(PLUGIN)
    text = SUITE.replace('{ name = "mlp", hidden = [24, 16], activation = "relu" }', '"looks"')
    text = text.replace("[0.5, 0.6, 0.7]", "[0.5]").replace('["unit", "weight"]', '"unit"')
    run_suite(tmp_path / "run", text, (plugin,))
    key = record_of(tmp_path / "run", "unit", 0.5).key
    assert cli.main(["export", str(tmp_path / "run"), key]) == 4
    said = capsys.readouterr().err
    assert "there is no model 'looks'" in said
    assert "--plugin" in said
    folder = tmp_path / "out"
    arguments = ["export", str(tmp_path / "run"), key, "--plugin", str(plugin), "--output", str(folder)]
    assert cli.main(arguments) == 1
    assert f"model.safetensors and pruning.json are in {folder}, model.pt2 is not" in capsys.readouterr().err
    assert {file.name for file in folder.iterdir()} == {"model.safetensors", "pruning.json"}


@pytest.mark.parametrize("name", ["quick", "full"])
def test_the_resolved_suite_of_a_run_gives_the_same_trials_again(name, pytestconfig, tmp_path):
    suite = pytestconfig.rootpath / "suites" / f"{name}.toml"
    options = SimpleNamespace(
        plugin=[],
        no_third_party=False,
        suite=suite,
        data=tmp_path,
        filter=[],
        scorer=[],
        output=tmp_path / "run",
        threads=1,
    )
    loaded = load(options)
    directory = loaded.directory
    directory.path.mkdir()
    directory.suite_file.write_text(tomli_w.dumps(resolved(loaded)))
    again = planned(directory, loaded.registry, tmp_path)
    assert [trial.key for trial in again] == [trial.key for trial in loaded.trials]


DECODER = """
import benchsuite
import torch
from torch import nn

class Decoder(nn.Module):
    def __init__(self, classes, maps=8, up=12, grouped=12, groups=3):
        super().__init__()
        self.width = maps
        self.features = nn.Linear(64, maps * 4)
        self.up, self.norm = nn.ConvTranspose2d(maps, up, 4, 2, 1, bias=False), nn.BatchNorm2d(up)
        self.grouped = nn.ConvTranspose2d(up, grouped, 2, 2, groups=groups)
        self.head = nn.Linear(grouped, classes)

    def forward(self, x):
        x = self.features(x.flatten(1)).relu().view(-1, self.width, 2, 2)
        x = self.norm(self.up(x)).relu()
        return self.head(self.grouped(x).relu().mean((2, 3)))

class Plugin(benchsuite.ModelPlugin):
    name = "decoder"

    def build(self, input_shape, classes):
        return Decoder(classes)

@benchsuite.hookimpl
def benchsuite_register_models(register):
    register(Plugin)
"""


@pytest.fixture(scope="module")
def decoders(tmp_path_factory) -> tuple[Path, Path]:
    """A run of a network with transposed convolutions, and the plugin's file."""
    folder = tmp_path_factory.mktemp("runs")
    plugin = folder / "decoder.py"
    plugin.write_text(DECODER)
    mlp = next(line for line in SUITE.splitlines() if line.startswith("models"))
    run_suite(folder / "small", SUITE.replace(mlp, 'models = ["decoder"]'), (plugin,), skipped=0.7)
    return folder / "small", plugin


@pytest.mark.parametrize("granularity", ["unit", "weight"])
def test_transposed_convolutions_are_those_of_torch_and_load_into_the_code_that_built_them(
    decoders, granularity, tmp_path
):
    folder, plugin = decoders
    record = record_of(folder, granularity, 0.5)
    out = tmp_path / "out"
    words = ["export", str(folder), record.key, "--plugin", str(plugin), "--output", str(out)]
    assert cli.main(words) == 0
    data = folder / "stages" / record.stages["data"] / "data.safetensors"
    command = [sys.executable, "-I", "-c", ELSEWHERE, str(data), str(out)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert said == [repr(record.metrics["accuracy/top1"]), str(int(record.metrics["cost/params"])), "False"]

    kept = json.loads((out / "pruning.json").read_text())["kept_units"]
    scope = {}
    exec(DECODER, scope)
    maps = len(kept.get("features", range(32))) // 4
    up, grouped = (len(kept.get(name, range(12))) for name in ("up", "grouped"))
    assert granularity == "weight" or grouped < 12
    own = scope["Decoder"](10, maps, up, grouped, grouped // 4).eval()
    own.load_state_dict(load_file(out / "model.safetensors"))
    program = torch.export.load(out / "model.pt2").module()
    inputs = torch.rand(3, 1, 8, 8)
    torch.testing.assert_close(own(inputs), program(inputs))

    again = usable(program, (1, 8, 8))
    types = {name: type(module) for name, module in again.named_modules()}
    assert types["up"] is types["grouped"] is torch.nn.ConvTranspose2d
    torch.testing.assert_close(again.eval()(inputs), own(inputs))
