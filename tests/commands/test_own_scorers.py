"""Scorers of plugin files: a suite that does not name them is told so, and `--scorer` adds them."""

from __future__ import annotations

import csv
import io
import tomllib
from typing import TYPE_CHECKING

import pytest

from benchsuite import cli

if TYPE_CHECKING:
    from pathlib import Path

PLUGIN = """
import benchsuite

class First(benchsuite.Scorer):
    name, data_free = "first", True
    def score(self, context):
        return {layer.name: layer.weight.flatten(1).amax(1) for layer in context.layers}

class Second(First):
    name, granularity = "second", "weight"
    def score(self, context):
        return {layer.name: layer.weight.abs() for layer in context.layers}

@benchsuite.hookimpl
def benchsuite_register_scorers(register):
    register(First)
    register(Second)
"""
SUITE = """
[suite]
name = "small"
seeds = [0]
sparsities = [0.5]
scorers = {scorers}
controls = {controls}

[[workload]]
dataset = "digits"
models = [{{ name = "mlp", hidden = [8] }}]

[training]
epochs = 0.2

[recovery]
epochs = 0

[metrics]
latency = false
"""


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Runs a command on a suite with some scorers and controls; its exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(PLUGIN)

    def run(name: str, *options: str, scorers: str = '["magnitude-l1"]', controls: str = "[]"):
        (tmp_path / "small.toml").write_text(SUITE.format(scorers=scorers, controls=controls))
        code = cli.main([name, "small.toml", "--plugin", "mine.py", *options])
        return code, *capsys.readouterr()

    return run


@pytest.mark.parametrize("name", ["validate", "plan"])
@pytest.mark.parametrize(
    ("options", "scorers", "controls", "left_out"),
    [
        ((), '["magnitude-l1"]', "[]", ["first", "second"]),
        ((), '["magnitude-l1", "first"]', "[]", ["second"]),
        ((), '["magnitude-l1"]', '[{ name = "reversed", of = ["first"] }]', ["second"]),
        (("--scorer", "second"), '["magnitude-l1"]', "[]", ["first"]),
        (("--scorer", "second", "--scorer", "first"), '["magnitude-l1"]', "[]", []),
        # One of weights, whose sums say nothing of a unit, is not among all.
        ((), '["all"]', "[]", ["second"]),
    ],
)
def test_scorers_that_a_suite_does_not_name_are_told(command, name, options, scorers, controls, left_out):
    code, out, err = command(name, *options, scorers=scorers, controls=controls)
    assert (code, err) == (0, "")
    if left_out:
        (line,) = [line for line in out.splitlines() if line.startswith("mine.py registers the scorer")]
        told = line.partition(" registers ")[2]
        assert told.partition(",")[0].split()[-1] == left_out[0]
        assert [word for word in told.split() if word in ("first", "second")] == left_out
        assert f"--scorer {left_out[-1]}" in line
    else:
        assert "registers" not in out


@pytest.mark.parametrize("name", ["validate", "plan", "run"])
def test_a_scorer_that_is_not_there_is_bad_usage(command, name):
    code, _, err = command(name, "--scorer", "frist")
    assert code == 4
    assert "--scorer frist: there is no scorer 'frist'; did you mean 'first'" in err


def test_an_added_scorer_runs_is_recorded_in_the_suite_and_resumes(command, tmp_path, capsys):
    code, out, err = command("run", "--scorer", "first", "--scorer", "first", controls='["reversed"]')
    assert code == 0, out + err
    assert "4 trials, 0 cached, 4 to run" in out
    recorded = tomllib.loads((tmp_path / "runs/small/suite.toml").read_text())
    assert recorded["suite"]["scorers"] == ["magnitude-l1", "first"]
    assert "4 trials, 4 cached, 0 to run" in command("run", "--scorer", "first", controls='["reversed"]')[1]
    # The run's own suite names it: what works on run directories finds it again.
    own = ["run", "runs/small/suite.toml", "--output", "runs/small", "--plugin", "mine.py"]
    assert cli.main(own) == 0
    assert "4 trials, 4 cached, 0 to run" in capsys.readouterr().out
    # Without it the records stay, and the rest is not computed again.
    out = command("run", controls='["reversed"]')[1]
    assert "2 trials, 2 cached, 0 to run" in out
    assert "mine.py registers the scorers first, second, which this suite does not name" in out
    assert "4 cached" in command("run", "--scorer", "first", controls='["reversed"]')[1]
    assert cli.main(["results", "runs/small", "--format", "csv"]) == 0
    rows = csv.DictReader(io.StringIO(capsys.readouterr().out))
    names = ["magnitude-l1", "first"]
    assert {row["scorer"] for row in rows} == {*names, *(f"reversed({name})" for name in names)}
