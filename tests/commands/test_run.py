"""The main job from the command line: a small suite on digits, from an empty folder to its page."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchsuite.store.run_directory import RunDirectory

SUITE = """
[suite]
name = "tiny"
seeds = [0, 1]
sparsities = [0.4, 0.7]
scorers = ["magnitude-l1"]
controls = [{ name = "random", draws = 2 }, { name = "reversed", of = ["magnitude-l1"] }]

[[workload]]
dataset = "digits"
models = [{ name = "mlp", hidden = [24, 16], activation = "relu" }]

[training]
epochs = 4

[recovery]
epochs = 0.5

[metrics]
latency = { batch_sizes = [1] }
"""

MISBEHAVING = """
import benchsuite, os, sys, time

class _Base(benchsuite.Scorer):
    def score(self, context):
        import torch
        return {layer.name: self.act(layer, torch) for layer in context.layers}

class Fine(_Base):
    name = "fine"
    def act(self, layer, torch):
        return layer.weight.abs().flatten(1).amax(1)

class Nan(_Base):
    name = "nan-scores"
    def act(self, layer, torch):
        return torch.full((layer.units,), float("nan"))

class Shape(_Base):
    name = "wrong-shape"
    def act(self, layer, torch):
        return torch.zeros(layer.units + 1)

class Raises(_Base):
    name = "raises"
    def act(self, layer, torch):
        raise RuntimeError("no luck with " + layer.name)

class Exits(_Base):
    name = "exits"
    def act(self, layer, torch):
        sys.exit(3)

class Dies(_Base):
    name = "dies"
    def act(self, layer, torch):
        os._exit(0)

class Segfaults(_Base):
    name = "crashes"
    def act(self, layer, torch):
        os.kill(os.getpid(), 11)

class Hangs(_Base):
    name = "hangs"
    def act(self, layer, torch):
        time.sleep(600)

class Changes(_Base):
    name = "changes-the-model"
    def act(self, layer, torch):
        layer.module.weight.data.zero_()
        return torch.zeros(layer.units)

class Cannot(_Base):
    name = "cannot"
    def act(self, layer, torch):
        raise benchsuite.Unsupported("only networks with attention")

@benchsuite.hookimpl
def benchsuite_register_scorers(register):
    for scorer in (Fine, Nan, Shape, Raises, Exits, Dies, Segfaults, Hangs, Changes, Cannot):
        register(scorer)

@benchsuite.hookimpl
def benchsuite_trial_finished(record):
    raise ValueError("an observer that fails")
