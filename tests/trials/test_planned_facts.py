"""A plugin that is another where it is used than where the plan was made gives no numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchsuite import cli
from benchsuite.store.run_directory import RunDirectory

if TYPE_CHECKING:
    from pathlib import Path

PLUGIN = """
import multiprocessing
import benchsuite

in_a_worker = multiprocessing.parent_process() is not None

class Mine(benchsuite.{base}):
    name = "mine"
    {fact}
    {method}

@benchsuite.hookimpl
def benchsuite_register_{kind}s(register):
    register(Mine)
"""
SCORE = "def score(self, c): return {l.name: l.weight.flatten(1).abs().sum(1) for l in c.layers}"
BUILD = (
    "def build(self, shape, classes): import torch.nn as nn; "
    "return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, classes))"
)
SUITE = """
[suite]
name = "facts"
seeds = [0]
sparsities = [0.5]
scorers = [{scorer}]

[[workload]]
dataset = "digits"
models = [{model}]

[training]
epochs = 0.1

[recovery]
epochs = 0

[metrics]
latency = false
"""


def outcome(folder: Path, kind: str, fact: str, named: str) -> tuple[str, str]:
    base, method = ("Scorer", SCORE) if kind == "scorer" else ("ModelPlugin", BUILD)
    (folder / "mine.py").write_text(PLUGIN.format(base=base, fact=fact, method=method, kind=kind))
    scorer, model = (named, '"mlp"') if kind == "scorer" else ('"magnitude-l1"', named)
    (folder / "suite.toml").write_text(SUITE.format(scorer=scorer, model=model))
    words = ["run", str(folder / "suite.toml"), "--plugin", str(folder / "mine.py"), "--jobs", "1"]
    cli.main([*words, "--output", str(folder / "run")])
    (record,) = RunDirectory(folder / "run").results().records
    return record.status, record.error or ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "fact", "said"),
    [
        ("scorer", "bins: int = 2 if in_a_worker else 1", "its parameter bins is 2"),
        ("scorer", "scale = 'network' if in_a_worker else 'layer'", "its scale is 'network'"),
        ("scorer", "data_free = in_a_worker", "its data_free is True"),
        ("model", "width: int = 2 if in_a_worker else 1", "its parameter width is 2"),
        ("model", "version = '2' if in_a_worker else '1'", "its version is '2'"),
    ],
)
def test_it_fails_and_says_in_what(tmp_path: Path, kind: str, fact: str, said: str) -> None:
    status, error = outcome(tmp_path, kind, fact, '"mine"')
    assert status == "failed"
    assert f"{kind} mine: {said} where it is used and " in error


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), [("scorer", "bins"), ("model", "width")])
def test_a_parameter_that_the_suite_sets_is_the_same_everywhere(tmp_path: Path, kind: str, name: str) -> None:
    """Also where it is set to what the default is in the process that makes the plan."""
    fact = f"{name}: int = 2 if in_a_worker else 1"
    assert outcome(tmp_path, kind, fact, f'{{ name = "mine", {name} = 1 }}') == ("done", "")
