"""A network that keeps a state outside its parameters and buffers is refused: no copy is the same."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch

from benchsuite import cli
from benchsuite.store.run_directory import RunDirectory
from benchsuite.store.stages import load_tensors

if TYPE_CHECKING:
    from pathlib import Path

PLUGIN = """
import benchsuite
import torch
from torch import nn

STEPS = [0]

class Net(nn.Module):
    kind = ""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(64, 12), nn.Linear(12, 10)
        self.steps = 0
        if self.kind in ("kept-buffer", "lost-buffer"):
            self.register_buffer("seen", torch.zeros(()), persistent=self.kind == "kept-buffer")

    def count(self):
        if self.kind == "plain-count":
            self.steps += self.training
            return self.steps
        if self.kind == "global-count":
            STEPS[0] += self.training
            return STEPS[0]
        if self.training:
            self.seen += 1
        return float(self.seen)

    def forward(self, x):
        return self.last(self.first(x.flatten(1)).relu() + 4 * (self.count() > 4))

def of(which):
    class Model(benchsuite.ModelPlugin):
        name = which
        def build(self, input_shape, classes):
            return type("Net", (Net,), {"kind": which})()
    return Model

@benchsuite.hookimpl
def benchsuite_register_models(register):
    for which in ("plain-count", "global-count", "lost-buffer", "kept-buffer"):
        register(of(which))
"""
SUITE = """
[suite]
name = "states"
seeds = [0]
sparsities = [0.3]
scorers = ["magnitude-l1"]

[[workload]]
dataset = "digits"
models = ["plain-count", "global-count", "lost-buffer", "kept-buffer"]

[training]
epochs = 1

[recovery]
epochs = 0

[metrics]
latency = false
"""


def test_only_what_is_saved_with_the_weights_may_be_kept(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "states.py").write_text(PLUGIN)
    (tmp_path / "suite.toml").write_text(SUITE)
    words = [str(tmp_path / "suite.toml"), "--plugin", str(tmp_path / "states.py")]
    assert cli.main(["run", *words, "--output", str(tmp_path / "run"), "--jobs", "1"]) == 0
    found = {record.axes["model"]: record for record in RunDirectory(tmp_path / "run").results().records}
    assert {model: record.status for model, record in found.items()} == {
        "plain-count": "unsupported",
        "global-count": "unsupported",
        "lost-buffer": "unsupported",
        "kept-buffer": "done",
    }
    for model in ("plain-count", "global-count", "lost-buffer"):
        assert "keeps a state outside its parameters and buffers" in (found[model].error or "")


def test_a_network_that_changes_between_trials_is_noticed() -> None:
    from types import SimpleNamespace

    from benchsuite.errors import Unsupported
    from benchsuite.trials.dense_model import DenseModel

    class Drifting(torch.nn.Linear):
        by = 0.0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) + self.by

    torch.manual_seed(0)
    model, probe = Drifting(3, 2), torch.rand(4, 3)
    dense: Any = SimpleNamespace(model=model, probe=probe, outputs=model(probe).detach())
    DenseModel.check_unchanged(dense)
    Drifting.by = 0.5
    with pytest.raises(Unsupported, match="since another trial ran in this process"):
        DenseModel.check_unchanged(dense)


def test_the_outputs_of_the_trained_network_are_kept_and_belong_to_its_stage(tmp_path: Path) -> None:
    (tmp_path / "states.py").write_text(PLUGIN)
    (tmp_path / "suite.toml").write_text(SUITE.replace('"plain-count", "global-count", "lost-buffer", ', ""))
    words = ["run", str(tmp_path / "suite.toml"), "--plugin", str(tmp_path / "states.py")]
    assert cli.main([*words, "--output", str(tmp_path / "run"), "--jobs", "1"]) == 0
    (record,) = RunDirectory(tmp_path / "run").results().records
    folder = tmp_path / "run/stages" / record.stages["train"]
    kept = load_tensors(folder / "outputs.safetensors")["outputs"]
    weights = load_tensors(folder / "model.safetensors")
    assert "outputs.safetensors" in json.loads((folder / "stage.json").read_text())["files"]
    inputs = probe_of(tmp_path / "run/stages" / record.stages["data"])
    hidden = (inputs.flatten(1) @ weights["first.weight"].T + weights["first.bias"]).relu() + 4
    assert torch.allclose(kept, hidden @ weights["last.weight"].T + weights["last.bias"], atol=1e-5)


def probe_of(folder: Path) -> torch.Tensor:
    """The first eight training samples, normalised."""
    facts = json.loads((folder / "stage.json").read_text())["facts"]
    images = load_tensors(folder / "data.safetensors")["train/inputs"][:8].float() / 255
    mean, std = (torch.tensor(facts[name]).view(-1, 1, 1) for name in ("mean", "std"))
    return (images - mean) / std


def test_a_difference_is_relative_and_no_number_hides_one() -> None:
    from benchsuite.trials.dense_training import difference

    one = torch.tensor([[1.0, -4.0], [2.0, 0.0]])
    assert difference(one, one) == 0
    assert difference(one, one + torch.tensor([[0.0, 1.0], [0.0, 0.5]])) == 0.25
    for number in (torch.nan, torch.inf):
        broken = one.clone()
        broken[0, 0] = number
        assert difference(one, broken) == difference(broken, one) == torch.inf
        assert difference(broken, broken) == 0
    assert difference(torch.zeros(2), torch.zeros(2)) == 0
