"""The part of a network after one layer gives the same as a full pass with that layer's output replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from benchsuite.testing import TinyResidual, simple_layers, tiny_convnet, tiny_mlp, tiny_samples
from benchsuite_scorers._next_layer import connect_next, find_next
from benchsuite_scorers._partial_forward import PartialForward

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


@pytest.mark.parametrize("case", CASES)
def test_the_rest_equals_a_full_pass(case: str) -> None:
    model, module = CASES[case]()
    size = (3, 32, 32) if case in ("resnet", "densenet", "transformer") else (2, 8, 8)
    inputs, _ = tiny_samples(3, size)
    rest = PartialForward(model, module, inputs)
    with torch.no_grad():
        torch.testing.assert_close(rest.outputs, model(inputs))
    generator = torch.Generator().manual_seed(0)
    variants = [rest.output * torch.rand(rest.output.shape, generator=generator) * 2 for _ in range(3)]
    with torch.no_grad():
        found = rest.run(torch.cat(variants), 3)
    expected = torch.cat([full(model, module, inputs, outputs) for outputs in variants])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found[:3], rest.outputs)
    if case == "chance":
        assert not rest._fast
    else:
        assert rest._fast
        assert rest._stacks is (case != "own size")


def test_only_what_depends_on_the_layer_is_computed() -> None:
    model = tiny_convnet()
    rest = PartialForward(model, model[7], tiny_samples(3)[0])
    with torch.no_grad():
        for part in (model[0].weight, model[4].weight):
            part.fill_(float("nan"))
        assert rest.run(rest.output).isfinite().all()
        model[9].weight.fill_(float("nan"))
        assert rest.run(rest.output).isnan().all()


def test_the_gradient_reaches_the_replaced_output() -> None:
    model = TinyResidual()
    inputs, _ = tiny_samples(3)
    rest = PartialForward(model, model.branch, inputs)
    outputs = rest.output.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(rest.run(outputs).square().sum(), outputs)
    step = 1e-2 * gradient / gradient.norm()
    with torch.no_grad():
        change = (rest.run(outputs + step).square().sum() - rest.run(outputs - step).square().sum()) / 2
    assert float(change) == pytest.approx(1e-2 * float(gradient.norm()), rel=1e-2)


def test_a_module_that_is_not_reached_is_an_error() -> None:
    with pytest.raises(ValueError, match="does not reach"):
        PartialForward(tiny_mlp(), nn.Linear(1, 1), tiny_samples(3, (4,))[0])


def test_the_next_layer_and_its_blocks_are_found() -> None:
    model = tiny_convnet()
    inputs, _ = tiny_samples(3)
    layers = {layer.name: layer for layer in simple_layers(model)}
    for name, following, block in (("0", model[4], 1), ("4", model[7], 4), ("7", model[9], 1)):
        module = find_next(model, layers[name], inputs)
        assert module is following
        consumer = connect_next(module, layers[name], PartialForward(model, layers[name].module, inputs))
        assert consumer is not None
        only = consumer.masked(torch.ones_like(consumer.on), torch.arange(layers[name].units) == 1)
        kept = only[0].flatten(1).any(1) if only.ndim == 4 else only[0] != 0
        assert kept.nonzero().flatten().tolist() == list(range(block, 2 * block))


def test_depthwise_convolutions_are_passed_and_mixed_channels_refused() -> None:
    class Shuffled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Conv2d(2, 4, 1), nn.Conv2d(4, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.first(x).flip(1)).mean((2, 3))

    inputs, _ = tiny_samples(3)
    model = TinyResidual()
    stem = simple_layers(model)[0]
    assert find_next(model, stem, inputs) is model.branch
    assert find_next(model, simple_layers(model)[1], inputs) is model.bare
    shuffled = Shuffled()
    layer = simple_layers(shuffled)[0]
    module = find_next(shuffled, layer, inputs)
    assert module is shuffled.last
    assert connect_next(module, layer, PartialForward(shuffled, layer.module, inputs)) is None
