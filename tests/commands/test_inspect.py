"""The commands that only read: they are fast and exact, and return the documented exit codes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib

import jsonschema
import pytest

from benchsuite import cli
from benchsuite.commands.schema import suite_schema
from benchsuite.registry.discovery import discover


def test_help_imports_nothing_heavy():
    script = (
        "import sys\nfrom benchsuite.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as stop:\n    assert stop.code == 0\n"
        "heavy = {'torch', 'mlflow', 'pandas', 'numpy', 'pydantic', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


def test_a_plan_does_not_import_torch(pytestconfig):
    script = (
        "import sys\nfrom benchsuite.cli import main\nassert main(['plan', 'suites/full.toml']) == 0\n"
        "heavy = {'torch', 'mlflow', 'pandas'} & set(sys.modules)\nassert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, cwd=pytestconfig.rootpath)


@pytest.mark.parametrize(
    "arguments", [[], ["frob"], ["run"], ["run", "x.toml", "--jobs", "0"], ["plan", "--nope"]]
)
def test_bad_usage_ends_with_4(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 4
    assert "usage:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "none.toml"], "there is no suite file none.toml"),
        (["plan", "none.toml"], "there is no suite file"),
        (["results", "nowhere"], "not a run directory"),
        (["ui", "nowhere"], "no mlflow.db"),
        (["plugins", "--plugin", "none.py"], "there is no plugin file none.py"),
    ],
)
def test_what_is_not_there_is_named(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 4
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("suite", ["quick", "full"])
def test_the_shipped_suites_are_valid_and_fit_the_schema(suite, pytestconfig, capsys):
    path = pytestconfig.rootpath / "suites" / f"{suite}.toml"
    assert cli.main(["validate", str(path)]) == 0
    jsonschema.validate(tomllib.loads(path.read_text()), suite_schema(discover()[0]))


def test_the_schema_knows_the_plugins_and_refuses_what_is_wrong(pytestconfig):
    schema = suite_schema(discover()[0])
    suite = tomllib.loads((pytestconfig.rootpath / "suites/quick.toml").read_text())
    for change in ({"seads": [1]}, {"scorers": ["magnitude-l9"]}, {"sparsities": [1.5]}):
        wrong = {**suite, "suite": {**suite["suite"], **change}}
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)


def test_plugins_as_json_have_the_promised_fields(capsys):
    assert cli.main(["plugins", "--format", "json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert all({"name", "kind", "origin", "version", "status", "error"} <= set(info) for info in listed)
    assert {info["kind"] for info in listed} >= {"scorer", "model", "dataset"}
    assert all(info["status"] == "ok" for info in listed)


@pytest.mark.parametrize("width", [100, 200])
def test_plugins_on_a_terminal_have_one_line_each(width, capsys, monkeypatch, tmp_path):
    broken = tmp_path / "broken.py"
    broken.write_text("import benchsuite\nraise ValueError('no luck')")
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    assert cli.main(["plugins", "--plugin", str(broken)]) == 0
    output = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    lines = [line.split() for line in output.splitlines()]
    for kind, name, words in (
        ("scorer", "karnin", ["weight", "training", "trace", "Sum", "over"]),
        ("scorer", "fpgm", ["unit", "weights", "The", "sum"]),
        ("model", "lenet-10-20-100-25", ["LeNet", "with"]),
    ):
        assert any(line[:1] == [kind] for line in lines)
        (found,) = [line for line in lines if line[:1] == [name]]
        assert found[1 : 1 + len(words)] == words
        assert found[-1] == "benchsuite"
    assert max(len(line) for line in output.splitlines() if "no luck" not in line) <= width
    assert any("broken" in line and "no luck" in line for line in output.splitlines())


def test_doctor_finds_this_machine_well(capsys):
    assert cli.main(["doctor"]) == 0
    assert "devices" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["validate", "plan", "run"])
def test_a_plugin_file_that_cannot_be_loaded_stops_a_command_that_was_given_it(
    command, capsys, tmp_path, monkeypatch
):
    """Otherwise its scorer would only be unknown, or a suite of all scorers would run without it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.py").write_text("import benchsuite\nraise ValueError('no luck')")
    (tmp_path / "small.toml").write_text(
        '[suite]\nname = "small"\nseeds = [0]\nsparsities = [0.5]\nscorers = "all"\n'
        '[[workload]]\ndataset = "digits"\nmodels = ["mlp"]\n'
    )
    assert cli.main([command, "small.toml", "--plugin", "broken.py"]) == 4
    message = capsys.readouterr().err
    assert "plugin file broken.py cannot be loaded: ValueError: no luck" in message
    assert not (tmp_path / "runs").exists()


def test_options_cannot_be_abbreviated(capsys):
    """`--thread 2` would begin every trial anew."""
    with pytest.raises(SystemExit) as caught:
        cli.main(["plan", "suites/quick.toml", "--thread", "2"])
    assert caught.value.code == 4
    assert "--thread" in capsys.readouterr().err


READS_A_FILE = """
import benchsuite
from pathlib import Path

class Reads(benchsuite.Scorer):
    name = "reads"
    def score(self, context):
        return {}
    def fingerprint(self):
        return benchsuite.file_fingerprint(Path("/nowhere/scores.csv"))

@benchsuite.hookimpl
def benchsuite_register_scorers(register):
    register(Reads)
"""


@pytest.mark.parametrize("command", ["validate", "plan"])
def test_files_that_are_not_there_are_named_before_anything_runs(command, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reads.py").write_text(READS_A_FILE)
    (tmp_path / "mine.toml").write_text(
        '[suite]\nname = "mine"\nseeds = [0]\nsparsities = [0.5]\nscorers = ["reads", "magnitude-l1"]\n'
        '[[workload]]\ndataset = { name = "npz", file = "mine.npz" }\nmodels = ["mlp"]\n'
    )
    assert cli.main([command, "mine.toml", "--plugin", "reads.py", "--data", "data"]) == 0
    output = capsys.readouterr().out.replace("\n", " ")
    assert "dataset npz(file=mine.npz): " in output
    assert "mine.npz: No such file or directory" in output
    assert "scorer reads: cannot read /nowhere/scores.csv: No such file or directory" in output


def test_installed_plugins_of_others_can_be_left_out(tmp_path):
    (tmp_path / "other.py").write_text("raise RuntimeError('loaded')")
    info = tmp_path / "other-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[benchsuite]\nother = other\n")
    command = [sys.executable, "-m", "benchsuite.cli", "plugins", "--format", "json"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    listed = [
        json.loads(subprocess.run([*command, *more], env=environment, capture_output=True, check=True).stdout)
        for more in ([], ["--no-third-party"])
    ]
    with_other, without = ({each["name"]: each for each in found} for found in listed)
    assert with_other["other"]["error"].startswith("RuntimeError: loaded")
    assert with_other.keys() - without.keys() == {"other"}
