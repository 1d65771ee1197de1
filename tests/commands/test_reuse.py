"""What a run reuses and what it computes again: every change that can affect a number is noticed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

SUITE = """
[suite]
name = "small"
seeds = [0]
sparsities = [0.5]
scorers = [{scorers}]

[[workload]]
dataset = "digits"
models = [{{ name = "mlp", hidden = [24, 16], activation = "relu" }}]

[training]
epochs = 2

[recovery]
epochs = 0.5

[metrics]
latency = false
"""
NAMES = '"magnitude-l1", "taylor-weight"'


def cli(folder: Path, *arguments: str | Path, ok: bool = True) -> str:
    command = [sys.executable, "-m", "benchsuite.cli", *map(str, arguments)]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": ""}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0 or not ok, done.stdout + done.stderr
    return done.stdout


def run(folder: Path, *arguments: str | Path, scorers: str = NAMES, suite: str = SUITE) -> str:
    (folder / "small.toml").write_text(suite.format(scorers=scorers))
    return cli(folder, "run", "small.toml", "--jobs", "1", *arguments)


def plan(folder: Path, *arguments: str | Path, scorers: str = NAMES, suite: str = SUITE) -> str:
    (folder / "small.toml").write_text(suite.format(scorers=scorers))
    return cli(folder, "plan", "small.toml", *arguments)


def records(folder: Path) -> dict[str, dict[str, Any]]:
    """The last record of each scorer."""
    lines = (folder / "runs/small/results.jsonl").read_text().splitlines()
    return {record["axes"]["scorer"]: record for record in map(json.loads, lines)}


def numbers(record: dict[str, Any]) -> dict[str, float]:
    """The metrics that do not depend on time or machine."""
    return {n: v for n, v in record["metrics"].items() if not n.startswith(("time/", "memory/", "latency/"))}


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run."""
    folder = tmp_path_factory.mktemp("once")
    run(folder)
    return folder


@pytest.fixture
def again(once: Path, tmp_path: Path) -> Path:
    """A copy of the finished run."""
    shutil.copytree(once, tmp_path / "again")
    return tmp_path / "again"


def stage(folder: Path, kind: str) -> Path:
    """The folder of a stage of the finished run."""
    return folder / "runs/small/stages" / records(folder)["magnitude-l1"]["stages"][kind]


def test_a_finished_run_computes_nothing(again: Path) -> None:
    before = (again / "runs/small/results.jsonl").read_bytes()
    assert "2 cached, 0 to run" in run(again)
    assert (again / "runs/small/results.jsonl").read_bytes() == before


# Damage


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-100] ^= 0x40
    file.write_bytes(content)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def empty(file: Path) -> None:
    (file.parent / "stage.json").write_text("{}")


FILES = {"train": "model.safetensors", "data": "data.safetensors", "score": "scores.safetensors"}


@pytest.mark.parametrize("turn", [0, *(pytest.param(turn, marks=pytest.mark.slow) for turn in (1, 2))])
def test_damaged_stages_are_made_anew_and_the_run_says_so(again: Path, turn: int) -> None:
    before = records(again)
    files = {kind: stage(again, kind) / name for kind, name in FILES.items()}
    whole = {kind: file.read_bytes() for kind, file in files.items()}
    damages = [flip, cut, empty]
    for number, file in enumerate(files.values()):
        damages[(number + turn) % 3](file)
    # Another sparsity uses the same stages.
    output = run(again, suite=SUITE.replace("[0.5]", "[0.5, 0.3]"))
    assert output.count("it is made anew") == 3
    # The same machine computes the same numbers, so the existing records remain valid.
    assert {kind: file.read_bytes() for kind, file in files.items()} == whole
    assert "run again" not in output
    lines = [json.loads(line) for line in (again / "runs/small/results.jsonl").read_text().splitlines()]
    assert len(lines) == 4
    assert [r["status"] for r in lines] == ["done"] * 4
    old = [r for r in lines if r["axes"]["sparsity"] == 0.5]
    assert all(numbers(r) == numbers(before[r["axes"]["scorer"]]) for r in old)


@pytest.mark.slow
def test_trials_whose_stages_came_out_with_other_numbers_are_run_again(again: Path) -> None:
    """As after damage on another machine: the dense model differs from the one the records were made from."""
    import torch

    from benchsuite.store.stages import Stage, load_tensors, save_tensors
    from benchsuite.trials.facts import DenseFacts

    folder = stage(again, "train")
    facts = json.loads((folder / "stage.json").read_text())
    weights = load_tensors(folder / "model.safetensors")
    save_tensors(folder / "model.safetensors", {n: w + 0.01 * torch.ones_like(w) for n, w in weights.items()})
    (folder / "outputs.safetensors").unlink()  # they are those of the other weights
    Stage(folder, DenseFacts, ["model.safetensors"], facts["made_from"]).complete(
        DenseFacts.model_validate(facts["facts"])
    )
    before = records(again)
    text = plan(again)
    assert "to run 2" in text
    assert "2 were done on stages that hold other numbers now" in text
    output = run(again)
    assert "2 to run" in output
    assert "was made from other stages than there are now" in output  # the scores
    after = records(again)
    assert all(after[name]["key"] == before[name]["key"] for name in before)
    assert all(numbers(after[name]) != numbers(before[name]) for name in before)
    assert "2 cached, 0 to run" in run(again)


