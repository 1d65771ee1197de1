"""The part of a network after one layer gives the same as a full pass with that layer's output replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from benchsuite.testing import TinyResidual, tiny_convnet, tiny_mlp, tiny_samples
from benchsuite_scorers._gates import Gate, Gates
from benchsuite_scorers._partial_forward import ModuleOutput, PartialForward

if TYPE_CHECKING:
    from collections.abc import Callable


class InPlace(nn.Module):
    """A skip connection that is overwritten in place, and the shape of a tensor from before the layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.varied, self.last = nn.Conv2d(2, 3, 1), nn.Conv2d(3, 3, 1), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        skip = self.first(x)
        size = skip.size(0)
        added = self.varied(skip)
        skip += added.relu_()
        skip *= 2
        return self.last(skip.view(size, 3, -1).mean(-1))


class OwnSize(InPlace):
    """Makes a tensor whose size depends on the samples, which fails when variants are stacked."""

    def forward(self, x: Tensor) -> Tensor:
        count = int(torch.ones(len(x)).sum())
        return self.last(self.varied(self.first(x)).reshape(count, 3, -1).mean(-1))


class Chance(InPlace):
    """Calls more operations each time, so that no recording fits."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        for _ in range(self.calls):
            x = x + 0
        return self.last(self.varied(self.first(x)).mean((2, 3)))


def full(model: nn.Module, module: nn.Module, inputs: Tensor, outputs: Tensor) -> Tensor:
    handle = module.register_forward_hook(lambda *_: outputs)
    try:
        with torch.no_grad():
            return model(inputs)
    finally:
        handle.remove()


def residual(name: str) -> tuple[nn.Module, nn.Module]:
    model = TinyResidual()
    return model, model.get_submodule(name)


def library(name: str, layer: str) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    if name.startswith("timm/"):
        model = timm.create_model(name[5:], num_classes=5, img_size=32, patch_size=8).eval()
    else:
        model = torchvision.models.get_model(name, num_classes=5).eval()
    return model, model.get_submodule(layer)


CASES: dict[str, Callable[[], tuple[nn.Module, nn.Module]]] = {
    "sequential": lambda: ((model := tiny_convnet()), model[4])[0:2],
    "stem": lambda: residual("stem"),
    "branch": lambda: residual("branch"),
    "shortcut": lambda: residual("shortcut"),
    "in place": lambda: ((model := InPlace()), model.varied),
    "own size": lambda: ((model := OwnSize()), model.varied),
    "chance": lambda: ((model := Chance()), model.varied),
    "resnet": lambda: library("resnet18", "layer2.0.downsample.0"),
    "densenet": lambda: library("densenet121", "features.denseblock4.denselayer3.conv2"),
    "transformer": lambda: library("timm/deit_tiny_patch16_224", "blocks.10.mlp.fc1"),
}


class Detour(InPlace):
    """Computes with numpy, which no recording of calls to torch follows."""

    def forward(self, x: Tensor) -> Tensor:
        x = torch.from_numpy(np.tanh(self.varied(self.first(x)).numpy()))
        return self.last(x.mean((2, 3)))


CASES["detour"] = lambda: ((model := Detour()), model.varied)


@pytest.mark.parametrize("case", CASES)
def test_the_rest_equals_a_full_pass(case: str) -> None:
    model, module = CASES[case]()
    size = (3, 32, 32) if case in ("resnet", "densenet", "transformer") else (2, 8, 8)
    inputs, _ = tiny_samples(3, size)
    varied = ModuleOutput(module)
    rest = PartialForward(model, varied, inputs)
    with torch.no_grad():
        torch.testing.assert_close(rest.outputs, model(inputs))
    generator = torch.Generator().manual_seed(0)
    variants = [varied.own * torch.rand(varied.own.shape, generator=generator) * 2 for _ in range(3)]
    with torch.no_grad():
        found = rest.run(torch.cat(variants), 3)
    expected = torch.cat([full(model, module, inputs, outputs) for outputs in variants])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found[:3], rest.outputs)
    assert rest._fast is (case not in ("chance", "detour"))
    if rest._fast:
        assert rest._stacks is (case != "own size")


def sequence(name: str) -> tuple[nn.Module, nn.Linear]:
    """A linear layer over tokens, samples in the first or in the second dimension."""
    torch.manual_seed(0)

    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.varied, self.last = nn.Linear(4, 5), nn.Linear(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            if name == "second":
                x = x.transpose(0, 1)
            x = self.last(torch.relu(self.varied(x)))
            return x.mean(0 if name == "second" else 1)

    model = Tokens().eval()
    return model, model.varied


@pytest.mark.parametrize("name", ["first", "second"])
def test_variants_never_get_each_others_factors(name: str) -> None:
    model, module = sequence(name)
    inputs, _ = tiny_samples(3, (6, 4))
    gates = Gates([Gate("varied", module, False, True, torch.arange(5))], 5, module.weight)
    rest = PartialForward(model, gates, inputs)
    masks = torch.rand(4, 5, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = rest.run(masks, 4).split(3)
        for mask, outputs in zip(masks, found, strict=True):
            handle = module.register_forward_hook(lambda m, i, o, mask=mask: o * mask)
            torch.testing.assert_close(outputs, model(inputs))
            handle.remove()
    assert rest._fast
    assert rest._stacks is (name == "first")


def test_only_what_depends_on_the_layer_is_computed() -> None:
    model = tiny_convnet()
    varied = ModuleOutput(model[7])
    rest = PartialForward(model, varied, tiny_samples(3)[0])
    with torch.no_grad():
        for part in (model[0].weight, model[4].weight):
            part.fill_(float("nan"))
        assert rest.run(varied.own.clone()).isfinite().all()
        model[9].weight.fill_(float("nan"))
        assert rest.run(varied.own.clone()).isnan().all()


def test_the_gradient_reaches_the_replaced_output() -> None:
    model = TinyResidual()
    inputs, _ = tiny_samples(3)
    varied = ModuleOutput(model.branch)
    rest = PartialForward(model, varied, inputs)
    outputs = varied.own.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(rest.run(outputs).square().sum(), outputs)
    step = 1e-2 * gradient / gradient.norm()
    with torch.no_grad():
        change = (rest.run(outputs + step).square().sum() - rest.run(outputs - step).square().sum()) / 2
    assert float(change) == pytest.approx(1e-2 * float(gradient.norm()), rel=1e-2)


def test_a_module_that_is_not_reached_is_an_error() -> None:
    with pytest.raises(ValueError, match="does not reach"):
        PartialForward(tiny_mlp(), ModuleOutput(nn.Linear(1, 1)), tiny_samples(3, (4,))[0])
