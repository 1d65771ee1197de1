"""Networks whose channel dimension is not the second one."""

from __future__ import annotations

import pytest
import torch
from pruning_networks import CLASSES, example
from torch import Tensor, nn
from torch.nn import functional

from benchsuite.pruning.surgery import check_surgery, remove_units
from benchsuite.pruning.tracing.layouts import Viewed, viewed
from benchsuite.pruning.tracing.proof import randomise
from benchsuite.pruning.tracing.trace import trace


class Windows(nn.Module):
    """Channels come last; maps are padded, rolled, cut into windows, and neighbours are merged."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 6, 2, 2)
        self.inner = nn.Linear(6, 9)
        self.outer = nn.Linear(9, 6)
        self.norm = nn.LayerNorm(24)
        self.merge = nn.Linear(24, 10, bias=False)
        self.head = nn.Linear(10, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).permute(0, 2, 3, 1)
        padded = functional.pad(x, (0, 0, 0, 2, 0, 2)).roll((1, 1), (1, 2))
        batch, height, width, channels = padded.shape
        windows = padded.view(batch, height // 3, 3, width // 3, 3, channels).permute(0, 1, 3, 2, 4, 5)
        windows = self.outer(torch.relu(self.inner(windows.reshape(-1, 9, channels))))
        windows = windows.view(batch, height // 3, width // 3, 3, 3, -1).permute(0, 1, 3, 2, 4, 5)
        x = x + windows.reshape(padded.shape)[:, :4, :4]
        return self.head(self.merge(self.norm(self.merged(x))).mean((1, 2)))

    def merged(self, x: Tensor) -> Tensor:
        batch, height, width, channels = x.shape
        fours = x.reshape(batch, height // 2, 2, width // 2, 2, channels).permute(0, 1, 3, 4, 2, 5)
        return fours.flatten(3)


class Strided(Windows):
    """Neighbours are merged by slices."""

    def merged(self, x: Tensor) -> Tensor:
        return torch.cat((x[:, ::2, ::2], x[:, 1::2, ::2], x[:, ::2, 1::2], x[:, 1::2, 1::2]), -1)


class Tokens(nn.Module):
    """Tokens become a map for a depthwise convolution and tokens again; positions are learned as a map."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 6, 2, 2)
        self.position = nn.Parameter(torch.ones(1, 6, 4, 4))
        self.inner = nn.Linear(6, 8)
        self.depthwise = nn.Conv2d(8, 8, 3, 1, 1, groups=8)
        self.outer = nn.Linear(8, 6)
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = (self.stem(x) + self.position).flatten(2).transpose(1, 2)
        inner = self.inner(x)
        batch, tokens, channels = inner.shape
        maps = self.depthwise(inner.transpose(1, 2).view(batch, channels, 4, tokens // 4))
        return self.head((x + self.outer(maps.flatten(2).transpose(1, 2))).mean(1))


GROUPS = {
    Windows: {"stem": {"stem", "outer"}, "inner": {"inner"}, "merge": {"merge"}},
    Strided: {"stem": {"stem", "outer"}, "inner": {"inner"}, "merge": {"merge"}},
    Tokens: {"stem": {"stem", "outer"}, "inner": {"inner", "depthwise"}},
}


@pytest.mark.parametrize("network", GROUPS)
def test_channels_are_followed_wherever_they_lie(network: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model = network().eval()
    randomise(model)
    graph = trace(model, example())
    assert {group.name: {member.layer for member in group.members} for group in graph.groups} == GROUPS[
        network
    ]
    assert {pin.layer for pin in graph.pinned} == {"head"}
    removed = {group.name: (0, group.size - 2) for group in graph.groups}
    pruned = remove_units(model, graph, removed)
    assert check_surgery(model, pruned, graph, removed, example()).relative_difference < 1e-9


@pytest.mark.parametrize(
    ("whole", "made", "dim", "expected"),
    [
        ((2, 6, 4, 4), (2, 6, 16), 1, Viewed(1)),
        ((2, 6, 16), (2, 6, 4, 4), 1, Viewed(1)),
        ((2, 16, 6), (32, 6), 2, Viewed(1)),
        ((1, 8, 8, 6), (1, 2, 4, 2, 4, 6), 3, Viewed(5)),
        ((2, 6, 4, 4), (2, 96), 1, Viewed(1, after=16)),
        ((2, 4, 4, 2, 2, 6), (2, 4, 4, 24), 5, Viewed(3, before=4)),
        ((2, 16, 6), (2, 16, 3, 2), 2, None),
        ((2, 6, 4, 4), (2, 2, 3, 4, 4), 1, None),
        ((2, 3, 6, 4), (2, 72), 2, None),
    ],
)
def test_views(whole: tuple[int, ...], made: tuple[int, ...], dim: int, expected: Viewed | None) -> None:
    assert viewed(whole, made, dim) == expected
