"""Small networks that each have one kind of coupling."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from benchsuite.metrics.cost import measure_cost
from benchsuite.pruning.surgery import check_surgery, remove_units

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from benchsuite.pruning.graph import PruningGraph

CLASSES = 5
WIDTH, HEADS = 12, 3
"""Of the networks with an attention."""


class Residual(nn.Module):
    def __init__(self, inputs: int, units: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, units, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(units)
        self.conv2 = nn.Conv2d(units, units, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(units)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, units, 1, stride, bias=False), nn.BatchNorm2d(units)
            )

    def forward(self, x: Tensor) -> Tensor:
        inner = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        return functional.relu(inner + self.shortcut(x))


class ResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.stage1 = Residual(8, 8)
        self.stage2 = Residual(8, 12, 2)
        self.fc = nn.Linear(12, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage2(self.stage1(functional.relu(self.bn1(self.conv1(x)))))
        return self.fc(x.mean((2, 3)))


class OptionA(nn.Module):
    """A residual block whose shortcut is subsampled and padded with zero channels."""

    def __init__(self, inputs: int, units: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, units, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(units)
        self.conv2 = nn.Conv2d(units, units, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(units)
        self.pad = (units - inputs) // 2

    def forward(self, x: Tensor) -> Tensor:
        inner = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        shortcut = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.pad, self.pad))
        return functional.relu(inner + shortcut)


class OptionAResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.stage1 = Residual(8, 8)
        self.stage2 = OptionA(8, 16)
        self.stage3 = OptionA(16, 32)
        self.fc = nn.Linear(32, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage1(functional.relu(self.bn1(self.conv1(x))))
        return self.fc(self.stage3(self.stage2(x)).mean((2, 3)))


class SqueezeExcite(nn.Module):
    def __init__(self, units: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(units, 4, 1)
        self.fc2 = nn.Conv2d(4, units, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.fc2(functional.relu(self.fc1(x.mean((2, 3), keepdim=True))))
        return x * torch.sigmoid(gate)


class MobileNet(nn.Module):
    """Inverted residuals with depthwise convolutions and squeeze-and-excitation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.Hardswish())
        self.expand = nn.Sequential(nn.Conv2d(8, 16, 1), nn.BatchNorm2d(16), nn.Hardswish())
        self.depthwise = nn.Sequential(
            nn.Conv2d(16, 16, 3, 1, 1, groups=16), nn.BatchNorm2d(16), nn.Hardswish()
        )
        self.excite = SqueezeExcite(16)
        self.project = nn.Sequential(nn.Conv2d(16, 8, 1), nn.BatchNorm2d(8))
        self.classifier = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.project(self.excite(self.depthwise(self.expand(x))))
        return self.classifier(x.mean((2, 3)))


