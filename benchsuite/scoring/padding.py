"""Positions of padding, which count in nothing that criteria read."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn

from benchsuite.contracts.inputs import TensorMap
from benchsuite.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from benchsuite.contracts.inputs import Inputs


def kept_positions(inputs: Inputs) -> Tensor | None:
    """Which positions of a batch count, bool (samples, steps); None where all do."""
    kept = inputs.kept if isinstance(inputs, TensorMap) else None
    return None if kept is None or bool(kept.all()) else kept


def alike(maps: Tensor, kept: Tensor | None) -> Iterator[tuple[Tensor | slice, Tensor]]:
    """Yield samples and their maps without padding, those with equally many positions together.

    Args:
        maps: (samples, units, positions...).
        kept: from `counted`.
    """
    if kept is None:
        yield slice(None), maps
        return
    lengths = kept.sum(1)
    for length in lengths.unique().tolist():
        rows = (lengths == length).nonzero().flatten()
        places = kept[rows].nonzero()[:, 1].view(len(rows), 1, length)
        yield rows, maps[rows].gather(2, places.expand(-1, maps.shape[1], -1))


def mean_over_positions(maps: Tensor, kept: Tensor | None) -> Tensor:
    """The mean of each map over the positions that count, (samples, units).

    Args:
        maps: (samples, units, positions...).
        kept: from `counted`.
    """
    if kept is None:
        return maps.flatten(2).mean(-1)
    counting = kept.to(maps.dtype).unsqueeze(1)
    return (maps * counting).sum(-1) / counting.sum(-1)


def without_padding(module: nn.Module, values: Tensor, inputs: Inputs) -> Tensor:
    """What a layer reads, with zero at positions of padding; what has no positions as it is.

    Args:
        module: the layer.
        values: what it reads of a batch: (samples, channels, steps) of a convolution, (samples, steps,
            features) of any other.
        inputs: the batch.

    Raises:
        Unsupported: which positions are padding is not known; see `counted`.
    """
    kept = kept_positions(inputs)
    conv = isinstance(module, nn.modules.conv._ConvNd)
    positions = values.shape[2:] if conv else values.shape[1:-1]
    if kept is not None and len(values) != len(kept):
        positions = torch.Size([len(values) // len(kept), *positions])
        if positions.numel() > 1:
            raise Unsupported(_unknown(module, positions, kept))
    kept = counted(module, positions, kept)
    if kept is None:
        return values
    return values.masked_fill(~kept.unsqueeze(1 if conv else -1), 0)


def counted(module: nn.Module, positions: Sequence[int], kept: Tensor | None) -> Tensor | None:
    """Which positions of a layer count: those of `kept`, or None where all do or it has one alone.

    Args:
        module: the layer.
        positions: the dimensions of its positions.
        kept: from `kept_positions`.

    Raises:
        Unsupported: its positions are not the steps of the inputs, as behind a stride or beside a token that
            the network adds; or they may be channels, since it reads as many numbers as there are steps.
    """
    if kept is None or math.prod(positions) == 1:
        return None
    reads = getattr(module, "in_features", getattr(module, "in_channels", None))
    if tuple(positions) != (kept.shape[1],) or reads == kept.shape[1]:
        raise Unsupported(_unknown(module, positions, kept))
    return kept


def _unknown(module: nn.Module, positions: Sequence[int], kept: Tensor) -> str:
    size = " x ".join(map(str, positions))
    return (
        f"which positions are padding is not known in a layer {module} with {size} positions, of inputs with "
        f"{kept.shape[1]} steps; [pruning] keep leaves such layers out"
    )
