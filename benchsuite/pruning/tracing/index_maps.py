"""Maps between the channel numbers of a tensor and those of another tensor computed from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Integers = NDArray[np.int64]


class IndexMap(Protocol):
    """Maps channel numbers along an edge of the graph and back.

    Both directions return which of the given numbers continue (repeated if one becomes several) and the
    numbers that they become.
    """

    @property
    def makes_constants(self) -> bool:
        """Whether channels at the other end that have no source are constants."""

    def forward(self, numbers: Integers) -> tuple[Integers, Integers]:
        """From the input tensor to the output tensor."""

    def backward(self, numbers: Integers) -> tuple[Integers, Integers]:
        """From the output tensor to the input tensor."""


@dataclass(frozen=True)
class Placed:
    """The tensor becomes channels `offset` to `offset + size` of a larger one: concatenation, padding."""

    offset: int
    size: int
    makes_constants: bool = False

    def forward(self, numbers: Integers) -> tuple[Integers, Integers]:
        """See `IndexMap`."""
        return np.arange(len(numbers)), numbers + self.offset

    def backward(self, numbers: Integers) -> tuple[Integers, Integers]:
        """See `IndexMap`."""
        inside = np.flatnonzero((numbers >= self.offset) & (numbers < self.offset + self.size))
        return inside, numbers[inside] - self.offset


@dataclass(frozen=True)
class Taken:
    """Every `step`-th channel from `start` to before `stop` is taken: slices, parts of a split."""

    start: int
    stop: int
    step: int = 1
    makes_constants: bool = False

    def forward(self, numbers: Integers) -> tuple[Integers, Integers]:
        """See `IndexMap`."""
        within = (numbers >= self.start) & (numbers < self.stop) & ((numbers - self.start) % self.step == 0)
        taken = np.flatnonzero(within)
        return taken, (numbers[taken] - self.start) // self.step

    def backward(self, numbers: Integers) -> tuple[Integers, Integers]:
        """See `IndexMap`."""
        return np.arange(len(numbers)), numbers * self.step + self.start


@dataclass(frozen=True)
class Spread:
    """A single channel meets every channel of the other tensor, as a gate of one channel does."""

    makes_constants: bool = False

    def forward(self, numbers: Integers) -> tuple[Integers, Integers]:
        """See `IndexMap`; the other tensor's channels do not go with it."""
        return numbers[:0], numbers[:0]

    def backward(self, numbers: Integers) -> tuple[Integers, Integers]:
        """See `IndexMap`; it does not go with them."""
        return numbers[:0], numbers[:0]


@dataclass(frozen=True)
class Halved:
    """Two halves of `size` channels become one, as a gated linear unit multiplies them."""

    size: int
    makes_constants: bool = False

    def forward(self, numbers: Integers) -> tuple[Integers, Integers]:
        """See `IndexMap`."""
        return np.arange(len(numbers)), numbers % self.size

    def backward(self, numbers: Integers) -> tuple[Integers, Integers]:
        """See `IndexMap`."""
        which = np.tile(np.arange(len(numbers)), 2)
        return which, numbers[which] + np.repeat([0, self.size], len(numbers))


@dataclass(frozen=True)
class Reversed:
    """Another map the other way round."""

    of: IndexMap
    makes_constants: bool = False

    def forward(self, numbers: Integers) -> tuple[Integers, Integers]:
        """See `IndexMap`."""
        return self.of.backward(numbers)

    def backward(self, numbers: Integers) -> tuple[Integers, Integers]:
        """See `IndexMap`."""
        return self.of.forward(numbers)


@dataclass(frozen=True)
class Flattened:
    """Every channel becomes `positions` features in a row."""

    positions: int
    makes_constants: bool = False

    def forward(self, numbers: Integers) -> tuple[Integers, Integers]:
        """See `IndexMap`."""
        which = np.repeat(np.arange(len(numbers)), self.positions)
        return which, numbers[which] * self.positions + np.tile(np.arange(self.positions), len(numbers))

    def backward(self, numbers: Integers) -> tuple[Integers, Integers]:
        """See `IndexMap`."""
        return np.arange(len(numbers)), numbers // self.positions


@dataclass(frozen=True)
class Tiled:
    """The `size` channels are repeated `copies` times, as when neighbouring positions are concatenated."""

    copies: int
    size: int
    makes_constants: bool = False

    def forward(self, numbers: Integers) -> tuple[Integers, Integers]:
        """See `IndexMap`."""
        which = np.tile(np.arange(len(numbers)), self.copies)
        return which, numbers[which] + np.repeat(np.arange(self.copies), len(numbers)) * self.size

    def backward(self, numbers: Integers) -> tuple[Integers, Integers]:
        """See `IndexMap`."""
        return np.arange(len(numbers)), numbers % self.size
