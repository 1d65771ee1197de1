"""For plugin authors: small contexts to try a scorer on, and the conformance checks every scorer passes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchsuite.layers import Layer
from benchsuite.scoring.context import ScoringContext

if TYPE_CHECKING:
    from collections.abc import Sequence

_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def simple_layers(model: nn.Module, *, classifier: bool = False) -> list[Layer]:
    """Return the convolution and linear layers of a network in the order of definition.

    A batch normalisation defined right after a layer, of its width, counts as following it. This suits
    small networks written in the order in which they run; the suite itself traces networks.

    Args:
        model: the network.
        classifier: include the last layer, whose units are the classes.
    """
    modules = [(name, module) for name, module in model.named_modules() if not list(module.children())]
    layers = []
    for position, (name, module) in enumerate(modules):
        if not isinstance(module, _LAYERS):
            continue
        norm_name, norm = modules[position + 1] if position + 1 < len(modules) else ("", None)
        if not isinstance(norm, _NORMS) or norm.num_features != module.weight.shape[0]:
            norm_name, norm = "", None
        kind: Literal["conv", "linear"] = "linear" if isinstance(module, nn.Linear) else "conv"
        layers.append(Layer(name, kind, module, norm, norm_name or None))
    return layers if classifier else layers[:-1]


def context_for(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    layers: Sequence[Layer] | None = None,
    **settings: Any,
) -> ScoringContext:
    """Return a scoring context for a small network.

    Args:
        model: the network.
        inputs: what it takes, samples first.
        labels: class numbers.
        layers: the layers to score; by default `simple_layers`, with the classifier where weights are pruned.
        **settings: any other argument of `ScoringContext`.
    """
    if layers is None:
        layers = simple_layers(model, classifier=settings.get("granularity") == "weight")
    return ScoringContext(model, layers, inputs, labels, **settings)


def tiny_convnet(seed: int = 0) -> nn.Sequential:
    """Return two convolutions (the first normalised, the second without bias) and two linear layers.

    It takes inputs of shape (2, 8, 8) and tells 3 classes apart.
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
    """Written with functions: a residual sum in place and its activation, and a layer without one.

    It takes inputs of shape (2, 8, 8) and tells 3 classes apart.
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
