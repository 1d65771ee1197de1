"""Every value of the axes of pruning and recovery, from the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any, get_args

import pytest

from benchsuite.contracts.layers import Granularity
from benchsuite.pruning.settings import WEIGHT_SCOPES, Budget, Schedule, Scope

if TYPE_CHECKING:
    from pathlib import Path

SUITE = """
[suite]
name = "axes"
seeds = [0]
sparsities = {sparsities}
scorers = ["mean-threshold"]

[[workload]]
dataset = "digits"
models = [{{ name = "mlp", hidden = [12, 8] }}]
training = {{ epochs = 1 }}

[pruning]
granularity = {granularity}
scope = {scope}
budget = {budget}
schedule = {schedule}
rounds = 2
rewind_share = 0.4

[recovery]
epochs = {recovery}

[metrics]
latency = false
"""


NOTHING_BUT = {
    "granularity": ["unit"],
    "scope": ["layer"],
    "budget": ["macs"],
    "schedule": ["one-shot"],
    "sparsities": [0.5],
    "recovery": [0.5],
}


def run(folder: Path, **axes: list[Any]) -> list[dict[str, Any]]:
    text = SUITE.format(**{name: json.dumps(values) for name, values in (NOTHING_BUT | axes).items()})
    (folder / "axes.toml").write_text(text)
    command = [sys.executable, "-m", "benchsuite.cli", "run", "axes.toml", "--jobs", "2"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return [json.loads(line) for line in (folder / "runs/axes/results.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_granularities_schedules_patterns_and_own_rules_meet(tmp_path):
    axes = {"granularity": get_args(Granularity), "scope": ["layer", "2:4"], "schedule": get_args(Schedule)}
    records = run(tmp_path, **axes, sparsities=[0.5, "native"])
    assert len(records) == 2 * 2 * 4 * 2
    for record in records:
        axis = record["axes"]
        own_rule, pattern = axis["sparsity"] == "native", axis["scope"] == "2:4"
        can = not (own_rule and pattern)  # each decides itself how much to remove
        if can and (own_rule or pattern):
            # Both work on single weights, and on all of them at once.
            can = axis["granularity"] == "weight" and axis["schedule"] in ("one-shot", "at-init")
        assert record["status"] == ("done" if can else "unsupported"), (axis, record["error"])
        if not can:
            assert record["error"]
        elif not own_rule:
            # A position of these small layers has up to a twelfth of their parameters.
            assert record["metrics"]["sparsity/macs"] == pytest.approx(0.5, abs=0.09), axis


def test_scopes_budgets_and_recoveries_meet(tmp_path):
    scopes = [scope for scope in get_args(Scope) if scope not in WEIGHT_SCOPES]
    records = run(tmp_path, scope=scopes, budget=get_args(Budget), recovery=[0, 1])
    assert [record["status"] for record in records] == ["done"] * 3 * 3 * 2
    for record in records:
        budget, metrics = record["axes"]["budget"], record["metrics"]
        assert metrics[f"sparsity/{budget}"] == pytest.approx(0.5, abs=0.09)
        if record["axes"]["recovery_epochs"] == 0:
            assert metrics["accuracy/top1"] == metrics["accuracy/top1_before_recovery"]
    assert {r["axes"]["recovery_epochs"] for r in records} == {0, 1}
