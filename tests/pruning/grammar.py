"""Random networks from a grammar, and what they compute when units are masked.

A network is a list of steps. `Grown` runs it as people write it, with torch's layers. `masked` runs the same
list in another way: with every tensor goes a mask of the channels that are still there, and each step says
what becomes of both. It shares no code with the engine and knows nothing of its groups but the units that
each layer loses.
"""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from pruning_networks import Attention, AttentionOfThree, Divider, Mixing, PackedAttention
from torch import Tensor, nn

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Collection, Mapping

CLASSES, SIDE = 4, 8
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
    "leaky": nn.LeakyReLU,
    "sigmoid": nn.Sigmoid,
    "relu in place": partial(nn.ReLU, inplace=True),
    "silu in place": partial(nn.SiLU, inplace=True),
}


@dataclass(frozen=True)
class Step:
    """One operation: what it is, the numbers of the values it reads, its layer and options."""

    kind: str
    reads: tuple[int, ...]
    layer: str = ""
    options: tuple[int, ...] = ()


class Grown(nn.Module):
    """Runs the steps; the last value is the output."""

    def __init__(self, steps: list[Step], layers: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.steps, self.layers = steps, nn.ModuleDict(layers)

    def forward(self, x: Tensor) -> Tensor:
        values = [x]
        for step in self.steps:
            read = [values[number] for number in step.reads]
            values.append(self._value(step, read))
        return values[-1]

    def _value(self, step: Step, read: list[Tensor]) -> Tensor:
        x = read[0]
        match step.kind:
            case "layer":
                return self.layers[step.layer](x)
            case "channels-last norm":
                return self.layers[step.layer](x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            case "add":
                return x + read[1]
            case "multiply":
                return x * read[1]
            case "cat":
                return torch.cat(read, x.ndim - 1 if x.ndim == 3 else 1)
            case "part":
                count, which = step.options
                return x.chunk(count, 1)[which]
            case "stated part":
                return self.layers[step.layer](x)[step.options[0]]
            case "slice":
                middle = x.shape[1] // 2
                return x[:, middle:] if step.options[0] else x[:, :middle]
            case "squeeze":
                return x.mean((2, 3), keepdim=True)
            case "mean":
                return x.mean((2, 3)) if x.ndim == 4 else x.mean(1)
            case "flatten":
                return x.flatten(1)
            case "tokens":
                return x.flatten(2).transpose(1, 2)
            case "maps":
                return x.view(x.shape[0], -1, *step.options)
            case "places":
                return x + self.layers[step.layer](torch.arange(x.shape[1]))
            case "recurrent":
                return self._recurrent(x, self.layers[step.layer], step.options)
        raise AssertionError(step.kind)

    def _recurrent(self, x: Tensor, layer: nn.Module, options: tuple[int, ...]) -> Tensor:
        """All steps, or the last states of the last layer."""
        out, state = layer(x)
        if not options[0]:
            return out  # type: ignore[no-any-return]
        state = state[0] if isinstance(state, tuple) else state
        return torch.cat((state[-2], state[-1]), 1) if options[1] else state[-1]  # type: ignore[no-any-return]


def masked(network: Grown, x: Tensor, gone: Mapping[str, Collection[int]]) -> Tensor:
    """The output of the network if the units `gone[layer]` of each layer were not there."""
    values = [(x, torch.ones(x.shape[1], dtype=torch.bool))]
    for step in network.steps:
        values.append(_masked_value(network, step, [values[number] for number in step.reads], gone))
    output, there = values[-1]
    assert there.all(), "the output has lost something"
    return output


Value = tuple[Tensor, Tensor]


def _masked_value(
    network: Grown, step: Step, read: list[Value], gone: Mapping[str, Collection[int]]
) -> Value:
    x, there = read[0]
    match step.kind:
        case "layer":
            return _masked_layer(network.layers[step.layer], f"layers.{step.layer}", x, there, gone)
        case "channels-last norm":
            norm = network.layers[step.layer]
            assert isinstance(norm, nn.LayerNorm)
            return _standardised(x, there, [(range(x.shape[1]), (1,))], norm, 1), there
        case "add" | "multiply":
            y, other = read[1]
            if len(other) > 1 or len(there) == 1:
                assert torch.equal(there, other), "two tensors that meet have lost different channels"
            return (x + y if step.kind == "add" else x * y), there
        case "cat":
            dim = x.ndim - 1 if x.ndim == 3 else 1
            return torch.cat([value for value, _ in read], dim), torch.cat([mask for _, mask in read])
        case "part":
            count, which = step.options
            return x.chunk(count, 1)[which], there.chunk(count)[which]
        case "stated part":
            divider, (which,) = network.layers[step.layer], step.options
            assert isinstance(divider, Divider)
            return x.split(divider.sizes, 1)[which], there.split(divider.sizes)[which]
        case "slice":
            middle = len(there) // 2
            some = slice(middle, None) if step.options[0] else slice(middle)
            return x[:, some], there[some]
        case "squeeze":
            return x.mean((2, 3), keepdim=True), there
        case "mean":
            return (x.mean((2, 3)) if x.ndim == 4 else x.mean(1)), there
        case "flatten":
            return x.flatten(1), there.repeat_interleave(x.shape[2] * x.shape[3])
        case "tokens":
            return x.flatten(2).transpose(1, 2), there
        case "maps":
            of_maps = there.view(-1, step.options[0] * step.options[1])
            assert (of_maps.all(1) == of_maps.any(1)).all(), "a part of a map is gone"
            return x.view(len(x), -1, *step.options), of_maps[:, 0]
        case "places":
            return x + network.layers[step.layer].get_parameter("weight"), there
        case "recurrent":
            layer = network.layers[step.layer]
            return _masked_recurrent(network, layer, f"layers.{step.layer}", (x, there), step.options, gone)
    raise AssertionError(step.kind)


def _masked_recurrent(
    network: Grown,
    layer: Any,
    name: str,
    given: Value,
    options: tuple[int, ...],
    gone: Mapping[str, Collection[int]],
) -> Value:
    """Units whose weights and biases are zero are zero at every step."""
    layer, left = copy.deepcopy(layer), {}
    for key, parameter in layer.named_parameters():
        suffix = key.split("_", 2)[2]
        left[suffix] = _left(layer.hidden_size, gone.get(f"{name}.{suffix}", ()))
        every = left[suffix].repeat(len(parameter) // layer.hidden_size)
        with torch.no_grad():
            parameter[~every] = 0
    last = [mask for suffix, mask in left.items() if suffix.startswith(f"l{layer.num_layers - 1}")]
    return network._recurrent(_zeroed(*given, 2), layer, options), torch.cat(last)


def _masked_layer(
    layer: nn.Module, name: str, x: Tensor, there: Tensor, gone: Mapping[str, Collection[int]]
) -> Value:
    dim = 2 if x.ndim == 3 else 1
    if isinstance(layer, nn.Conv2d | nn.Linear):
        return layer(_zeroed(x, there, dim)), _left(layer.weight.shape[0], gone.get(name, ()))
    if isinstance(layer, nn.ConvTranspose2d):
        return layer(_zeroed(x, there, dim)), _left(layer.out_channels, gone.get(name, ()))
    if isinstance(layer, nn.GroupNorm):
        blocks = torch.arange(layer.num_channels).chunk(layer.num_groups)
        axes = tuple(range(1, x.ndim))
        return _standardised(x, there, [(block.tolist(), axes) for block in blocks], layer, 1), there
    if isinstance(layer, nn.LayerNorm):
        return _standardised(x, there, [(range(x.shape[dim]), (dim,))], layer, dim), there
    if isinstance(layer, Attention):
        made = layer.qkv(_zeroed(x, there, 2)).unflatten(2, (3, layer.num_heads, layer.head_dim))
        left = _left(3 * made.shape[3] * made.shape[4], gone.get(f"{name}.qkv", ()))
        found, whole = _masked_heads(made, left)
        return layer.proj(found), _left(whole, gone.get(f"{name}.proj", ()))
    if isinstance(layer, AttentionOfThree):
        three = {child: layer.get_submodule(child) for child in ("to_q", "to_k", "to_v")}
        made = torch.stack([maker(_zeroed(x, there, 2)) for maker in three.values()], 2)
        width = made.shape[-1]
        left = torch.cat([_left(width, gone.get(f"{name}.{child}", ())) for child in three])
        found, whole = _masked_heads(made.unflatten(3, (layer.heads, -1)), left)
        return layer.to_out(found), _left(whole, gone.get(f"{name}.to_out.0", ()))
    if isinstance(layer, Mixing):
        assert not gone.get(f"{name}.fc2"), "a token is gone"
        inner = nn.functional.gelu(layer.fc1(x.transpose(1, 2)))
        left = _left(inner.shape[2], gone.get(f"{name}.fc1", ()))
        return layer.fc2(_zeroed(inner, left, 2)).transpose(1, 2), there
    if isinstance(layer, PackedAttention):
        inside, read = layer.inside, _zeroed(x, there, 2)
        made = (read @ inside.in_proj_weight.T + inside.in_proj_bias).unflatten(2, (3, inside.num_heads, -1))
        makers = ("q_proj", "k_proj", "v_proj")
        left = torch.cat([_left(x.shape[2], gone.get(f"{name}.inside.{child}", ())) for child in makers])
        found, whole = _masked_heads(made, left)
        return inside.out_proj(found), _left(whole, gone.get(f"{name}.inside.out_proj", ()))
    return layer(x), there  # what looks at each channel alone


def _masked_heads(made: Tensor, left: Tensor) -> tuple[Tensor, int]:
    """What the heads give, zero for those that are gone, and how wide they are together.

    Args:
        made: queries, keys and values, (samples, tokens, 3, heads, size).
        left: which of them are there, (3 * heads * size,).
    """
    _, _, _, number, size = made.shape
    there = left.view(3, number, size)
    heads = []
    for head in range(number):
        assert there[:, head].all() or not there[:, head].any(), "a part of a head is gone"
        q, k, v = (made[:, :, part, head] for part in range(3))
        weights = (q @ k.transpose(1, 2) / size**0.5).softmax(2)
        heads.append(weights @ v * there[0, head, 0])
    return torch.cat(heads, 2), number * size


def _standardised(
    x: Tensor, there: Tensor, blocks: list[tuple[Any, tuple[int, ...]]], norm: Any, dim: int
) -> Tensor:
    """Each block of channels minus its mean over those that are there, divided by their deviation."""
    result = torch.zeros_like(x)
    for block, axes in blocks:
        used = [channel for channel in block if there[channel]]
        if used:
            some = x.index_select(dim, torch.tensor(used))
            some = (some - some.mean(axes, keepdim=True)) / (
                some.var(axes, correction=0, keepdim=True) + norm.eps
            ).sqrt()
            result = result.index_copy(dim, torch.tensor(used), some)
    if norm.weight is None:
        return result
    shape = [-1 if axis == dim else 1 for axis in range(x.ndim)]
    return result * norm.weight.view(shape) + (0 if norm.bias is None else norm.bias.view(shape))


def _zeroed(x: Tensor, there: Tensor, dim: int) -> Tensor:
    return torch.where(there.view([-1 if axis == dim else 1 for axis in range(x.ndim)]), x, 0)


def _left(units: int, gone: Collection[int]) -> Tensor:
    left = torch.ones(units, dtype=torch.bool)
    left[list(gone)] = False
    return left


class Grower:
    """Derives a network from the grammar, by chance."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.steps: list[Step] = []
        self.layers: dict[str, nn.Module] = {}
        self.used: Counter[str] = Counter()

    def network(self) -> Grown:
        """A network of three to six productions on maps, then a head on features or tokens."""
        x, channels, side = self._conv(0, 3, self._width(), SIDE)
        for _ in range(self.chance.randint(3, 6)):
            production = self.chance.choice(list(_ON_MAPS))
            self.used[production] += 1
            x, channels, side = _ON_MAPS[production](self, x, channels, side)
        end = self.chance.choice(["tokens", "mean", "flatten", "steps"])
        self.used[end] += 1
        if end == "tokens":
            x, channels = self._transformer(x, channels, side * side)
        elif end == "mean":
            x = self._step("mean", x)
        elif end == "steps":
            x, channels = self._recurrent(self._step("tokens", x), channels)
        else:
            x, channels = self._step("flatten", x), channels * side * side
        for _ in range(self.chance.randint(0, 2)):
            production = self.chance.choice(list(_ON_FEATURES))
            self.used[production] += 1
            x, channels = _ON_FEATURES[production](self, x, channels)
        self._layer(x, nn.Linear(channels, CLASSES))
        return _randomised(Grown(self.steps, self.layers), self.chance)

    def _width(self, multiple: int = 1) -> int:
        return multiple * self.chance.randint(max(1, 4 // multiple), 12 // multiple)

    def _step(self, kind: str, *reads: int, layer: str = "", options: tuple[int, ...] = ()) -> int:
        self.steps.append(Step(kind, reads, layer, options))
        return len(self.steps)

    def _layer(self, x: int, layer: nn.Module, kind: str = "layer") -> int:
        name = f"{type(layer).__name__.lower()}{len(self.layers)}"
        self.layers[name] = layer
        return self._step(kind, x, layer=name)

    def _act(self, x: int) -> int:
        return self._layer(x, ACTIVATIONS[self.chance.choice(list(ACTIVATIONS))]())

    def _conv(self, x: int, channels: int, width: int, side: int) -> tuple[int, int, int]:
        size = self.chance.choice([1, 3])
        return self._layer(x, nn.Conv2d(channels, width, size, padding=size // 2)), width, side

    def conv(self, x: int, channels: int, side: int) -> tuple[int, int, int]:
        x, channels, side = self._conv(x, channels, self._width(), side)
        return self._act(x), channels, side

    def strided_conv(self, x: int, channels: int, side: int) -> tuple[int, int, int]:
        width = self._width()
        x = self._layer(x, nn.Conv2d(channels, width, 3, stride=2, padding=1))
        return self._act(x), width, (side + 1) // 2

    def grouped_conv(self, x: int, channels: int, side: int) -> tuple[int, int, int]:
        x, channels, side = self._conv(x, channels, self._width(2), side)
        width = 2 * self.chance.randint(1, 5)
        return self._act(self._layer(x, nn.Conv2d(channels, width, 1, groups=2))), width, side

    def depthwise_conv(self, x: int, channels: int, side: int) -> tuple[int, int, int]:
        return self._layer(x, nn.Conv2d(channels, channels, 3, padding=1, groups=channels)), channels, side

    def _transposed(
        self, x: int, channels: int, width: int, side: int, groups: int = 1
    ) -> tuple[int, int, int]:
        """One that keeps the size of the map, or doubles that of a small one."""
        same = [(1, 1, 0, 0, 1), (3, 1, 1, 0, 1), (3, 1, 2, 0, 2)]
        double = [(2, 2, 0, 0, 1), (4, 2, 1, 0, 1), (3, 2, 1, 1, 1)]
        grows = side < SIDE
        size, stride, padding, more, dilation = self.chance.choice(double if grows else same)
        options: dict[str, Any] = {"groups": groups, "bias": self._coin(), "dilation": dilation}
        layer = nn.ConvTranspose2d(channels, width, size, stride, padding, more, **options)
        return self._layer(x, layer), width, 2 * side if grows else side

    def transposed_conv(self, x: int, channels: int, side: int) -> tuple[int, int, int]:
        x, channels, side = self._transposed(x, channels, self._width(), side)
        if self._coin():
            x = self._layer(x, nn.BatchNorm2d(channels))
        return self._act(x), channels, side

    def grouped_transposed_conv(self, x: int, channels: int, side: int) -> tuple[int, int, int]:
        groups = self.chance.choice([2, 3])
        x, channels, side = self._conv(x, channels, self._width(groups), side)
        x, channels, side = self._transposed(x, channels, self._width(groups), side, groups)
        return self._act(x), channels, side

    def depthwise_transposed_conv(self, x: int, channels: int, side: int) -> tuple[int, int, int]:
        width = channels * self.chance.choice([1, 1, 2])
        return self._transposed(x, channels, width, side, channels)

    def hourglass(self, x: int, channels: int, side: int) -> tuple[int, int, int]:
        """As in a U-Net: a map that was made smaller and larger again meets what it was made of."""
        if side % 2:
            return x, channels, side
        small = self._width()
        inner = self._act(self._layer(x, nn.Conv2d(channels, small, 3, stride=2, padding=1)))
        inner, width, _ = self._transposed(inner, small, self._width(), side // 2)
        return self._step("cat", x, self._act(inner)), channels + width, side

    def generator(self, x: int, channels: int, side: int) -> tuple[int, int, int]:
        """As in DCGAN: features become maps, which grow."""
        width, size = self._width(), self.chance.choice([1, 2])
        x = self._layer(self._step("mean", x), nn.Linear(channels, width * size * size))
        x = self._step("maps", self._act(x) if self._coin() else x, options=(size, size))
        return self.transposed_conv(x, width, size)

    def batch_norm(self, x: int, channels: int, side: int) -> tuple[int, int, int]:
        return self._act(self._layer(x, nn.BatchNorm2d(channels, affine=self._coin()))), channels, side

    def instance_norm(self, x: int, channels: int, side: int) -> tuple[int, int, int]:
        if side < 2:
            return x, channels, side
        return self._layer(x, nn.InstanceNorm2d(channels, affine=self._coin())), channels, side

    def group_norm(self, x: int, channels: int, side: int) -> tuple[int, int, int]:
        groups = self.chance.choice([n for n in range(1, channels + 1) if channels % n == 0 and n < channels])
        return self._act(self._layer(x, nn.GroupNorm(groups, channels, affine=self._coin()))), channels, side

    def layer_norm(self, x: int, channels: int, side: int) -> tuple[int, int, int]:
        norm = nn.LayerNorm(channels, elementwise_affine=self._coin())
        return self._layer(x, norm, "channels-last norm"), channels, side

    def prelu(self, x: int, channels: int, side: int) -> tuple[int, int, int]:
        return self._layer(x, nn.PReLU(self.chance.choice([1, channels]))), channels, side

    def residual(self, x: int, channels: int, side: int) -> tuple[int, int, int]:
        y, width, _ = self.conv(x, channels, side)
        y, _, _ = self._conv(y, width, channels, side)
        return self._act(self._step("add", x, y)), channels, side

    def two_paths(self, x: int, channels: int, side: int) -> tuple[int, int, int]:
        one, width, _ = self.conv(x, channels, side)
        other, _, _ = self._conv(x, channels, width, side)
        return self._step("add", one, other), width, side

    def concatenation(self, x: int, channels: int, side: int) -> tuple[int, int, int]:
        one, width, _ = self.conv(x, channels, side)
        both = (x, one) if self._coin() else (one, x)
        return self._step("cat", *both), channels + width, side

    def chunk(self, x: int, channels: int, side: int) -> tuple[int, int, int]:
        """As in a C2f block: one part goes through a convolution, and all meet again."""
        count = self.chance.choice([2, 3])
        x, channels, side = self._conv(x, channels, self._width(count), side)
        parts = [self._step("part", x, options=(count, which)) for which in range(count)]
        more, width, _ = self.conv(parts[-1], channels // count, side)
        self.chance.shuffle(parts)
        return self._step("cat", *parts, more), channels + width, side

    def stated_parts(self, x: int, channels: int, side: int) -> tuple[int, int, int]:
        """Parts of any sizes, which stand in an attribute; one goes through a convolution."""
        sizes = [self.chance.randint(2, 6) for _ in range(self.chance.choice([2, 3]))]
        x, _, side = self._conv(x, channels, sum(sizes), side)
        name = f"divider{len(self.layers)}"
        self.layers[name] = Divider(*sizes)
        parts = [self._step("stated part", x, layer=name, options=(which,)) for which in range(len(sizes))]
        read, width, _ = self.conv(parts[-1], sizes[-1], side)
        return self._step("cat", *parts[:-1], read), sum(sizes[:-1]) + width, side

    def halves(self, x: int, channels: int, side: int) -> tuple[int, int, int]:
        x, channels, side = self._conv(x, channels, self._width(2), side)
        one, other = (self._step("slice", x, options=(which,)) for which in (0, 1))
        read, width, _ = self.conv(one, channels // 2, side)
        return self._step("cat", read, other), channels // 2 + width, side

    def gated_unit(self, x: int, channels: int, side: int) -> tuple[int, int, int]:
        x, channels, side = self._conv(x, channels, self._width(2), side)
        one, other = (self._step("part", x, options=(2, which)) for which in (0, 1))
        return self._step("multiply", one, self._layer(other, nn.Sigmoid())), channels // 2, side

    def squeeze_excite(self, x: int, channels: int, side: int) -> tuple[int, int, int]:
        inner = self.chance.randint(2, 5)
        gate = self._act(self._layer(self._step("squeeze", x), nn.Conv2d(channels, inner, 1)))
        gate = self._layer(self._layer(gate, nn.Conv2d(inner, channels, 1)), nn.Sigmoid())
        return self._step("multiply", x, gate), channels, side

    def pooling(self, x: int, channels: int, side: int) -> tuple[int, int, int]:
        if side < 4:
            return x, channels, side
        pool = self.chance.choice([nn.MaxPool2d, nn.AvgPool2d])
        return self._layer(x, pool(2)), channels, side // 2

    def linear(self, x: int, channels: int) -> tuple[int, int]:
        width = self._width()
        return self._act(self._layer(x, nn.Linear(channels, width))), width

    def normed_linear(self, x: int, channels: int) -> tuple[int, int]:
        width = self._width()
        x = self._layer(x, nn.Linear(channels, width))
        norm = nn.LayerNorm(width, elementwise_affine=self._coin()) if self._coin() else nn.BatchNorm1d(width)
        return self._act(self._layer(x, norm)), width

    def chunked_features(self, x: int, channels: int) -> tuple[int, int]:
        width = self._width(2)
        x = self._layer(x, nn.Linear(channels, width))
        one, other = (self._step("part", x, options=(2, which)) for which in (0, 1))
        read = self._act(self._layer(one, nn.Linear(width // 2, width // 2)))
        return self._step("add", read, other), width // 2

    def _transformer(self, x: int, channels: int, tokens: int) -> tuple[int, int]:
        heads = self.chance.choice([2, 3])
        width = heads * self.chance.randint(2, 3)
        x = self._step("tokens", self._layer(x, nn.Conv2d(channels, width, 1)))
        if self._coin():
            self.used["embedding"] += 1
            x = self._layer(x, nn.Embedding(tokens, width), "places")
        if self._coin():
            self.used["token mixing"] += 1
            y = self._layer(self._layer(x, nn.LayerNorm(width)), Mixing(tokens, self._width()))
            x = self._step("add", x, y)
        kind, said = self.chance.choice(_ATTENTIONS)
        self.used[said] += 1
        for _ in range(self.chance.randint(1, 2)):
            y = self._layer(self._layer(x, nn.LayerNorm(width)), kind(width, heads))
            x = self._step("add", x, y)
            inner = self._width()
            y = self._layer(self._layer(x, nn.LayerNorm(width)), nn.Linear(width, inner))
            x = self._step("add", x, self._layer(self._act(y), nn.Linear(inner, width)))
        return self._step("mean", self._layer(x, nn.LayerNorm(width))), width

    def _recurrent(self, x: int, channels: int) -> tuple[int, int]:
        kind, width = self.chance.choice([nn.LSTM, nn.GRU, nn.RNN]), self._width()
        both, states = self._coin(), self._coin()
        self.used[f"recurrent, {'last states' if states else 'steps'}"] += 1
        layer = kind(channels, width, self.chance.randint(1, 2), batch_first=True, bidirectional=both)
        name = f"{kind.__name__.lower()}{len(self.layers)}"
        self.layers[name] = layer
        x = self._step("recurrent", x, layer=name, options=(states, both))
        return x if states else self._step("mean", x), width * (1 + both)

    def _coin(self) -> bool:
        return self.chance.random() < 0.5


_ATTENTIONS = [
    (Attention, "attention"),
    (AttentionOfThree, "attention of three"),
    (PackedAttention, "packed attention"),
]
_ON_MAPS: dict[str, Callable[[Grower, int, int, int], tuple[int, int, int]]] = {
    "convolution": Grower.conv,
    "strided convolution": Grower.strided_conv,
    "grouped convolution": Grower.grouped_conv,
    "depthwise convolution": Grower.depthwise_conv,
    "transposed convolution": Grower.transposed_conv,
    "grouped transposed convolution": Grower.grouped_transposed_conv,
    "depthwise transposed convolution": Grower.depthwise_transposed_conv,
    "hourglass": Grower.hourglass,
    "generator": Grower.generator,
    "batch norm": Grower.batch_norm,
    "instance norm": Grower.instance_norm,
    "group norm": Grower.group_norm,
    "layer norm over channels": Grower.layer_norm,
    "PReLU": Grower.prelu,
    "residual": Grower.residual,
    "two paths": Grower.two_paths,
    "concatenation": Grower.concatenation,
    "chunk": Grower.chunk,
    "slices": Grower.halves,
    "stated parts": Grower.stated_parts,
    "gated unit": Grower.gated_unit,
    "squeeze and excite": Grower.squeeze_excite,
    "pooling": Grower.pooling,
}
_ON_FEATURES: dict[str, Callable[[Grower, int, int], tuple[int, int]]] = {
    "linear": Grower.linear,
    "normed linear": Grower.normed_linear,
    "chunked features": Grower.chunked_features,
}
PRODUCTIONS = (
    *_ON_MAPS,
    *_ON_FEATURES,
    "tokens",
    "mean",
    "flatten",
    "steps",
    "recurrent, steps",
    "recurrent, last states",
    "token mixing",
    "embedding",
    *(said for _, said in _ATTENTIONS),
)


def _randomised(network: Grown, chance: random.Random) -> Grown:
    """Weights and statistics that all have an effect."""
    generator = torch.Generator().manual_seed(chance.getrandbits(32))
    network = network.double().eval()
    with torch.no_grad():
        for module in network.modules():
            for name, tensor in (
                *module.named_parameters(recurse=False),
                *module.named_buffers(recurse=False),
            ):
                if not tensor.is_floating_point():
                    continue
                drawn = torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
                if name == "running_var" or (name == "weight" and tensor.ndim == 1):
                    tensor.copy_(0.5 + drawn.abs())
                elif tensor.ndim > 1:
                    tensor.copy_(drawn / tensor[0].numel() ** 0.5)
                else:
                    tensor.copy_(drawn / 2)
    return network
