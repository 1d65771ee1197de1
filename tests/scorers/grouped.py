"""Contexts with coupled groups, and networks whose units are really zeroed."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from benchsuite import CoupledGroup, ScoringContext
from benchsuite.pruning.tracing.trace import trace
from benchsuite.testing import tiny_samples

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchsuite.pruning.graph import PruningGraph


class Coupled(nn.Module):
    """A residual sum and a depthwise layer in one group of four units, read by three layers.

    The last of them reads the units flattened, behind those of `side`, with which they are concatenated.
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.stem, self.stem_norm = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.inner = nn.Conv2d(4, 3, 3, padding=1)
        self.branch, self.branch_norm = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.depthwise, self.depthwise_norm = nn.Conv2d(4, 4, 3, groups=4), nn.BatchNorm2d(4)
        self.side = nn.Conv2d(4, 3, 1)
        self.last = nn.Linear(28, 3)
        for norm in (self.stem_norm, self.branch_norm, self.depthwise_norm):
            shake(norm)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Return the classes' scores."""
        x = torch.relu(self.stem_norm(self.stem(x)))
        y = self.branch_norm(self.branch(torch.relu(self.inner(x))))
        y += x
        y = torch.tanh(self.depthwise_norm(self.depthwise(torch.relu_(y))))
        y = torch.cat([torch.relu(self.side(y)), y], 1)
        outputs: Tensor = self.last(nn.functional.adaptive_avg_pool2d(y, 2).flatten(1))
        return outputs


def shake(norm: nn.BatchNorm2d) -> None:
    """Give a normalisation statistics, scale and shift of their own."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    nn.init.normal_(norm.bias, std=0.5)
    nn.init.normal_(norm.running_mean, std=0.2)
    nn.init.uniform_(norm.running_var, 0.5, 1.5)


def grouped(
    model: nn.Module, inputs: Tensor, labels: Tensor, **settings: object
) -> tuple[ScoringContext, PruningGraph]:
    """Return a context with the network's coupled groups, and its graph."""
    graph = trace(model, inputs[:1])
    context = ScoringContext(model, graph.layers, inputs, labels, groups=graph.groups, **settings)
    return context, graph


def learnable(model: nn.Module, count: int = 60) -> tuple[Tensor, Tensor]:
    """Return inputs, and labels most of which the network predicts, so that accuracies differ."""
    inputs, noise = tiny_samples(count)
    with torch.no_grad():
        outputs = model(inputs)
        labels = (outputs - outputs.mean(0)).argmax(1)
    labels[::7] = noise[::7]
    return inputs, labels


def balanced(model: nn.Module, last: nn.Linear) -> nn.Module:
    """Let a network prefer no class."""
    with torch.no_grad():
        last.bias.sub_(model(tiny_samples(60)[0]).mean(0))
    return model


def zeroed(context: ScoringContext, group: CoupledGroup, off: Iterable[int]) -> nn.Module:
    """Return a copy in which the weights, biases and normalisations of some positions are zero."""
    model = copy.deepcopy(context.model)
    with torch.no_grad():
        for member in group.members:
            units = [unit for position in off for unit in member.units[position]]
            for name in context.own_parameters(context.layer(member.layer)):
                model.get_parameter(name)[units] = 0
    return model


def accuracy(model: nn.Module, context: ScoringContext) -> float:
    """The share of right answers on the context's samples."""
    with torch.no_grad():
        right = [(model(inputs).argmax(1) == labels).sum() for inputs, labels in context.batches()]
    return float(sum(right)) / context.samples
