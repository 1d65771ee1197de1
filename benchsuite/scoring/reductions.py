"""Reductions: how an activation map becomes one number in a table of samples x units."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from benchsuite.errors import PluginError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Reduction:
    """Turns activation maps into one number per sample and unit.

    Subclass it as a frozen dataclass to make your own; its fields are its parameters. All scorers that ask
    for equal reductions share the table.
    """

    name: ClassVar[str] = ""

    def __call__(self, maps: Tensor) -> Tensor:
        """Return (samples, units) from maps of shape (samples, units, positions...)."""
        raise NotImplementedError(f"{type(self).__name__} does not define __call__()")

    @property
    def key(self) -> str:
        """The reduction's identity in content keys: class, parameters and source."""
        return f"{type(self).__module__}.{self!r}\n{source_of(type(self))}"


def source_of(cls: type) -> str:
    """Return a hash of the code that fills tables and of the modules that define a class, with their imports.

    Whole modules are hashed, since a class may use constants and functions next to it. A class that is
    defined interactively has no source: only its name and parameters identify it.
    """
    from benchsuite.contracts.digests import code_digest, source_digest

    return f"{code_digest('benchsuite.scoring.shared')} {source_digest(cls)}"


@dataclass(frozen=True)
class Mean(Reduction):
    """The mean over positions."""

    name: ClassVar[str] = "mean"

    def __call__(self, maps: Tensor) -> Tensor:
        """Average each map."""
        return maps.flatten(2).mean(-1)


@dataclass(frozen=True)
class Max(Reduction):
    """The largest value over positions."""

    name: ClassVar[str] = "max"

    def __call__(self, maps: Tensor) -> Tensor:
        """Take each map's largest value."""
        return maps.flatten(2).amax(-1)


@dataclass(frozen=True)
class TopKMean(Reduction):
    """The mean of the `k` largest values over positions (of all, where there are fewer)."""

    name: ClassVar[str] = "top-k-mean"
    k: int

    def __call__(self, maps: Tensor) -> Tensor:
        """Average each map's largest values."""
        flat = maps.flatten(2)
        return flat.topk(min(self.k, flat.shape[-1]), dim=-1).values.mean(-1)


@dataclass(frozen=True)
class Variance(Reduction):
    """The variance over positions, divided by their number (0 for a single position)."""

    name: ClassVar[str] = "variance"

    def __call__(self, maps: Tensor) -> Tensor:
        """Take each map's variance."""
        return maps.flatten(2).var(-1, correction=0)


@dataclass(frozen=True)
class ZeroFraction(Reduction):
    """The fraction of positions that are exactly zero."""

    name: ClassVar[str] = "zero-fraction"

    def __call__(self, maps: Tensor) -> Tensor:
        """Count each map's zeros."""
        flat = maps.flatten(2)
        return (flat == 0).to(flat.dtype).mean(-1)


_LARGEST_BATCHED_ON_GPU = 32
"""Rows of the largest matrices whose eigenvalues torch computes all at once on a GPU.

It solves larger ones one after the other, at about a millisecond each (PyTorch issue 175585), which is slower
than one core of the CPU. `make gpu` measures both ways below and above this size.
"""


@dataclass(frozen=True)
class Rank(Reduction):
    """The numerical rank of each map as a matrix; of what is no plane, 1 unless all of it is zero.

    A singular value counts if it exceeds eps x max(height, width) x the largest one, eps being the machine
    precision of the maps' own type: the rule of `torch.linalg.matrix_rank`. The singular values come from
    the Gram matrix of the shorter side in double precision, whose error (1e-8 of the largest) is far below
    that threshold for float32 maps; double maps are decomposed directly.
    """

    name: ClassVar[str] = "rank"

    def __call__(self, maps: Tensor) -> Tensor:
        """Take each map's rank."""
        import torch

        if maps.ndim != 4 or 1 in maps.shape[2:]:
            return (maps.flatten(2) != 0).any(-1).to(maps.dtype)
        if maps.dtype == torch.float64:
            ranks: Tensor = torch.linalg.matrix_rank(maps)
            return ranks.to(maps.dtype)
        threshold = torch.finfo(maps.dtype).eps * max(maps.shape[2:])
        wide = maps.double()
        if wide.shape[2] > wide.shape[3]:
            wide = wide.mT
        gram = wide @ wide.mT
        if gram.is_cuda and gram.shape[-1] > _LARGEST_BATCHED_ON_GPU:
            gram = gram.cpu()
        squares: Tensor = torch.linalg.eigvalsh(gram).clamp_min(0)
        counted: Tensor = squares > squares[..., -1:] * threshold**2
        return counted.sum(-1).to(maps)


REDUCTIONS: dict[str, Reduction] = {
    reduction.name: reduction for reduction in (Mean(), Max(), Variance(), ZeroFraction(), Rank())
}
"""The reductions without parameters; `top-K-mean` with any number K can also be given by name."""


def find_reduction(reduction: str | Reduction) -> Reduction:
    """Return the reduction itself or the one of that name; raises `PluginError` for an unknown name."""
    if isinstance(reduction, Reduction):
        return reduction
    if (top := re.fullmatch(r"top-([1-9]\d*)-mean", reduction)) is not None:
        return TopKMean(int(top[1]))
    if reduction not in REDUCTIONS:
        known = ", ".join((*REDUCTIONS, "top-5-mean (any number)"))
        raise PluginError(f"there is no reduction {reduction!r}; there are: {known}")
    return REDUCTIONS[reduction]
