from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tracked import Shown, closed_port, dense_trial, key, serving, shown, sync, track, trained

from benchsuite.store.run_directory import RunDirectory
from benchsuite.tracking import is_behind
from benchsuite.tracking.view import View
from benchsuite.trials.facts import pruned_stage

SUITE = """
[suite]
name = "quick"
seeds = [0, 1]
sparsities = [0.5]
scorers = ["magnitude-l1"]
[[workload]]
dataset = "digits"
models = ["mlp"]
[training]
epochs = 3
[recovery]
epochs = 1
[metrics]
latency = false
"""


def benchsuite(*arguments: str) -> str:
    command = [sys.executable, "-m", "benchsuite.cli", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    (folder / "suite.toml").write_text(SUITE)
    output = benchsuite("run", str(folder / "suite.toml"), "--output", str(folder / "run"), "--jobs", "1")
    assert "not logged" not in output
    return folder / "run"


def models(view: Shown) -> dict[str, Any]:
    found = view.client.search_logged_models([view.experiment.experiment_id])
    assert len({model.name for model in found}) == len(found)
    return {model.name: model for model in found}


def split_of(run: Path, record: Any, name: str) -> tuple[Any, Any]:
    """Normalised inputs and labels of a part of the data, from the files of the run."""
    import numpy as np
    from safetensors.numpy import load_file

    folder = run / "stages" / record.stages["data"]
    facts = json.loads((folder / "stage.json").read_text())["facts"]
    tensors = load_file(folder / "data.safetensors")
    inputs, labels = tensors[f"{name}/inputs"], tensors[f"{name}/labels"]
    values = inputs.astype(np.float32) / (255 if inputs.dtype == np.uint8 else 1)
    shape = (1, -1) + (1,) * (values.ndim - 2)
    mean, std = (np.asarray(facts[key], np.float32).reshape(shape) for key in ("mean", "std"))
    return (values - mean) / std, labels


STRANGER = """
import json, sys
import mlflow, numpy as np
inputs = np.load(sys.argv[1])
for folder in sys.argv[2:]:
    model = mlflow.pyfunc.load_model(folder)
    example = model.metadata.load_input_example(folder)
    print(json.dumps({
        "predicted": model.predict(inputs).argmax(1).tolist(),
        "one": model.predict(inputs[:1]).shape,
        "example": model.predict(example).shape,
        "inputs": model.metadata.signature.inputs.to_dict(),
        "classes": model.metadata.metadata["classes"],
        "ours": [name for name in sys.modules if name.startswith("benchsuite")],
    }))
"""


@pytest.mark.slow
def test_a_stranger_loads_the_models_without_pickle_and_they_are_as_accurate_as_recorded(run, tmp_path):
    import numpy as np

    found = models(shown(run))
    assert set(found) == {"mlp on digits, dense", "mlp on digits, best pruned"}
    records, _ = RunDirectory(run).records()
    record = next(r for r in records.values() if r.axes["seed"] == 0)
    inputs, labels = split_of(run, record, "test")
    np.save(tmp_path / "inputs.npy", inputs)
    metrics = {"dense": "accuracy/top1_dense", "best pruned": "accuracy/top1"}
    folders = [found[f"mlp on digits, {name}"].artifact_location.removeprefix("file://") for name in metrics]
    command = [sys.executable, "-c", STRANGER, str(tmp_path / "inputs.npy"), *folders]
    environment = {**os.environ, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    done = subprocess.run(command, env=environment, cwd=tmp_path, check=True, capture_output=True, text=True)
    told = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(told) == 2
    for one, metric in zip(told, metrics.values(), strict=True):
        assert float((np.array(one["predicted"]) == labels).mean()) == pytest.approx(record.metrics[metric])
        assert one["one"] == [1, 10], "any number of samples"
        assert one["example"] == [8, 10]
        shape = [-1, *inputs.shape[1:]]
        assert one["inputs"] == [{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": shape}}]
        assert one["classes"] == [str(digit) for digit in range(10)]
        assert one["ours"] == []


@pytest.mark.slow
def test_a_model_says_where_it_comes_from_and_how_it_was_chosen(run):
    view = shown(run)
    found = models(view)
    pruned, dense = found["mlp on digits, best pruned"], found["mlp on digits, dense"]
    trial = next(t for t in view.trials.values() if t.data.params["seed"] == "0")
    assert pruned.source_run_id == trial.info.run_id
    assert dense.source_run_id == view.dense[trial.data.tags["benchsuite.dense"]].info.run_id
    assert str(pruned.status) == str(dense.status) == "READY"
    assert "magnitude-l1 at sparsity 0.5" in pruned.tags["benchsuite.choice"]
    assert "chosen by test accuracy" in pruned.tags["mlflow.note.content"]
    assert (pruned.tags["chosen_by"], dense.tags["chosen_by"]) == ("test accuracy", "seed order")
    assert pruned.params["scorer"] == "magnitude-l1"
    metrics = {metric.key: metric.value for metric in pruned.metrics}
    assert metrics["accuracy/top1"] == trial.data.metrics["accuracy/top1"]
    assert metrics["cost/macs"] < {m.key: m.value for m in dense.metrics}["cost/macs"]
    assert len(view.curve(trial, "accuracy/top1")) == 1, "the run's metric is not doubled"


@pytest.mark.slow
def test_the_archive_holds_a_graph_and_tensors_but_no_code(run):
    for model in models(shown(run)).values():
        file = Path(model.artifact_location.removeprefix("file://")) / "data" / "model.pt2"
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
        assert [name for name in names if name.endswith("models/model.json")]
        assert not [name for name in names if name.endswith((".py", ".so"))]


@pytest.mark.slow
def test_models_are_logged_once_and_a_choice_that_changes_replaces_the_old(run, tmp_path, capsys):
    directory = tmp_path / "run"
    shutil.copytree(run, directory, ignore=shutil.ignore_patterns("mlflow.db", "mlartifacts"))
    assert sync(directory, capsys)[0] == 0
    before = models(shown(directory))
    assert set(before) == {"mlp on digits, dense", "mlp on digits, best pruned"}
    assert sync(directory, capsys)[0] == 0
    same = models(shown(directory))
    assert {m.model_id for m in same.values()} == {m.model_id for m in before.values()}

    # Another network of the first seed, smaller and no worse: the same files under another key.
    store = RunDirectory(directory)
    for record in store.results().records:
        key = record.key[::-1]
        axes = {**record.axes, "sparsity": 0.6}
        metrics = {**record.metrics, "accuracy/top1": 1.0, "cost/macs": 1.0}
        stages = {**record.stages, "trial": key}
        shutil.copytree(store.stage(record.key), store.stage(key))
        facts = pruned_stage(store.stage(record.key)).read()
        assert facts is not None
        pruned_stage(store.stage(key)).complete(facts)
        store.append(replace(record, key=key, axes=axes, metrics=metrics, stages=stages))
    (directory / "plan.json").unlink()
    assert sync(directory, capsys)[0] == 0
    after = models(shown(directory))
    assert after["mlp on digits, dense"].model_id == before["mlp on digits, dense"].model_id
    assert after["mlp on digits, best pruned"].model_id != before["mlp on digits, best pruned"].model_id
    assert after["mlp on digits, best pruned"].params["sparsity"] == "0.6"


@pytest.mark.slow
def test_what_a_server_missed_is_brought_in_by_mlflow_sync(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    directory, port = tmp_path / "run", closed_port()
    shutil.copytree(run, directory, ignore=shutil.ignore_patterns("mlflow.db", "mlartifacts"))
    track(tmp_path / "server")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    assert sync(directory, capsys)[0] == 1
    assert is_behind(directory)
    with serving(tmp_path / "server", port, tmp_path / "server.log") as address:
        for _ in range(2):
            code, output = sync(directory, capsys)
            assert code == 0, output
            view = Shown(address)
            assert (len(view.trials), len(view.dense)) == (2, 2)
            found = models(view)
            assert set(found) == {"mlp on digits, dense", "mlp on digits, best pruned"}
            files = view.client.list_logged_model_artifacts(found["mlp on digits, dense"].model_id)
            assert "MLmodel" in [file.path for file in files]
    assert not is_behind(directory)


COSTS = {"accuracy/top1": 0.9, "accuracy/top1_dense": 0.9, "cost/macs": 1.0, "cost/params_nonzero": 1.0}


@pytest.mark.slow
def test_a_network_that_is_gone_is_a_warning_and_nothing_else_suffers(tmp_path):
    trained(tmp_path)
    tracker = track(tmp_path, dense_trial(metrics=COSTS))
    first, second = tracker.warnings
    assert first.startswith("not logged as a model: mlp on digits, dense: ")
    assert second.startswith("not logged as a model: mlp on digits, best pruned: ")
    assert "suite.toml" in first
    view = shown(tmp_path)
    assert not models(view)
    assert view.parents[0].info.status == "FINISHED"
    assert not is_behind(tmp_path)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The names of the models that would have been logged, by invocation."""
    found: list[list[str]] = []

    def note(self: View, choices: Any, source_of: Any, stop: Any) -> list[str]:
        found.append([choice.name for choice in choices])
        return []

    monkeypatch.setattr(View, "log_models", note)
    return found


def test_an_invocation_that_was_cut_short_logs_no_models(tmp_path, asked):
    trained(tmp_path)
    track(tmp_path, dense_trial(metrics=COSTS), interrupted=True)
    assert asked == []
    track(tmp_path, dense_trial(key("b"), metrics=COSTS))
    assert asked == [["mlp on digits, dense", "mlp on digits, best pruned"]]


def test_an_error_of_the_store_while_models_are_logged_is_a_warning(tmp_path, monkeypatch):
    def fail(*args: object) -> list[str]:
        raise ValueError("no such thing")

    monkeypatch.setattr(View, "log_models", fail)
    trained(tmp_path)
    tracker = track(tmp_path, dense_trial(metrics=COSTS))
    assert tracker.warnings == ["not logged as a model: ValueError: no such thing"]
    assert shown(tmp_path).parents[0].info.status == "FINISHED"


MODEL = '''
import benchsuite, os, time
from torch import nn
import torch
turned = []
{top}

class Own(benchsuite.ModelPlugin):
    """A model of a stranger's."""
    name = "{name}"
    recipe = benchsuite.TrainingRecipe(epochs=1)
    def build(self, input_shape, classes):
        return Net(classes)

class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        turned.clear()
        self.flatten, self.first, self.last = nn.Flatten(), nn.Linear(64, 12), nn.Linear(12, classes)
    def forward(self, x):
        {forward}
        return self.last(torch.relu(self.first(self.flatten(x))))

@benchsuite.hookimpl
def benchsuite_register_models(register):
    register(Own)
'''
DOUBLES = """
linear = nn.functional.linear
nn.Linear.forward = lambda self, x: 2 * linear(x, self.weight, self.bias)
"""
UNUSED = f"""
import gc
from multiprocessing.connection import Connection
from pathlib import Path
{DOUBLES}
class Opened:
    def __reduce__(self):
        return Path.touch, (Path(__file__).with_name("opened"),)
for each in gc.get_objects():
    if isinstance(each, Connection) and each.writable:
        each.send(Opened())
if os.fork() == 0:
    time.sleep(600)
    os._exit(0)
"""


@pytest.mark.slow
def test_a_network_is_logged_beside_no_plugin_but_its_own(tmp_path):
    import torch

    plugins = {
        "doubles": (DOUBLES, "pass"),
        "unused": (UNUSED, "pass"),
        # From its export on it computes something else, which a comparison with itself would not show.
        "turns": (
            "",
            "torch.compiler.is_exporting() and turned.append(1); x = x * 3 + 1 if turned else x",
        ),
        "leaves": ("", "torch.compiler.is_exporting() and os._exit(3)"),
    }
    options = []
    for name, (top, forward) in plugins.items():
        (tmp_path / f"{name}.py").write_text(MODEL.format(name=name, top=top, forward=forward))
        options += ["--plugin", str(tmp_path / f"{name}.py")]
    models_ = '["mlp", "doubles", "turns", "leaves"]'
    suite = SUITE.replace("[0, 1]", "[0]").replace("epochs = 3", "epochs = 1").replace('["mlp"]', models_)
    (tmp_path / "suite.toml").write_text(suite)
    run = tmp_path / "run"
    output = benchsuite("run", str(tmp_path / "suite.toml"), "--output", str(run), *options)
    troubles = [line for line in output.splitlines() if line.startswith("not logged as a model: ")]
    expected = {
        "turns on digits, best pruned": "its program differs from what it was in its trial by",
        "leaves on digits, dense": "the process that logs it ended early: exit code 3",
        "leaves on digits, best pruned": "the process that logs it ended early: exit code 3",
    }
    assert len(troubles) == len(expected), troubles
    for name, reason in expected.items():
        assert any(
            line.startswith(f"not logged as a model: {name}: ") and reason in line for line in troubles
        )
    found = {name: model for name, model in models(shown(run)).items() if str(model.status) == "READY"}
    assert {"mlp on digits, dense", "mlp on digits, best pruned"} < set(found)
    for name in ("mlp", "doubles"):
        for kind in ("dense", "best pruned"):
            folder = Path(found[f"{name} on digits, {kind}"].artifact_location.removeprefix("file://"))
            program = torch.export.load(folder / "data" / "model.pt2")
            doubled = any("aten.mul" in str(node.target) for node in program.graph.nodes)
            assert doubled == (name == "doubles"), (name, kind)
    assert not (tmp_path / "opened").exists()
