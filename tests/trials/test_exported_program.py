"""An exported program becomes a network of layers that computes the same, keeps its names and is cut."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
import torch
from grammar import Grower
from pruning_networks import NETWORKS, build, example
from torch import Tensor, nn
from torch.nn import functional

from benchsuite import cli
from benchsuite.pruning.tracing.trace import trace
from benchsuite.store.run_directory import RunDirectory
from benchsuite.trials.exported_program import is_exported
from benchsuite.trials.usable_model import usable

if TYPE_CHECKING:
    from pathlib import Path


def exported(model: nn.Module, inputs: Tensor) -> nn.Module:
    batch = torch.export.Dim("batch", min=2)
    return torch.export.export(model, (inputs,), dynamic_shapes=({0: batch},)).module()


BY_MODULE = {"attention", "attention of three", "packed attention", "stated parts"}
"""What of a network can go because of what its modules are and hold."""


def check(model: nn.Module, inputs: Tensor, *, modules: bool = False) -> None:
    found = usable(exported(model, inputs), tuple(inputs.shape[1:]))
    assert not is_exported(found)
    made, own = ({n: p.shape for n, p in each.named_parameters()} for each in (found, model))
    if any(isinstance(module, nn.MultiheadAttention) for module in model.modules()):
        # Its packed weight is that of a layer of the program, which has another name.
        assert sorted(made.values()) == sorted(own.values())
    else:
        assert made == own
    others = torch.cat((inputs, inputs.flip(0), -inputs))
    torch.testing.assert_close(found.eval()(others), model(others), rtol=1e-4, atol=1e-5)
    graph, original = trace(found, inputs), trace(model, inputs)
    # Heads and numbers in attributes are known by modules, which a program does not have.
    assert graph.units == original.units if not modules else 0 < graph.units <= original.units
    norms = (nn.modules.batchnorm._BatchNorm, nn.Dropout)
    changed = [m for m in found.modules() if isinstance(m, norms)]
    found.train()
    assert all(module.training for module in changed)
    found(others).sum().backward()
    assert any(parameter.grad is not None for parameter in found.parameters())


@pytest.mark.parametrize("name", NETWORKS)
def test_known_networks(name: str) -> None:
    check(build(name), example(), modules=name == "vit")


@pytest.mark.filterwarnings(
    "ignore:The tensor attributes .* were assigned during export:UserWarning"
)  # of RNNs
@pytest.mark.parametrize("seed", range(8))
def test_random_networks(seed: int) -> None:
    grower = Grower(random.Random(seed))
    network = grower.network().float()
    inputs = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    recurrent = any(production.startswith("recurrent") for production in grower.used)
    check(network, inputs, modules=recurrent or bool(BY_MODULE & grower.used.keys()))


class Shared(nn.Module):
    """A weight that two layers use, one in a function, dropout, and several outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(6, 6)
        self.drop = nn.Dropout(0.5)
        self.scale = nn.Parameter(torch.rand(6))
        self.wave = nn.Conv1d(1, 2, 3, padding="same", bias=False)

    def forward(self, x: Tensor) -> dict[str, Any]:
        y = self.drop(self.one(self.one(x) * self.scale))
        z = functional.linear(y, self.one.weight.relu(), self.one.bias)
        return {"scores": z, "more": (y, self.wave(z[:, None]))}


def test_shared_weights_functions_and_several_outputs() -> None:
    torch.manual_seed(0)
    model, inputs = Shared().eval(), torch.rand(3, 6)
    found = usable(exported(model, inputs), (6,)).eval()
    expected, made = model(inputs), found(inputs)
    torch.testing.assert_close(made, expected)
    assert set(dict(found.named_parameters())) == set(dict(model.named_parameters()))
    assert isinstance(found.get_submodule("one"), nn.Linear)
    (dropout,) = (module for module in found.modules() if isinstance(module, nn.Dropout))
    assert dropout.p == 0.5


PLUGIN = """
from pathlib import Path
import benchsuite
import torch

class Again(benchsuite.ModelPlugin):
    name = "again"
    file: str = ""

    def build(self, input_shape, classes):
        return torch.export.load(self.file)

    def fingerprint(self):
        return benchsuite.file_fingerprint(Path(self.file))

@benchsuite.hookimpl
def benchsuite_register_models(register):
    register(Again)
"""
SUITE = """
[suite]
name = "again"
seeds = [0]
sparsities = [0.4]
scorers = ["magnitude-l1"]

[[workload]]
dataset = "digits"
models = [MODEL]

[training]
epochs = 2

[recovery]
epochs = 0.5

[metrics]
latency = false
"""


@pytest.mark.slow
def test_a_pruned_network_that_was_exported_is_pruned_again(tmp_path: Path) -> None:
    def run(name: str, model: str, *words: str) -> tuple[Path, Any]:
        suite, output = tmp_path / f"{name}.toml", tmp_path / name
        suite.write_text(SUITE.replace("MODEL", model))
        assert cli.main(["run", str(suite), "--output", str(output), *words]) == 0
        (record,) = RunDirectory(output).results().records
        assert record.status == "done", record.error
        return output, record

    first, record = run("first", '"small-resnet"')
    assert cli.main(["export", str(first), record.key, "--output", str(tmp_path / "net")]) == 0
    (tmp_path / "again.py").write_text(PLUGIN)
    model = f'{{ name = "again", file = "{tmp_path / "net/model.pt2"}" }}'
    _, again = run("second", model, "--plugin", str(tmp_path / "again.py"))
    assert again.metrics["cost/macs_dense"] == record.metrics["cost/macs"]
    assert again.metrics["cost/macs"] < 0.7 * record.metrics["cost/macs"]
    assert again.metrics["accuracy/top1_dense"] > 0.8
