"""What is loaded to log a network: the plugins of its own model and data set, and no others."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tracked import dense_trial, key

from benchsuite.registry.loading import PluginSource
from benchsuite.tracking.dense_tasks import by_sources, dense_task
from benchsuite.tracking.model_choice import ChosenModel

if TYPE_CHECKING:
    from pathlib import Path

    from benchsuite.contracts.plugin import Kind

SUITE = """
[[workload]]
dataset = "digits"
models = ["mlp", { name = "odd", width = 3 }, "family/one"]
[[workload]]
dataset = "odd-data"
models = ["mlp", "odd"]
"""
MODEL = PluginSource("file", "model", "model.py")
DATA = PluginSource("installed", "data", "odd_data", "odd-data", "1")
FAMILY = PluginSource("installed", "family", "family", "odd-family", "1")
STRANGERS = {("model", "odd"): MODEL, ("dataset", "odd-data"): DATA, ("model", "family/one"): FAMILY}


def source_of(kind: Kind, name: str) -> PluginSource | None:
    return STRANGERS.get((kind, name))


def chosen(dataset: str, model: str) -> ChosenModel:
    trial = dense_trial(key(dataset + model))
    return ChosenModel("dense", replace(trial, axes={**trial.axes, "dataset": dataset, "model": model}), "")


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    path = tmp_path / "suite.toml"
    path.write_text(SUITE)
    return path


def test_networks_are_apart_by_the_sources_of_their_own_model_and_data_set(suite):
    pairs = [("digits", "mlp"), ("digits", "odd(width=3)"), ("digits", "family/one"), ("odd-data", "mlp")]
    pairs += [("odd-data", "odd"), ("digits", "mlp")]
    choices = [chosen(*pair) for pair in pairs]
    found, troubles = by_sources(suite, choices, source_of)
    assert troubles == []
    shipped, odd, family, data, both, again = choices
    assert found == {
        (): [shipped, again],
        (MODEL.resolved(),): [odd],
        (FAMILY,): [family],
        (DATA,): [data],
        (MODEL.resolved(), DATA): [both],
    }


def test_a_network_that_the_suite_does_not_have_is_told_of_and_the_others_go_on(suite):
    good = chosen("digits", "mlp")
    found, troubles = by_sources(suite, [chosen("digits", "gone"), good], source_of)
    assert found == {(): [good]}
    (trouble,) = troubles
    assert trouble.startswith(f"gone on digits, dense: {suite} has no gone on digits")
    assert str(suite) in trouble


@pytest.mark.parametrize("content", [None, "", "x = [", "workload = 3", "[[workload]]\nmodels = 3", "\0"])
def test_a_suite_that_cannot_be_read_is_told_of(tmp_path, content):
    path = tmp_path / "suite.toml"
    if content is not None:
        path.write_text(content)
    found, troubles = by_sources(path, [chosen("digits", "mlp")], source_of)
    assert found == {}
    (trouble,) = troubles
    assert trouble.startswith("mlp on digits, dense: ")
    assert str(path) in trouble
    assert "Error" not in trouble


def test_the_task_has_the_suites_choices_and_the_records_stages(suite):
    trial = chosen("digits", "odd(width=3)").record
    trial.stages["data"] = key("d1")
    task = dense_task(suite, trial)
    assert (task.model.name, task.model.parameters) == ("odd", {"width": 3})
    assert (task.dataset.name, task.data_key, task.key) == ("digits", key("d1"), key("t1"))
    assert task.recipe.epochs == 3.0
