"""How a tensor is a map: where its units are, and where its positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from benchsuite.metrics.dissection.markers import NOTHING, varying_dims

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """How a tensor is a map.

    Attributes:
        unit_dim: the dimension of the units.
        grid: height and width.
        tokens: for tensors (images, tokens, units) or (images, units, tokens): the token at each position,
            row by row; None for tensors of four dimensions.
    """

    unit_dim: int
    grid: tuple[int, int]
    tokens: tuple[int, ...] | None = None

    def maps(self, tensor: Tensor) -> Tensor:
        """The tensor as (images, units, height, width)."""
        units_first = tensor.movedim(self.unit_dim, 1)
        if self.tokens is None:
            return units_first
        order = torch.tensor(self.tokens, device=tensor.device)
        return units_first.index_select(2, order).reshape(*units_first.shape[:2], *self.grid)


def layout_of(
    shape: tuple[int, ...], units: Tensor | None, tokens: Tensor | None, grid: tuple[int, int] | None
) -> Layout | None:
    """The layout that the marks of a tensor show; None if they show none.

    Args:
        shape: the tensor's shape.
        units: its unit marks: they vary along the dimension of the units alone.
        tokens: its token marks, for tensors of three dimensions.
        grid: height and width of the map that they number.
    """
    if units is None or len(shape) not in (3, 4):
        return None
    varying = varying_dims(units)
    if len(shape) == 4:
        dims = varying or [dim for dim in (1, 3) if shape[dim] == 1][:1]
        if dims == [1]:
            return Layout(1, (shape[2], shape[3]))
        return Layout(3, (shape[1], shape[2])) if dims == [3] else None
    if tokens is None or grid is None or len(varying) > 1:
        return None
    numbered = varying_dims(tokens) or [dim for dim in (1, 2) if shape[dim] == 1][:1]
    if len(numbered) != 1 or varying == numbered:
        return None
    dim = numbered[0]
    order = tokens.movedim(dim, 1)[0, :, 0].tolist()
    places = {position: token for token, position in enumerate(order) if position >= 0}
    if len(places) != sum(position >= 0 for position in order) or sorted(places) != list(
        range(grid[0] * grid[1])
    ):
        return None
    return Layout(3 - dim, grid, tuple(places[position] for position in sorted(places)))


def token_marks(shape: tuple[int, ...], tokens: Tensor | None, layout: Layout | None) -> Tensor | None:
    """The token marks of a tensor: its own, or the numbers of a map's positions, row by row."""
    if tokens is not None or layout is None or layout.tokens is not None:
        return tokens
    height, width = layout.grid
    numbers = torch.arange(height * width, dtype=torch.int32).view(1, height, width)
    return numbers.unsqueeze(layout.unit_dim).expand(shape)


_ASTRAY = 0.15
"""How far a position may be from where it is in the image, in heights or widths: edges may be trimmed."""


@dataclass(frozen=True, eq=False)
class Origin:
    """Where the values of a tensor come from.

    Attributes:
        numbers: marks of the tensor's shape: the position of an upright map, row by row.
        grid: height and width of that map.
    """

    numbers: Tensor
    grid: tuple[int, int]

    @classmethod
    def of(cls, shape: tuple[int, ...], layout: Layout) -> Origin:
        """Of a tensor of four dimensions that is an upright map itself."""
        numbers = token_marks(shape, None, layout)
        assert numbers is not None
        return cls(numbers, layout.grid)

    def upright(self, layout: Layout) -> bool:
        """Whether every position of the map is about where it is in the image."""
        numbers = layout.maps(self.numbers)
        height, width = self.grid
        for found, share, dim in ((numbers // width, height, 2), (numbers % width, width, 3)):
            size = numbers.shape[dim]
            there = (torch.arange(size).view([-1 if d == dim else 1 for d in range(4)]) + 0.5) / size
            if bool((((found + 0.5) / share - there).abs()[numbers != NOTHING] > _ASTRAY).any()):
                return False
        return True
