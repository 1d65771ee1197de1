"""The threshold that a given share of each unit's values exceeds, computed from a stream of values."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

EXACT_BYTES = 2 * 1024**3
"""Memory that the exact method may take per layer; beyond it, the binned one is used."""
BINNED_ERROR = 2.0**-7
"""Largest relative error of the binned threshold, compared with the order statistic."""


class UpperQuantile(Protocol):
    """Takes values in parts and finds each unit's threshold."""

    def update(self, values: Tensor) -> None:
        """Take further values, float32, (units, values)."""

    def levels(self) -> Tensor:
        """Return each unit's threshold, float32, (units,)."""


def upper_quantile(units: int, values: int, share: float, device: torch.device | str) -> UpperQuantile:
    """Return the exact method if it fits into the allowed memory, otherwise the binned one.

    Args:
        units: number of units.
        values: total number of values per unit.
        share: fraction of the values above the threshold: 0.005 in Bau et al. (2017).
        device: where the values are.
    """
    exact = ExactQuantile(units, values, share)
    if exact.peak_bytes <= EXACT_BYTES:
        return exact
    return BinnedQuantile(units, values, share, device)


class ExactQuantile:
    """The linearly interpolated quantile at 1 - share, as numpy defines it, exactly.

    Only the largest values matter, so only those are kept: at most three times the share of all of them.
    NaN counts as larger than every number.
    """

    def __init__(self, units: int, values: int, share: float) -> None:
        position = (values - 1) * (1.0 - share)
        self._below = math.floor(position)
        self._fraction = position - self._below
        self._values = values
        self._kept = values - self._below
        self._pending: list[Tensor] = []
        self._held = 0
        self.peak_bytes = 3 * 4 * units * self._kept

    def update(self, values: Tensor) -> None:
        """Take further values, float32, (units, values)."""
        self._pending.append(self._largest(values))
        self._held += self._pending[-1].shape[1]
        if self._held > 2 * self._kept:
            self._compress()

    def levels(self) -> Tensor:
        """Return each unit's threshold, float32, (units,)."""
        self._compress()
        # Descending: the last kept value is the order statistic below the threshold, the one before it is the
        # one above. Computed in float64 on the host, since some accelerators have no float64: these are two
        # numbers per unit.
        ends = self._pending[0].topk(self._kept, dim=1).values[:, -2:].cpu().double()
        lower, upper = ends[:, -1], ends[:, 0]
        return (lower + (upper - lower) * self._fraction).float()

    def _largest(self, values: Tensor) -> Tensor:
        if values.shape[1] <= self._kept:
            return values.clone()
        return values.topk(self._kept, dim=1, sorted=False).values

    def _compress(self) -> None:
        if len(self._pending) > 1:
            self._pending = [self._largest(torch.cat(self._pending, dim=1))]
            self._held = self._pending[0].shape[1]


class BinnedQuantile:
    """The threshold with a relative error of at most `BINNED_ERROR`, in 1.5 MiB per unit.

    The number of values does not matter: they are counted in bins that hold the float32 numbers with the same
    upper 16 bits (sign, exponent and 7 bits of the fraction); the threshold is the largest number in the bin
    of the order statistic below the quantile, so that no more than the share of the values exceeds it. Zero
    has its own bin.
    """

    def __init__(self, units: int, values: int, share: float, device: torch.device | str) -> None:
        self._rank = values - 1 - math.floor((values - 1) * (1.0 - share))
        self._counts = torch.zeros(units * _BINS, dtype=torch.int64, device=device)
        self._offsets = torch.arange(units, device=device)[:, None] * _BINS

    def update(self, values: Tensor) -> None:
        """Take further values, float32, (units, values)."""
        keys = (_bins(values) + self._offsets).flatten()
        self._counts.scatter_add_(0, keys, torch.ones_like(keys))

    def levels(self) -> Tensor:
        """Return each unit's threshold, float32, (units,)."""
        counts = self._counts.view(-1, _BINS)
        at_least = counts.flip(1).cumsum(1)
        bins = _BINS - 1 - (at_least > self._rank).int().argmax(1)
        return _largest_in(bins).cpu()


_BINS = 1 << 16
_ZERO = 1 << 15


def _bins(values: Tensor) -> Tensor:
    """The bin of each value, ascending with the value: 0 at `_ZERO`, negative values below it."""
    upper = (values.contiguous().view(torch.int32) >> 16).long()
    magnitude = upper & 0x7FFF
    return torch.where(upper < 0, _ZERO - magnitude, _ZERO + magnitude).clamp(0, _BINS - 1)


def _largest_in(bins: Tensor) -> Tensor:
    """The largest number of each bin: for negative bins the one of smallest magnitude."""
    offset = bins - _ZERO
    positive = (((offset << 16) | 0xFFFF).clamp(min=0)).int().view(torch.float32)
    negative = -(-offset << 16).clamp(min=0).int().view(torch.float32)
    return torch.where(offset > 0, positive, torch.where(offset < 0, negative, torch.zeros_like(positive)))
