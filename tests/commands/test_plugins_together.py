"""Plugin files that cannot share a process are told before a run, where a trial needs both and only there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchsuite import cli

if TYPE_CHECKING:
    from pathlib import Path

SCORER = """
import benchsuite
import helpers

class First(benchsuite.Scorer):
    name, data_free = "first", True
    def score(self, context):
        return {layer.name: helpers.largest(layer.weight) for layer in context.layers}

@benchsuite.hookimpl
def benchsuite_register_scorers(register):
    register(First)
"""
MODEL = """
import benchsuite
import helpers
from torch import nn

class Tiny(benchsuite.ModelPlugin):
    name = "tiny"
    def build(self, dataset, seed):
        layers = nn.Linear(64, helpers.WIDTH), nn.ReLU(), nn.Linear(helpers.WIDTH, 10)
        return nn.Sequential(nn.Flatten(), *layers)

@benchsuite.hookimpl
def benchsuite_register_models(register):
    register(Tiny)
"""
SUITE = """
[suite]
name = "small"
seeds = [0]
sparsities = [0.5]
scorers = ["{scorer}"]

[[workload]]
dataset = "digits"
models = ["{model}"]

[metrics]
latency = false
"""


@pytest.mark.parametrize("command", ["validate", "plan"])
@pytest.mark.parametrize(
    ("scorer", "model", "clash"),
    [("first", "tiny", True), ("magnitude-l2", "tiny", False), ("first", "mlp", False)],
)
def test_files_with_a_module_of_one_name_are_refused_where_a_trial_needs_both(
    command: str, scorer: str, model: str, clash: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = []
    for folder, plugin, helper in (
        ("one", SCORER, "def largest(weight): return weight.flatten(1).amax(1)"),
        ("two", MODEL, "WIDTH = 8"),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "plugin.py").write_text(plugin)
        (tmp_path / folder / "helpers.py").write_text(helper)
        files += ["--plugin", str(tmp_path / folder / "plugin.py")]
    suite = tmp_path / "suite.toml"
    suite.write_text(SUITE.format(scorer=scorer, model=model))
    output = ["--output", str(tmp_path / "run")] if command == "plan" else []
    code = cli.main([command, str(suite), *files, *output])
    said = capsys.readouterr()
    assert code == (4 if clash else 0), said
    if clash:
        assert "'helpers'" in said.err
        assert all(str(tmp_path / folder / "plugin.py") in said.err for folder in ("one", "two"))
