"""Networks small enough to check a scorer's numbers by hand."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def tiny_convnet(seed: int = 0) -> nn.Sequential:
    """Return two convolutions (the first normalised, the second without bias) and two linear layers.

    It takes inputs of shape (2, 8, 8) and has 3 classes.
    """
    torch.manual_seed(seed)
    norm = nn.BatchNorm2d(6)
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    nn.init.normal_(norm.bias, std=0.2)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    nn.init.normal_(norm.running_mean, std=0.2)
    nn.init.uniform_(norm.running_var, 0.5, 1.5)
    return nn.Sequential(
        *(nn.Conv2d(2, 6, 3, padding=1), norm, nn.ReLU(inplace=True), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 5, 3, bias=False), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(20, 7), nn.ReLU(), nn.Linear(7, 3)),
    ).eval()


class TinyResidual(nn.Module):
    """Written with functions: an in-place residual sum with an activation, and a layer without one.

    It takes inputs of shape (2, 8, 8) and has 3 classes.
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.stem = nn.Conv2d(2, 4, 3, padding=1)
        self.branch = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.shortcut = nn.Conv2d(4, 4, 1)
        self.depthwise = nn.Conv2d(4, 4, 3, groups=4)
        self.bare = nn.Conv2d(4, 6, 1, groups=2)
        self.last = nn.Linear(6, 3)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Return the classes' scores."""
        x = functional.relu(self.stem(x), inplace=True)
        y: Tensor = self.norm(self.branch(x))
        y += self.shortcut(x)
        y = self.bare(functional.relu6(self.depthwise(torch.relu_(y))))
        outputs: Tensor = self.last(torch.cat([y], 1).mean((2, 3)))
        return outputs


def tiny_mlp(seed: int = 0) -> nn.Sequential:
    """Return a sigmoid and a tanh layer, without biases, and a classifier: (4,) to 3 classes."""
    torch.manual_seed(seed)
    return nn.Sequential(
        *(nn.Linear(4, 6, bias=False), nn.Sigmoid(), nn.Linear(6, 5, bias=False), nn.Tanh()),
        nn.Linear(5, 3),
    ).eval()


def tiny_samples(
    count: int = 20, shape: tuple[int, ...] = (2, 8, 8), classes: int = 3, seed: int = 1
) -> tuple[Tensor, Tensor]:
    """Return normally distributed inputs and uniform labels, the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, *shape, generator=generator)
    return inputs, torch.randint(classes, (count,), generator=generator)


def tiny_narrow(seed: int = 0) -> nn.Sequential:
    """Return layers of one unit each, and a classifier: (2, 8, 8) to 3 classes."""
    torch.manual_seed(seed)
    conv, linear = nn.Conv2d(2, 1, 3), nn.Linear(36, 1)
    for layer in (conv, linear):
        assert layer.bias is not None
        nn.init.ones_(layer.bias)  # the units are active for most inputs
    model = nn.Sequential(conv, nn.ReLU(), nn.Flatten(), linear, nn.ReLU(), nn.Linear(1, 3))
    return model.eval()
