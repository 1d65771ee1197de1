from __future__ import annotations

import platform
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

import benchsuite
from benchsuite.contracts.dataset import Augmentation, Dataset, Split
from benchsuite.contracts.recipe import TrainingRecipe
from benchsuite.hardware import kernels
from benchsuite.hardware.kernels import trusted_gradients
from benchsuite.scoring.check import run_scorer
from benchsuite.testing import context_for
from benchsuite.training import on_device, train

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

x86 = pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64"), reason="it is about kernels of x86 processors"
)

GRADIENTS = """
import sys
import torch
from torch.nn.functional import conv2d
from benchsuite.hardware.kernels import trusted_gradients

torch.set_num_threads(int(sys.argv[1]))
torch.manual_seed(0)
for channels in range(2, 18):
    module = torch.nn.Conv2d(channels, 9, 1, stride=2, bias=False).to(memory_format=torch.channels_last)
    exact = module.weight.detach().double().contiguous().requires_grad_()
    for _ in range(3):
        inputs = torch.randn(32, channels, 16, 16).contiguous(memory_format=torch.channels_last)
        with trusted_gradients(module, "cpu"):
            outputs = module(inputs)
            slope = torch.randn_like(outputs)
            (found,) = torch.autograd.grad(outputs, module.weight, slope)
        outputs = conv2d(inputs.double().contiguous(), exact, stride=2)
        (expected,) = torch.autograd.grad(outputs, exact, slope.double().contiguous())
        assert torch.allclose(found.double(), expected, rtol=1e-4, atol=1e-4), channels
print("right")
"""


def strided(channels: int) -> nn.Sequential:
    """A network with a strided 1 x 1 convolution of few inputs."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, channels, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(channels, 9, 1, stride=2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(9, 3),
    )


def images() -> Split:
    generator = torch.Generator().manual_seed(7)
    inputs = torch.randint(0, 256, (64, 2, 16, 16), dtype=torch.uint8, generator=generator)
    return Split(inputs, torch.randint(0, 3, (64,), generator=generator))


@pytest.mark.parametrize("threads", [1, 2])
def test_gradients_of_strided_convolutions_of_few_inputs_are_right(threads: int) -> None:
    # In a process of its own: where a kernel writes past its memory, anything may die later.
    command = [sys.executable, "-c", GRADIENTS, str(threads)]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.stdout == "right\n", f"exit code {found.returncode}: {found.stderr[-500:]}"


@x86
@pytest.mark.parametrize(
    ("build", "affected"),
    [
        (lambda: strided(5), True),
        (lambda: strided(16), False),
        (lambda: nn.Conv2d(5, 9, 3, stride=2), False),
        (lambda: nn.Conv2d(5, 9, 1), False),
        (lambda: nn.Linear(5, 9), False),
    ],
)
def test_only_affected_networks_do_without_onednn(build: Callable[[], nn.Module], affected: bool) -> None:
    network = build()
    before = torch.backends.mkldnn.enabled
    assert before, "torch was built without oneDNN, or it is switched off"
    seen = []

    def look_and_fail() -> None:
        with trusted_gradients(network, "cpu"):
            seen.append(torch.backends.mkldnn.enabled)
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        look_and_fail()
    assert seen == [not affected]
    assert torch.backends.mkldnn.enabled is before
    with trusted_gradients(network, "cuda:0"):
        assert torch.backends.mkldnn.enabled is before


@pytest.mark.parametrize(
    ("machine", "flags", "channels"),
    [
        ("x86_64", "flags : fpu avx avx2 fma", 8),
        ("x86_64", "flags : fpu avx avx2 avx512f", 16),
        ("x86_64", None, 16),  # it is not known
        ("AMD64", None, 16),
        ("aarch64", "Features : asimd", 0),
    ],
)
def test_networks_are_affected_by_the_width_of_the_processors_registers(
    machine: str, flags: str | None, channels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "cpuinfo"
    if flags is not None:
        file.write_text(flags)
    monkeypatch.setattr(kernels, "_CPUINFO", file)
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr(kernels, "_block", kernels._block.__wrapped__)
    without = []
    for inputs in (1, 7, 8, 15, 16):
        with trusted_gradients(strided(inputs), "cpu"):
            without.append(not torch.backends.mkldnn.enabled)
    assert without == [inputs < channels for inputs in (1, 7, 8, 15, 16)]


@x86
def test_training_and_scoring_take_trusted_gradients() -> None:
    seen = []

    class Looking(benchsuite.Scorer):
        name = "looking"

        def score(self, context: benchsuite.ScoringContext) -> dict[str, torch.Tensor]:
            seen.append(("scoring", torch.backends.mkldnn.enabled))
            return {layer.name: torch.arange(float(layer.units)) for layer in context.layers}

    def look() -> None:
        seen.append(("training", torch.backends.mkldnn.enabled))

    split = images()
    data = on_device(
        Dataset(split, split, split, ("a", "b", "c"), (0.5,) * 2, (0.25,) * 2, Augmentation()), "cpu"
    )
    recipe = TrainingRecipe(epochs=1, batch_size=64, learning_rate=0.01)
    for channels in (5, 16):
        network = strided(channels)
        run_scorer(Looking(), context_for(network, split.inputs / 255, split.labels))
        train(network, data, recipe, seed=0, device="cpu", after_step=look)
    assert seen == [("scoring", False), ("training", False), ("scoring", True), ("training", True)]