def test_criteria_are_compared_as_the_suite_that_ran_last_names_them(again: Path) -> None:
    def compared() -> list[int]:
        files = again.glob("runs/small/agreement/*[0-9a-f].json")
        return [len(json.loads(f.read_text())["criteria"]) for f in files if ".layers" not in f.name]

    more = f'{NAMES}, "lamp"'
    run(again, scorers=more)
    assert compared() == [3]
    assert "2 cached, 0 to run" in run(again)
    assert compared() == [2]
    assert "3 cached, 0 to run" in run(again, scorers=more)
    assert compared() == [3]


# Code of plugins

PLUGIN = """
import sys
sys.path.append({folder!r})
import benchsuite
{imports}

class Mine(benchsuite.Scorer):
    name = "mine"
    data_free = True
    def score(self, context):
        {lazy}
        return {{layer.name: sign() * layer.weight.abs().flatten(1).sum(1) for layer in context.layers}}

@benchsuite.hookimpl
def benchsuite_register_scorers(register):
    register(Mine)
"""


def test_an_edit_of_a_plugins_helper_computes_its_scores_anew(again: Path) -> None:
    lazy = "import importlib; sign = importlib.import_module('pkg.b').sign"
    plugin, helper = again / "mine.py", again / "pkg/b.py"
    plugin.write_text(PLUGIN.format(folder=str(again), imports="", lazy=lazy))
    helper.parent.mkdir(exist_ok=True)
    helper.write_text("def sign():\n    return 1.0\n")
    scorers = f'{NAMES}, "mine"'
    assert "2 cached, 1 to run" in run(again, "--plugin", "mine.py", scorers=scorers)
    first = records(again)
    assert numbers(first["mine"]) == numbers(first["magnitude-l1"])
    helper.write_text("def sign():\n    return -1.0\n")
    assert "2 cached, 1 to run" in run(again, "--plugin", "mine.py", scorers=scorers)
    assert numbers(records(again)["mine"]) != numbers(first["mine"])


def test_a_plugin_that_loads_what_its_source_does_not_name_is_told_so(again: Path) -> None:
    lazy = "sign = vars(sys.modules['builtins'])['__imp' + 'ort__']('my_helper').sign"
    (again / "mine.py").write_text(PLUGIN.format(folder=str(again), imports="", lazy=lazy))
    (again / "my_helper.py").write_text("def sign():\n    return 1.0\n")
    (again / "small.toml").write_text(SUITE.format(scorers='"mine"'))
    output = cli(again, "run", "small.toml", "--plugin", "mine.py", ok=False)
    assert "failed: scorer mine loaded" in output
    assert "my_helper.py" in output


@pytest.mark.slow
def test_files_that_a_scorer_reads_are_noticed_by_its_fingerprint(again: Path) -> None:
    plugin = PLUGIN.format(folder=str(again), imports="from pathlib import Path", lazy="sign = self.sign")
    plugin = plugin.replace(
        '    name = "mine"\n',
        '    name = "mine"\n'
        f"    file = Path({str(again / 'sign.txt')!r})\n"
        "    def sign(self):\n        return float(self.file.read_text())\n"
        "    def fingerprint(self):\n        return benchsuite.file_fingerprint(self.file)\n",
    )
    (again / "mine.py").write_text(plugin)
    for sign in ("1", "-1"):
        (again / "sign.txt").write_text(sign)
        assert "1 to run" in run(again, "--plugin", "mine.py", scorers=f'{NAMES}, "mine"')


# The training trace


@pytest.mark.slow
def test_a_scorer_that_needs_a_trace_joins_without_changing_a_key(again: Path) -> None:
    before = records(again)
    weights = (stage(again, "train") / "model.safetensors").read_bytes()
    text = plan(again, scorers=f'{NAMES}, "karnin"')
    assert "to run 1" in text
    assert "dense models to train: 0, to train again for their trace: 1" in text
    assert "2 cached, 1 to run" in run(again, scorers=f'{NAMES}, "karnin"')
    after = records(again)
    assert after["karnin"]["status"] == "done"
    assert {name: after[name] for name in before} == before
    assert (stage(again, "train") / "model.safetensors").read_bytes() == weights
    # The trace is that of the first training: the same scores as if it had been recorded from the start.
    fresh = again / "fresh"
    fresh.mkdir()
    run(fresh, scorers=f'{NAMES}, "karnin"')
    assert numbers(records(fresh)["karnin"]) == numbers(after["karnin"])
    assert {name: record["key"] for name, record in records(fresh).items()} == {
        name: record["key"] for name, record in after.items()
    }


