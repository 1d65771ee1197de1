"""Networks whose forward pass is also written with gates, as explicit factors, to compare criteria with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchsuite.testing import tiny_convnet, tiny_samples

if TYPE_CHECKING:
    from collections.abc import Callable

    Gates = dict[str, Tensor]
    Forward = Callable[[Tensor, Gates], Tensor]


class Chain(nn.Module):
    """`tiny_convnet`: a normalised convolution, one without bias and two linear layers."""

    GROUPS: dict[str, int] = {"body.0": 6, "body.4": 5, "body.7": 7}  # noqa: RUF012 - a constant of a test

    def __init__(self) -> None:
        super().__init__()
        self.body = tiny_convnet()

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)

    def at_readers(self, x: Tensor, z: Gates) -> Tensor:
        """The forward pass with a factor on everything that reads a unit."""
        b = self.body
        x = functional.max_pool2d(torch.relu(b[1](b[0](x))), 2) * z["body.0"][:, None, None]
        x = (torch.relu(b[4](x)) * z["body.4"][:, None, None]).flatten(1)
        return b[9](torch.relu(b[7](x)) * z["body.7"])

    def at_members(self, x: Tensor, z: Gates) -> Tensor:
        """The forward pass with a factor on every unit: on its norm's output, or on its own."""
        b = self.body
        x = functional.max_pool2d(torch.relu(b[1](b[0](x)) * z["body.0"][:, None, None]), 2)
        x = torch.relu(b[4](x) * z["body.4"][:, None, None]).flatten(1)
        return b[9](torch.relu(b[7](x) * z["body.7"]))


class Branches(nn.Module):
    """Two residual sums with norms; the first has three readers, one of them behind the skip of another."""

    GROUPS: dict[str, int] = {"conv1": 6, "conv2": 5, "conv4": 4}  # noqa: RUF012 - a constant of a test

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.conv1, self.bn1 = nn.Conv2d(2, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.conv2, self.bn2 = nn.Conv2d(6, 5, 3, padding=1), nn.BatchNorm2d(5)
        self.conv3, self.bn3 = nn.Conv2d(5, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.conv4, self.bn4 = nn.Conv2d(6, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.conv5, self.bn5 = nn.Conv2d(6, 4, 1, bias=False), nn.BatchNorm2d(4)
        self.fc = nn.Linear(4 * 16, 3)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, std=0.3)
                module.running_mean.normal_(std=0.2)
                module.running_var.uniform_(0.5, 1.5)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(functional.relu(self.bn2(self.conv2(x)), inplace=True)))
        y += x
        x = functional.avg_pool2d(functional.relu(y), 2)
        x = functional.relu(self.bn4(self.conv4(x)) + self.bn5(self.conv5(x)))
        return self.fc(x.flatten(1))

    def at_readers(self, x: Tensor, z: Gates) -> Tensor:
        """The forward pass with a factor on everything that reads a unit."""
        trunk, inner, last = (z[name][:, None, None] for name in self.GROUPS)
        x = torch.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(torch.relu(self.bn2(self.conv2(x * trunk))) * inner))
        x = functional.avg_pool2d(torch.relu(y + x), 2)
        x = torch.relu(self.bn4(self.conv4(x * trunk)) + self.bn5(self.conv5(x * trunk)))
        return self.fc((x * last).flatten(1))

    def at_members(self, x: Tensor, z: Gates) -> Tensor:
        """The forward pass with a factor on every unit: on its norm's output."""
        trunk, inner, last = (z[name][:, None, None] for name in self.GROUPS)
        x = torch.relu(trunk * self.bn1(self.conv1(x)))
        y = trunk * self.bn3(self.conv3(torch.relu(inner * self.bn2(self.conv2(x)))))
        x = functional.avg_pool2d(torch.relu(y + x), 2)
        x = torch.relu(last * self.bn4(self.conv4(x)) + last * self.bn5(self.conv5(x)))
        return self.fc(x.flatten(1))


NETWORKS = {"chain": Chain, "branches": Branches}


def samples(count: int = 20) -> tuple[Tensor, Tensor]:
    inputs, labels = tiny_samples(count)
    return inputs.double(), labels


def gate_derivatives(
    forward: Forward, groups: dict[str, int], inputs: Tensor, labels: Tensor
) -> dict[str, Tensor]:
    """The derivative of the mean loss of some samples with respect to each gate, at 1."""
    z = {name: torch.ones(size, dtype=inputs.dtype, requires_grad=True) for name, size in groups.items()}
    loss = functional.cross_entropy(forward(inputs, z), labels)
    return dict(zip(z, torch.autograd.grad(loss, list(z.values())), strict=True))