"""
RAISING = 1 + next(n for n, line in enumerate(MISBEHAVING.splitlines()) if "no luck" in line)


def benchsuite(*arguments: str | Path, cwd: Path, **options) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchsuite.cli", *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False, **options
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A folder with a finished run of the suite."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "tiny.toml").write_text(SUITE)
    result = benchsuite("run", "tiny.toml", cwd=folder)
    assert result.returncode == 0, result.stdout + result.stderr
    (folder / "output.txt").write_text(result.stdout)
    return folder


def rows(folder: Path) -> list[dict[str, str]]:
    result = benchsuite("results", "runs/tiny", "--format", "csv", cwd=folder)
    assert result.returncode == 0, result.stderr
    return list(csv.DictReader(io.StringIO(result.stdout)))


def test_every_cell_has_a_row_with_its_numbers(finished):
    table = rows(finished)
    assert len(table) == 2 * 2 * (1 + 2 + 1)
    assert {row["status"] for row in table} == {"done"}
    for row in table:
        assert abs(float(row["sparsity/macs"]) - float(row["sparsity"])) < 0.06
        assert float(row["cost/params"]) < float(row["cost/params_dense"])
        assert float(row["cost/flops"]) == 2 * float(row["cost/macs"])
        assert 0 <= float(row["accuracy/top1_before_recovery"]) <= 1
        assert float(row["latency/batch1_ms"]) > 0
        assert float(row["surgery/max_difference"]) < 1e-4


def test_criteria_of_a_seed_share_the_dense_model(finished):
    dense = {(row["seed"], row["accuracy/top1_dense"]) for row in rows(finished)}
    assert len(dense) == 2


def test_the_output_says_where_everything_is(finished):
    output = (finished / "output.txt").read_text()
    assert "16 done" in output
    for path in ("runs/tiny/results.jsonl", "runs/tiny/mlflow.db", "runs/tiny/site/index.html"):
        assert path in output
        assert (finished / path).is_file()


def test_what_criteria_say_of_each_dense_networks_units_is_kept_and_shown(finished):
    run = finished / "runs/tiny"
    folders = sorted((run / "ranking").iterdir())
    assert len(folders) == 2, "a dense network for each seed"
    for folder in folders:
        names = {path.name for path in folder.iterdir()}
        assert {"scores.json", "first-and-last.csv", "network.json", "confusion-train.csv"} <= names
        assert (run / "stages" / folder.name).is_dir()
        assert (run / "site" / "rankings" / f"{folder.name}.html").is_file()
    logged = list((run / "mlartifacts").rglob("ranking/first-and-last.csv"))
    assert len(logged) == len(folders)


def test_the_agreement_of_the_criteria_is_kept_and_shown(finished):
    run = finished / "runs/tiny"
    kept = [json.loads(path.read_text()) for path in sorted((run / "agreement").glob("*[!s].json"))]
    assert sorted(each["seed"] for each in kept) == [0, 1]
    assert all(each["criteria"] == ["magnitude-l1", "random"] for each in kept)
    assert "Kendall" in (run / "site/agreement.html").read_text()
    logged = {path.name for path in (run / "mlartifacts").rglob("agreement-*")}
    assert {Path(name).suffix for name in logged} == {".svg", ".csv"}


def test_running_again_computes_nothing(finished):
    before = (finished / "runs/tiny/results.jsonl").read_bytes()
    result = benchsuite("run", "tiny.toml", cwd=finished)
    assert result.returncode == 0
    assert "16 cached, 0 to run" in result.stdout
    # It ends with the best criteria of each budget, beside random and the dense networks.
    for removed in ("40% removed", "70% removed"):
        lines = result.stdout[result.stdout.index(removed) :].splitlines()[1:4]
        assert [line[4:].split()[0] for line in lines] == ["magnitude-l1", "random", "dense"]
    assert (finished / "runs/tiny/results.jsonl").read_bytes() == before


def test_the_plan_knows_what_is_cached(finished):
    result = benchsuite("plan", "tiny.toml", cwd=finished)
    assert "cached 16   failed 0   to run 0" in result.stdout


def test_results_as_json_are_the_records(finished):
    result = benchsuite("results", "runs/tiny", "--format", "json", cwd=finished)
    records, _ = RunDirectory(finished / "runs/tiny").records()
    assert {record["key"] for record in json.loads(result.stdout)} == set(records)


def test_the_resolved_suite_gives_the_same_plan(finished):
    result = benchsuite("plan", "runs/tiny/suite.toml", cwd=finished)
    assert "cached 16   failed 0   to run 0" in result.stdout


def test_a_new_scorer_runs_alone_and_joins_the_table(finished, tmp_path):
    plugin = tmp_path / "mine.py"
    plugin.write_text(MISBEHAVING)
    text = SUITE.replace('["magnitude-l1"]', '["magnitude-l1", "fine"]', 1)
    (finished / "more.toml").write_text(text)
    result = benchsuite("run", "more.toml", "--output", "runs/tiny", "--plugin", plugin, cwd=finished)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "16 cached, 4 to run" in result.stdout
    assert "an observer that fails" in result.stderr
    assert {row["scorer"] for row in rows(finished)} == {
        "magnitude-l1",
        "random",
        "reversed(magnitude-l1)",
        "fine",
    }


def test_filters_and_an_empty_selection(finished):
    result = benchsuite("run", "tiny.toml", "--filter", "scorer=nothing", cwd=finished)
    assert result.returncode == 5
    result = benchsuite("plan", "tiny.toml", "--filter", "scorer=random,seed=1", cwd=finished)
    assert "tiny: 4 trials" in result.stdout


def test_misbehaving_scorers_cost_only_their_own_cells(tmp_path):
    (tmp_path / "bad.py").write_text(MISBEHAVING)
    names = [
        "fine",
        "nan-scores",
        "wrong-shape",
        "raises",
        "exits",
        "dies",
        "crashes",
        "hangs",
        "changes-the-model",
        "cannot",
    ]
    text = SUITE.replace('scorers = ["magnitude-l1"]', f"scorers = {json.dumps(names)}").replace(
        "seeds = [0, 1]", "seeds = [0]"
    )
    text = "\n".join(line for line in text.splitlines() if not line.startswith("controls"))
    (tmp_path / "bad.toml").write_text(text)
    result = benchsuite("run", "bad.toml", "--plugin", "bad.py", "--timeout", "40", cwd=tmp_path)
    assert result.returncode == 1, result.stdout + result.stderr
    outcome = {row["scorer"]: (row["status"], row["error"]) for row in rows(tmp_path)}
    assert len(rows(tmp_path)) == 2 * len(names)
    assert outcome["fine"][0] == "done"
    assert outcome["cannot"] == ("unsupported", "only networks with attention")
    expected = {
        "nan-scores": ("failed", "NaN"),
        "wrong-shape": ("failed", "shape (25,), expected (24,)"),
        "raises": ("failed", f"RuntimeError: no luck with hidden1 (bad.py:{RAISING})"),
        "exits": ("failed", "SystemExit: 3"),
        "dies": ("killed", "before its work was done"),
        "crashes": ("killed", "SIGSEGV"),
        "hangs": ("timeout", "scoring took longer than 40 s (--timeout)"),
        "changes-the-model": ("failed", "weight"),
    }
    for name, (status, reason) in expected.items():
        assert outcome[name][0] == status, (name, outcome[name])
        assert reason in outcome[name][1], (name, outcome[name])
    assert str(tmp_path) not in (tmp_path / "runs/tiny/results.jsonl").read_text(), "folders are nobody's"
    told = result.stdout.splitlines()
    failure = next(n for n, line in enumerate(told) if line.startswith("  2 x failed: scorer raises: "))
    log = tmp_path / told[failure + 1].partition("log of one: ")[2]
    assert "no luck with" in log.read_text()


def test_absent_data_fail_their_trials_with_what_to_put_where(tmp_path):
    text = SUITE.replace('dataset = "digits"', 'dataset = { name = "npz", file = "mine.npz" }')
    text = text.replace("[metrics]", '[[workload]]\ndataset = "digits"\nmodels = ["mlp"]\n\n[metrics]')
    (tmp_path / "tiny.toml").write_text(text)
    (tmp_path / "data").mkdir()
    result = benchsuite(
        "run", "tiny.toml", "--data", "data", "--filter", "scorer=magnitude-l1,seed=0", cwd=tmp_path
    )
    assert result.returncode == 1
    by_data = {row["dataset"]: row for row in rows(tmp_path)}
    assert by_data["digits"]["status"] == "done"
    assert by_data["npz(file=mine.npz)"]["status"] == "failed"
    assert str(tmp_path / "data" / "mine.npz") in by_data["npz(file=mine.npz)"]["error"]


def wait_for_records(path: Path, count: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline and process.poll() is None:
        if path.exists() and path.read_bytes().count(b"\n") >= count:
            return
        time.sleep(0.05)
    raise AssertionError("the run ended before enough records were there")


def start(folder: Path, *options: str) -> subprocess.Popen[str]:
    (folder / "tiny.toml").write_text(SUITE.replace("seeds = [0, 1]", "seeds = [0, 1, 2]"))
    command = [sys.executable, "-m", "benchsuite.cli", "run", "tiny.toml", "--jobs", "1", *options]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def workers_of(folder: Path) -> list[int]:
    """Processes whose log is in the folder's stages."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "fd/1").readlink().is_relative_to(folder.resolve() / "runs"):
                found.append(int(process.name))
        except OSError:
            continue
    return found


