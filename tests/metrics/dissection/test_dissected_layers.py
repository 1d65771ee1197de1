"""The maps of the layers that a suite names, and of places in the code of a network."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import Tensor, nn

from benchsuite.errors import Unsupported, UsageError
from benchsuite.metrics.dissection.layers import MapReader
from benchsuite.metrics.dissection.settings import DissectionSettings


class Block(nn.Module):
    """A residual block with squeeze and excitation."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.excite = nn.Conv2d(outputs, outputs, 1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.second(self.first(x).relu()))
        y = y * self.excite(y.mean((2, 3), keepdim=True)).sigmoid()
        return (y + self.shortcut(x)).relu()


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        Block(3, 4, 1), Block(4, 6, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2)
    )


def test_maps_are_read_after_the_non_linearity() -> None:
    model, inputs = net().eval(), torch.randn(5, 3, 8, 8)
    reader = MapReader(model, ("0.first", "0.second", "0", "1.shortcut"), inputs[:1])
    found = {}
    with torch.no_grad(), reader.reading(5, lambda name, maps: found.update({name: maps.clone()})):
        model(inputs)
    with torch.no_grad():
        first = model[0](inputs)
        torch.testing.assert_close(found["0.first"], model[0].first(inputs).relu(), rtol=0, atol=0)
        torch.testing.assert_close(found["0"], first, rtol=0, atol=0)
        torch.testing.assert_close(found["1.shortcut"], model[1](first), rtol=0, atol=0)
    assert (found["0"] >= 0).all()


def test_a_stage_and_its_last_convolution_have_the_same_maps() -> None:
    with torch.device("cpu"):
        resnet = torchvision.models.resnet18(num_classes=8).eval()
    reader = MapReader(resnet, ("layer3", "layer3.1.conv2"), torch.randn(2, 3, 64, 64))
    found = {}
    with torch.no_grad(), reader.reading(2, lambda name, maps: found.update({name: maps.clone()})):
        resnet(torch.randn(2, 3, 64, 64))
    assert torch.equal(found["layer3"], found["layer3.1.conv2"])


def test_wrong_names_say_which_there_are() -> None:
    sample = torch.zeros(1, 3, 8, 8)
    with pytest.raises(UsageError, match=r"'2.first'.*0.first, 0.second"):
        MapReader(net().eval(), ("0", "2.first"), sample)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
    with pytest.raises(
        UsageError, match=r"has no convolutions; its modules are 0 \(Flatten\), 1 \(Linear\)$"
    ):
        MapReader(flat.eval(), ("layer9",), sample)
    with pytest.raises(UsageError, match=r"its modules are none$"):
        MapReader(nn.Identity(), ("layer9",), sample)
    with pytest.raises(Unsupported, match=r"output of 3 is \(1, 6\)"):
        MapReader(net().eval(), ("3",), sample)
    unused = nn.Sequential(nn.Conv2d(3, 2, 1))
    unused.add_module("spare", nn.Identity())
    unused.forward = lambda x: unused[0](x)  # type: ignore[method-assign]  # a module that is never called
    with pytest.raises(Unsupported, match="does not reach spare"):
        MapReader(unused, ("0", "spare"), sample)


def test_one_name_is_a_list_of_one() -> None:
    assert DissectionSettings.model_validate({"layers": "layer9"}).layers == ("layer9",)
    assert DissectionSettings.model_validate({"layers": ["a", "b"]}).layers == ("a", "b")
    assert DissectionSettings.model_validate({"layers": "auto"}).layers == "auto"


class Coded(nn.Module):
    """A network with functions in its own code, and a module that is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.first(x))
        x = nn.functional.max_pool2d(x, 2)
        x = nn.functional.gelu(self.act(self.second(x)))
        return nn.functional.gelu(x)


def test_a_place_in_the_code_is_read_at_its_use() -> None:
    torch.manual_seed(0)
    model, inputs = Coded().eval(), torch.randn(2, 3, 8, 8)
    names = ("act", "act#2", "gelu()", "gelu()#2", "second.conv2d()", "second")
    reader = MapReader(model, names, inputs[:1])
    found: dict[str, Tensor] = {}
    with torch.no_grad(), reader.reading(2, lambda name, maps: found.update({name: maps.clone()})):
        model(inputs)
    with torch.no_grad():
        first = model.first(inputs).relu()
        second = model.second(nn.functional.max_pool2d(first, 2))
        gelu = nn.functional.gelu
        for name, expected in zip(
            names,
            (first, second.relu(), gelu(second.relu()), gelu(gelu(second.relu())), second, second.relu()),
            strict=True,
        ):
            torch.testing.assert_close(found[name], expected, rtol=0, atol=0)
    with pytest.raises(Unsupported, match=r"does not reach act#3"):
        MapReader(model, ("act#3",), inputs[:1])


class Tokens(nn.Module):
    """Patches with a class token before them and a register after them, in an order of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 5, 2, 2)
        self.token = nn.Parameter(torch.randn(1, 2, 5))
        self.mix = nn.Linear(5, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2).flip(1)
        x = torch.cat([self.token[:, :1].expand(len(x), 1, 5), x, self.token[:, 1:].expand(len(x), 1, 5)], 1)
        return x + self.mix(x)


def test_tokens_are_put_where_they_are_in_the_image() -> None:
    torch.manual_seed(0)
    model, inputs = nn.Sequential(Tokens()).eval(), torch.randn(2, 3, 6, 8)
    reader = MapReader(model, ("0",), inputs[:1])
    found: dict[str, Tensor] = {}
    with torch.no_grad(), reader.reading(2, lambda name, maps: found.update({name: maps.clone()})):
        model(inputs)
    with torch.no_grad():
        patches = model[0].patch(inputs).movedim(1, -1)
        expected = (patches + model[0].mix(patches)).movedim(-1, 1)
    assert expected.shape == (2, 5, 3, 4)
    torch.testing.assert_close(found["0"], expected)
