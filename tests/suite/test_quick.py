"""The suite quick stays quick, and its dissection means something."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchsuite import cli
from benchsuite.commands.loading import load

SUITE = Path(__file__).parents[2] / "suites/quick.toml"


def test_it_has_the_trials_that_the_readme_tells(tmp_path):
    options = SimpleNamespace(
        plugin=[],
        no_third_party=False,
        suite=SUITE,
        data=tmp_path,
        filter=[],
        scorer=[],
        output=tmp_path / "run",
        threads=1,
    )
    trials = load(options).trials
    controls = ("random", "reversed(", "shuffled(")
    named = {t.axes["scorer"] for t in trials if not t.axes["scorer"].startswith(controls)}
    readme = (SUITE.parents[1] / "README.md").read_text()
    assert f"{len(trials)} trials, {len(named)} criteria" in readme


def test_it_names_its_criteria():
    suite = tomllib.loads(SUITE.read_text())["suite"]
    assert all(isinstance(entry, dict) or "all" not in entry for entry in suite["scorers"])
    assert len(suite["scorers"]) <= 15


def test_the_network_of_shapes_is_dissected_on_what_it_was_trained_to_see():
    suite = tomllib.loads(SUITE.read_text())
    dissection = suite["metrics"]["dissection"]
    (workload,) = [w for w in suite["workload"] if "mlp" not in w["models"]]
    assert workload["dataset"]["name"] == dissection["concepts"]
    assert workload["dataset"]["size"] == dissection["parameters"]["size"]


@pytest.mark.slow
def test_detectors_are_well_above_chance(tmp_path):
    arguments = ["run", str(SUITE), "--output", str(tmp_path / "run"), "--devices", "cpu"]
    assert cli.main([*arguments, "--filter", "scorer=taylor-weight,seed=0"]) == 0
    records = [json.loads(line) for line in (tmp_path / "run/results.jsonl").read_text().splitlines()]
    seen = 0
    for record in records:
        metrics = record["metrics"]
        if record["axes"]["model"] == "mlp":
            assert "unsupported" in record["provenance"]["dissection"]
            assert not any(name.startswith("interpretability/") for name in metrics)
            continue
        layers = record["provenance"]["dissection"]["layers"]
        assert all(0 < layer["units"] <= layer["units_dense"] for layer in layers)
        assert metrics["interpretability/units"] == sum(layer["units"] for layer in layers)
        seen += 1
        assert metrics["interpretability/detectors_dense"] > 20
        assert metrics["interpretability/null_detectors"] < 4
        assert metrics["interpretability/units"] < metrics["interpretability/units_dense"]
        assert 0 < metrics["interpretability/still_interpretable"] <= 1
    assert seen >= 2
