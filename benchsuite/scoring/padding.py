"""Positions of padding, which count in nothing that criteria read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchsuite.contracts.inputs import TensorMap

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from benchsuite.contracts.inputs import Inputs


def kept_positions(inputs: Inputs) -> Tensor | None:
    """Which positions of a batch count, bool (samples, steps); None where all do."""
    kept = inputs.kept if isinstance(inputs, TensorMap) else None
    return None if kept is None or bool(kept.all()) else kept


def alike(maps: Tensor, kept: Tensor | None) -> Iterator[tuple[Tensor | slice, Tensor]]:
    """Yield samples and their maps without padding, those with equally many positions together.

    Maps without a position for each step, such as those behind a mean over steps, have no padding.

    Args:
        maps: (samples, units, positions...).
        kept: from `kept_positions`.
    """
    if kept is None or not _has_steps(maps, kept):
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
        kept: from `kept_positions`.
    """
    if kept is None or not _has_steps(maps, kept):
        return maps.flatten(2).mean(-1)
    counting = kept.to(maps.dtype).unsqueeze(1)
    return (maps * counting).sum(-1) / counting.sum(-1)


def without_padding(values: Tensor, inputs: Inputs) -> Tensor:
    """Values (samples, steps, ...) with zero at positions of padding; values of another shape as they are.

    Args:
        values: what a network computes of a batch.
        inputs: the batch.
    """
    kept = kept_positions(inputs)
    if kept is None or values.shape[:2] != kept.shape or values.ndim < 3:
        return values
    return values.masked_fill(~kept.view(*kept.shape, *(1 for _ in values.shape[2:])), 0)


def _has_steps(maps: Tensor, kept: Tensor) -> bool:
    return maps.ndim == 3 and maps.shape[2] == kept.shape[1]
