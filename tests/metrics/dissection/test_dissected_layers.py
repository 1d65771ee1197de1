"""Which layers are chosen, and that their maps are read after the non-linearity."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import Tensor, nn

from benchsuite.errors import Unsupported, UsageError
from benchsuite.metrics.dissection.layers import MapReader, choose_layers


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


def test_the_last_convolution_of_each_resolution_is_chosen() -> None:
    with torch.device("cpu"):
        resnet = torchvision.models.resnet18(num_classes=8).eval()
    assert choose_layers(resnet, torch.zeros(1, 3, 64, 64)) == (
        "conv1",
        "layer1.1.conv2",
        "layer2.1.conv2",
        "layer3.1.conv2",
        "layer4.1.conv2",
    )
    lenet = nn.Sequential(nn.Conv2d(1, 4, 5), nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(4, 6, 5), nn.ReLU())
    assert choose_layers(lenet, torch.zeros(1, 1, 28, 28)) == ("0", "3")


def test_convolutions_of_a_single_position_are_left_out() -> None:
    assert choose_layers(net().eval(), torch.zeros(1, 3, 8, 8)) == ("0.shortcut", "1.shortcut")
    with pytest.raises(Unsupported, match="convolution"):
        choose_layers(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), torch.zeros(1, 1, 2, 2))
    with pytest.raises(Unsupported, match="convolution"):
        choose_layers(nn.Conv2d(1, 2, 2), torch.zeros(1, 1, 2, 2))


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
    with pytest.raises(Unsupported, match=r"output of 3 is \(1, 6\)"):
        MapReader(net().eval(), ("3",), sample)
    unused = nn.Sequential(nn.Conv2d(3, 2, 1))
    unused.add_module("spare", nn.Identity())
    unused.forward = lambda x: unused[0](x)  # type: ignore[method-assign]  # a module that is never called
    with pytest.raises(Unsupported, match="does not reach spare"):
        MapReader(unused, ("0", "spare"), sample)