def test_where_training_again_gives_other_weights_there_is_no_trace(
    again: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from benchsuite.contracts.plugin import PluginChoice
    from benchsuite.errors import Unsupported
    from benchsuite.plan.matrix import build_plan
    from benchsuite.registry.discovery import discover
    from benchsuite.suite import load_suite
    from benchsuite.trials import dense_training, training_trace
    from benchsuite.trials.scores import score_dense
    from benchsuite.trials.worker_context import RunConfiguration, WorkerContext

    (again / "small.toml").write_text(SUITE.format(scorers=f'{NAMES}, "karnin"'))
    registry, _ = discover()
    trials = build_plan(load_suite(again / "small.toml", registry), registry, again)
    (karnin,) = (trial for trial in trials if trial.score.scorer == PluginChoice("karnin"))
    original = dense_training.trained

    def otherwise(*arguments: Any) -> Any:
        model, log, place = original(*arguments)
        with torch.no_grad():
            next(model.parameters()).flatten()[0] += 1e-6
        return model, log, place

    monkeypatch.setattr(training_trace, "trained", otherwise)
    configuration = RunConfiguration(again / "runs/small", again)
    worker = WorkerContext(configuration, registry, torch.device("cpu"), 1)
    training_trace.train_with_traces(worker, karnin.dense, karnin.traces)
    with pytest.raises(Unsupported, match="trained again on this device it ends with other weights"):
        score_dense(worker, karnin.score)
    other = next(trial for trial in trials if trial is not karnin)
    assert score_dense(worker, other.score).scores


# Threads and older code


@pytest.mark.slow
def test_the_number_of_workers_changes_no_bit_and_the_threads_are_part_of_the_key(again: Path) -> None:
    before = records(again)
    other = again / "other"
    other.mkdir()
    (other / "small.toml").write_text(SUITE.format(scorers=NAMES))
    cli(other, "run", "small.toml", "--jobs", "3")
    found = records(other)
    assert {n: (r["key"], numbers(r)) for n, r in found.items()} == {
        n: (r["key"], numbers(r)) for n, r in before.items()
    }
    assert "0 cached, 2 to run" in run(again, "--threads", "2")
    after = records(again)
    assert not {r["key"] for r in after.values()} & {r["key"] for r in before.values()}
    assert {r["provenance"]["threads"] for r in after.values()} == {2}
    assert "2 cached, 0 to run" in run(again, "--threads", "2")


def test_added_scorers_train_no_dense_model(again: Path) -> None:
    text = plan(again, scorers=f'{NAMES}, "fisher", "lamp", "snip"')
    assert "cached 2" in text
    assert "to run 3" in text
    assert "dense models to train: 0\n" in text


@pytest.mark.slow
def test_a_run_of_older_code_is_shown_and_counted(again: Path) -> None:
    """Its records and stages have the older form: other keys, no checksums."""
    directory = again / "runs/small"
    text = (directory / "results.jsonl").read_text()
    keys = {key for record in records(again).values() for key in (record["key"], *record["stages"].values())}
    plan_text = (directory / "plan.json").read_text()
    for key in keys:
        old = key[::-1]
        text, plan_text = text.replace(key, old), plan_text.replace(key, old)
        if (directory / "stages" / key).is_dir():
            (directory / "stages" / key).rename(directory / "stages" / old)
    (directory / "results.jsonl").write_text(text)
    (directory / "plan.json").write_text(plan_text)
    for file in directory.glob("stages/*/stage.json"):
        facts = json.loads(file.read_text())["facts"]
        if "removed" in facts:
            file.unlink()
            (file.parent / "pruning.json").write_text(json.dumps(facts))
        else:
            file.write_text(json.dumps(facts))
    table = cli(again, "results", "runs/small", "--format", "json")
    assert {r["status"] for r in json.loads(table)} == {"done"}
    assert len(json.loads(table)) == 2
    cli(again, "leaderboard", "runs/small", "--output", "site")
    assert "magnitude-l1" in (again / "site/index.html").read_text()
    planned = plan(again)
    assert "cached 0" in planned
    assert "of those to run, 2 have an outcome from before" in planned
    key = records(again)["magnitude-l1"]["key"]
    assert "top-1" in cli(again, "export", "runs/small", key, "--output", "out")
    assert (again / "out/model.pt2").is_file()
    assert "2 of them have an outcome from before" in run(again)
