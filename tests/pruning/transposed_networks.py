"""Networks with transposed convolutions that also say what they compute when some of their units are gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

CLASSES = 5


class WithoutUnits(nn.Module):
    """A network that multiplies what a layer reads by zero where `gone` names a unit, by layer."""

    def __init__(self) -> None:
        super().__init__()
        self.gone: Mapping[str, Collection[int]] = {}

    def left(self, name: str, made: Tensor) -> Tensor:
        """What is read of a layer, a map or features: zero where its units are gone."""
        some = torch.ones(made.shape[1], dtype=made.dtype)
        some[list(self.gone.get(name, ()))] = 0
        return made * some.view(-1, *[1] * (made.ndim - 2))


class Generator(WithoutUnits):
    """As in DCGAN: a linear layer, a view to a map, transposed convolutions with norms; then a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.width = 7
        self.first, self.project = nn.Linear(64, 10), nn.Linear(10, 7 * 4)
        self.norm0 = nn.BatchNorm2d(7)
        self.up1, self.norm1 = nn.ConvTranspose2d(7, 6, 4, 2, 1, bias=False), nn.BatchNorm2d(6)
        self.up2, self.norm2 = nn.ConvTranspose2d(6, 8, 3, 2, 1, output_padding=1), nn.BatchNorm2d(8)
        self.last, self.head = nn.ConvTranspose2d(8, 9, 1), nn.Linear(9, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.left("first", torch.relu(self.first(x.flatten(1))))
        maps = torch.relu(self.norm0(self.project(x).view(-1, self.width, 2, 2)))
        x = self.left("project", maps.flatten(1)).view(maps.shape)
        x = self.left("up1", torch.relu(self.norm1(self.up1(x))))
        x = self.left("up2", torch.relu(self.norm2(self.up2(x))))
        return self.head(self.left("last", torch.tanh(self.last(x)).mean((2, 3))))


class Hourglass(WithoutUnits):
    """As a U-Net: each upsampled map is concatenated with one of its size; then pooling and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2 = nn.Conv2d(1, 6, 3, 1, 1), nn.Conv2d(6, 8, 3, 2, 1)
        self.down3 = nn.Conv2d(8, 9, 3, 2, 1)
        self.up2, self.merge2 = nn.ConvTranspose2d(9, 7, 2, 2), nn.Conv2d(15, 7, 3, 1, 1)
        self.up1, self.merge1 = nn.ConvTranspose2d(7, 5, 2, 2), nn.Conv2d(11, 8, 3, 1, 1)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        one = self.left("down1", torch.relu(self.down1(x)))
        two = self.left("down2", torch.relu(self.down2(one)))
        three = self.left("down3", torch.relu(self.down3(two)))
        x = torch.cat((self.left("up2", torch.sigmoid(self.up2(three))), two), 1)
        x = self.left("merge2", torch.relu(self.merge2(x)))
        x = torch.cat((one, self.left("up1", self.up1(x))), 1)
        return self.head(self.left("merge1", torch.relu(self.merge1(x))).mean((2, 3)))


class Decoder(WithoutUnits):
    """Grouped and depthwise transposed convolutions, one of which is added to what it reads."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.grouped = nn.Conv2d(1, 9, 3, 2, 1), nn.ConvTranspose2d(9, 6, 2, 2, groups=3)
        self.mix = nn.Conv2d(6, 8, 1)
        self.each = nn.ConvTranspose2d(8, 16, 3, 1, 1, groups=8)
        self.same = nn.ConvTranspose2d(16, 16, 5, 1, 2)
        self.last, self.head = nn.Conv2d(16, 6, 3), nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.left("first", torch.relu(self.first(x)))
        x = self.left("grouped", torch.relu(self.grouped(x)))
        x = self.left("mix", torch.relu(self.mix(x)))
        x = self.left("each", torch.relu(self.each(x)))
        x = self.left("same", x + self.same(x))
        return self.head(self.left("last", torch.relu(self.last(x)).mean((2, 3))))


class Waves(WithoutUnits):
    """An autoencoder of one dimension whose code is decoded twice by the same layer."""

    def __init__(self) -> None:
        super().__init__()
        self.code = nn.Conv1d(8, 6, 3, stride=2, padding=1)
        self.twice = nn.ConvTranspose1d(6, 6, 3, padding=1, dilation=1)
        self.back, self.head = nn.ConvTranspose1d(6, 7, 4, stride=2, padding=1), nn.Linear(7, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.left("code", torch.relu(self.code(x.squeeze(1))))
        for _ in range(2):
            x = self.left("twice", torch.relu(self.twice(x)))
        return self.head(self.left("back", torch.relu(self.back(x)).mean(2)))


class Volumes(WithoutUnits):
    """A decoder of three dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.up = nn.Conv3d(1, 6, 3, 1, 1), nn.ConvTranspose3d(6, 8, 2, (1, 2, 1))
        self.last, self.head = nn.ConvTranspose3d(8, 6, (1, 3, 3)), nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.left("first", torch.relu(self.first(x.view(-1, 1, 4, 4, 4))))
        x = self.left("up", torch.relu(self.up(x)))
        return self.head(self.left("last", torch.relu(self.last(x)).mean((2, 3, 4))))


NETWORKS: dict[str, Callable[[], WithoutUnits]] = {
    "generator": Generator,
    "hourglass": Hourglass,
    "decoder": Decoder,
    "waves": Waves,
    "volumes": Volumes,
}


def network(kind: str) -> WithoutUnits:
    """In evaluation mode, with random statistics of its norms."""
    torch.manual_seed(0)
    made = NETWORKS[kind]().eval()
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    return made