class DenseNet(nn.Module):
    """Concatenated features read by several later layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 6, 3, 1, 1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(6 + 4 * i) for i in range(3))
        self.convs = nn.ModuleList(nn.Conv2d(6 + 4 * i, 4, 3, 1, 1) for i in range(3))
        self.last = nn.BatchNorm2d(18)
        self.classifier = nn.Linear(18, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        features = [self.stem(x)]
        for norm, conv in zip(self.norms, self.convs, strict=True):
            features.append(conv(functional.relu(norm(torch.cat(features, 1)))))
        x = functional.relu(self.last(torch.cat(features, 1)))
        return self.classifier(functional.adaptive_avg_pool2d(x, 1).flatten(1))


class ResNeXt(nn.Module):
    """A convolution with groups between two others."""

    def __init__(self) -> None:
        super().__init__()
        self.reduce = nn.Sequential(nn.Conv2d(1, 12, 3, 1, 1), nn.BatchNorm2d(12), nn.ReLU())
        self.grouped = nn.Sequential(nn.Conv2d(12, 24, 3, 2, 1, groups=4), nn.BatchNorm2d(24), nn.ReLU())
        self.widen = nn.Conv2d(24, 10, 1)
        self.fc = nn.Linear(10, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(functional.relu(self.widen(self.grouped(self.reduce(x)))).mean((2, 3)))


class ConvNeXt(nn.Module):
    """Layer normalisation over channels, layer scale and group normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 4, 4)
        self.depthwise = nn.Conv2d(8, 8, 3, 1, 1, groups=8)
        self.norm = nn.LayerNorm(8)
        self.fc1 = nn.Linear(8, 16)
        self.fc2 = nn.Linear(16, 8)
        self.scale = nn.Parameter(torch.full((8,), 1e-6))
        self.conv = nn.Conv2d(8, 12, 1)
        self.groups = nn.GroupNorm(4, 12)
        self.one = nn.GroupNorm(1, 12)
        self.head = nn.Linear(12, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.scale * self.fc2(functional.gelu(self.fc1(y)))
        x = x + y.permute(0, 3, 1, 2)
        x = self.one(functional.relu(self.groups(self.conv(x))))
        return self.head(x.mean((2, 3)))


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.num_heads, self.head_dim, self.attn_dim = heads, width // heads, width
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, _ = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        x = functional.scaled_dot_product_attention(q, k, v)
        return self.proj(x.transpose(1, 2).reshape(batch, tokens, self.attn_dim))


class AttentionOfThree(nn.Module):
    """Queries, keys and values have a layer each; the size of a head is what is left of their width."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, width) for _ in range(3))
        self.to_out = nn.Sequential(nn.Linear(width, width), nn.Dropout(0.1))

    def forward(self, x: Tensor) -> Tensor:
        made = (layer(x) for layer in (self.to_q, self.to_k, self.to_v))
        q, k, v = (each.unflatten(2, (self.heads, -1)).transpose(1, 2) for each in made)
        weights = (q @ k.transpose(2, 3) * q.shape[-1] ** -0.5).softmax(3)
        found: Tensor = self.to_out((weights @ v).transpose(1, 2).flatten(2))
        return found


class PackedAttention(nn.Module):
    """Torch's own attention, whose queries, keys and values have one packed weight."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.inside = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.inside(x, x, x, need_weights=False)[0]
        return found


class Around(nn.Module):
    """Patches as tokens, a block with a skip connection around it, and the mean over the tokens."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, WIDTH, 4, 4), nn.LayerNorm(WIDTH)
        self.attention, self.head = block, nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).flatten(2).transpose(1, 2)
        return self.head((x + self.attention(self.norm(x))).mean(1))


def around(block: nn.Module) -> Around:
    torch.manual_seed(0)
    return Around(block).eval()


class Mixing(nn.Module):
    """Mixes tokens, for each channel alike."""

    def __init__(self, tokens: int, inner: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(tokens, inner), nn.Linear(inner, tokens)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.fc2(functional.gelu(self.fc1(x.transpose(1, 2))))
        return found.transpose(1, 2)


class Divider(nn.Module):
    """Divides channels by numbers that it keeps."""

    def __init__(self, *sizes: int) -> None:
        super().__init__()
        self.sizes = sizes

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return x.split(self.sizes, 1)


class VisionTransformer(nn.Module):
    def __init__(self, width: int = 12, heads: int = 3) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, 4, 4)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(torch.randn(1, 5, width) * 0.02)
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 20)
        self.fc2 = nn.Linear(20, width)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.token.expand(x.shape[0], -1, -1), x), 1) + self.position
        x = x + self.attention(self.norm1(x))
        x = x + self.fc2(functional.gelu(self.fc1(self.norm2(x))))
        return self.head(self.norm(x)[:, 0])


def vgg() -> nn.Module:
    """Convolutions, flattened into linear layers."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, 1, 1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3, 1, 1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * 2 * 2, 10),
        nn.ReLU(),
        nn.Linear(10, CLASSES),
    )


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 20), nn.Sigmoid(), nn.Linear(20, 10), nn.Sigmoid(), nn.Linear(10, CLASSES)
    )


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "mlp": mlp,
    "vgg": vgg,
    "resnet": ResNet,
    "option-a": OptionAResNet,
    "mobilenet": MobileNet,
    "densenet": DenseNet,
    "resnext": ResNeXt,
    "convnext": ConvNeXt,
    "vit": VisionTransformer,
}


def build(name: str, seed: int = 0) -> nn.Module:
    """A network with weights and statistics such that no path is near zero."""
    torch.manual_seed(seed)
    model = NETWORKS[name]()
    model.train()
    with torch.no_grad():
        for _ in range(3):
            model(example(16))
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model.eval()


def example(samples: int = 2, seed: int = 1) -> Tensor:
    """Inputs for every network here: 8 x 8 images of one channel."""
    return torch.randn(samples, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def unit_scores(graph: Any, seed: int = 0) -> dict[str, Tensor]:
    """A random positive score for every unit."""
    generator = torch.Generator().manual_seed(seed)
    return {layer.name: torch.rand(layer.units, generator=generator) for layer in graph.layers}


def drawn_cut(data: st.DataObject, graph: PruningGraph) -> dict[str, tuple[int, ...]]:
    """Any positions of each group but the last one that is left."""
    return {
        group.name: tuple(sorted(data.draw(st.sets(st.integers(0, group.size - 1), max_size=group.size - 1))))
        for group in graph.groups
    }


def check_every_unit(graph: PruningGraph) -> None:
    """Each unit of a layer that is used can go, or it is said why it cannot."""
    told: Counter[str] = Counter()
    for group in graph.groups:
        for member in group.members:
            told[member.layer] += sum(map(len, member.units))
    for pin in graph.pinned:
        told[pin.layer] += pin.units
    units = {layer.name: layer.units for layer in graph.weight_layers if layer.name not in graph.unsampled}
    assert {name: told[name] for name in units} == units


def check_cut(model: nn.Module, graph: PruningGraph, removed: Mapping[str, Sequence[int]]) -> nn.Module:
    """The smaller network, after a check that it computes what the masked one does and costs what is said."""
    smaller = remove_units(model, graph, removed)
    assert check_surgery(model, smaller, graph, removed, example()).relative_difference < 1e-9
    counts = graph.cost_model.counts({name: len(gone) for name, gone in removed.items()})
    cost = measure_cost(smaller, example()[:1])
    assert graph.cost_model.cost(counts) == (cost.params, cost.macs)
    assert cost.params == sum(parameter.numel() for parameter in smaller.parameters())
    return smaller


def gone_units(graph: PruningGraph, removed: Mapping[str, tuple[int, ...]]) -> dict[str, set[int]]:
    """By layer, the units that go."""
    gone: dict[str, set[int]] = {}
    for group in graph.groups:
        for member in group.members:
            for position in removed.get(group.name, ()):
                gone.setdefault(member.layer, set()).update(member.units[position])
    return gone