def wait_for_no_workers(folder: Path) -> None:
    """On a busy machine it takes workers a while to notice that the run has gone."""
    deadline = time.monotonic() + 60
    while left := workers_of(folder):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def test_after_kill_9_the_same_command_completes_the_run(tmp_path):
    process = start(tmp_path)
    results = tmp_path / "runs/tiny/results.jsonl"
    wait_for_records(results, 5, process)
    process.kill()
    process.communicate()
    with results.open("a") as handle:
        handle.write('{"schema_version": 1, "key": "torn')
    wait_for_no_workers(tmp_path)
    done = {record["key"] for record in map(json.loads, results.read_text().splitlines()[:-1])}
    result = benchsuite("run", "tiny.toml", cwd=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"{len(done)} " in result.stdout
    table = rows(tmp_path)
    assert len(table) == 24
    assert len({row["key"] for row in table}) == 24
    assert {row["status"] for row in table} == {"done"}
    assert done <= {row["key"] for row in table}


@pytest.mark.parametrize("signals", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_ctrl_c_leaves_a_consistent_run_and_says_how_to_go_on(tmp_path, signals):
    process = start(tmp_path)
    results = tmp_path / "runs/tiny/results.jsonl"
    wait_for_records(results, 3, process)
    before = len(results.read_text().splitlines())
    for _ in range(signals):
        process.send_signal(signal.SIGINT)
        time.sleep(0.1)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 2, output
    assert "the same command goes on from here" in output
    assert "Traceback" not in output
    assert {json.loads(line)["status"] for line in results.read_text().splitlines()} == {"done"}
    if signals == 1:
        assert "finishing what is in work" in output
        assert "Ctrl-C again stops at once" in output
        assert before <= len(results.read_text().splitlines()) < 24
    assert workers_of(tmp_path) == []
    assert benchsuite("run", "tiny.toml", cwd=tmp_path).returncode == 0
    assert len(rows(tmp_path)) == 24


@pytest.mark.slow
def test_after_its_hours_a_run_ends_and_goes_on_later(tmp_path):
    process = start(tmp_path, "--max-hours", "0.0001")
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 2, output
    assert "0.0001 hours are over: finishing what is in work" in output
    assert "no trials" not in output
    assert benchsuite("run", "tiny.toml", cwd=tmp_path).returncode == 0
    assert len(rows(tmp_path)) == 24


def test_two_runs_of_one_directory_do_not_mix(tmp_path):
    process = start(tmp_path)
    wait_for_records(tmp_path / "runs/tiny/results.jsonl", 1, process)
    result = benchsuite("run", "tiny.toml", cwd=tmp_path)
    assert result.returncode == 4
    assert "another run" in result.stderr
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=300)
    assert process.returncode == 2


def test_the_same_trial_gives_the_same_numbers_whatever_runs_beside_it(finished, tmp_path):
    (tmp_path / "tiny.toml").write_text(SUITE.replace("seeds = [0, 1]", "seeds = [1]"))
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    assert benchsuite("run", "tiny.toml", cwd=tmp_path, env=environment).returncode == 0
    here = {row["key"]: row for row in rows(tmp_path)}
    there = {row["key"]: row for row in rows(finished)}
    assert len(here) == 8
    for key, row in here.items():
        for name in ("accuracy/top1", "accuracy/loss", "accuracy/top1_before_recovery", "cost/macs"):
            assert row[name] == there[key][name]


@pytest.mark.parametrize("seconds", [0.3, 1.0, 2.0])
@pytest.mark.parametrize("command", ["plan", "run"])
def test_ctrl_c_twice_before_the_work_begins_ends_quietly(tmp_path, command, seconds):
    (tmp_path / "tiny.toml").write_text(SUITE)
    # A shell's child has the signal as it is by default; one that a test starts may not.
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); import sys; "
        f"sys.argv = ['benchsuite', {command!r}, 'tiny.toml']; print('begun', flush=True); "
        "from benchsuite._entry import main; sys.exit(main())"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout.readline() == "begun\n"
        time.sleep(seconds)
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            time.sleep(0.2)
        output = process.communicate(timeout=120)[0]
    assert process.returncode in (0, 2), output
    assert process.returncode == 2 or command == "plan"
    assert "Traceback" not in output
