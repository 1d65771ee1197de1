"""Residual networks for small images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

Shortcut = Literal["A", "projection"]


class ZeroPadShortcut(nn.Module):
    """Every `stride`-th pixel of every channel, between new channels of zeros (He et al. 2016, option A)."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.before, self.after = channels // 2, channels - channels // 2

    def forward(self, x: Tensor) -> Tensor:
        """Maps with `channels` more channels and 1 / `stride` of the height and width, rounded up."""
        thinned = functional.avg_pool2d(x, kernel_size=1, stride=self.stride)  # one-pixel windows
        return functional.pad(thinned, (0, 0, 0, 0, self.before, self.after))


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions with batch norm, and the shortcut around them (He et al. 2016, figure 2)."""

    def __init__(self, inputs: int, units: int, stride: int, shortcut: Shortcut) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, units, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(units)
        self.conv2 = nn.Conv2d(units, units, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(units)
        self.shortcut: nn.Module = nn.Sequential()
        if (stride != 1 or inputs != units) and shortcut == "A":
            self.shortcut = ZeroPadShortcut(units - inputs, stride)
        elif stride != 1 or inputs != units:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, units, 1, stride=stride, bias=False), nn.BatchNorm2d(units)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Maps after the block, (samples, units, height / stride, width / stride)."""
        out = functional.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return functional.relu(out + self.shortcut(x))


class ResidualNetwork(nn.Module):
    """A 3 x 3 convolution, three stages of basic blocks, global average pooling, a linear classifier.

    Each stage except the first begins with stride 2. Convolutions are initialised after He et al. (2015).
    """

    def __init__(
        self, channels: int, widths: tuple[int, int, int], blocks: int, classes: int, shortcut: Shortcut
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.layer1 = _stage(widths[0], widths[0], 1, blocks, shortcut)
        self.layer2 = _stage(widths[0], widths[1], 2, blocks, shortcut)
        self.layer3 = _stage(widths[1], widths[2], 2, blocks, shortcut)
        self.linear = nn.Linear(widths[2], classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Logits, (samples, classes)."""
        out = functional.relu(self.bn1(self.conv1(x)))
        out = self.layer3(self.layer2(self.layer1(out)))
        out = functional.adaptive_avg_pool2d(out, 1).flatten(1)
        logits: Tensor = self.linear(out)
        return logits


def _stage(inputs: int, units: int, stride: int, blocks: int, shortcut: Shortcut) -> nn.Sequential:
    first = BasicBlock(inputs, units, stride, shortcut)
    return nn.Sequential(first, *(BasicBlock(units, units, 1, shortcut) for _ in range(blocks - 1)))
