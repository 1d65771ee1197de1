"""How channel numbers change where a network concatenates, splits, slices, pads or flattens.

Read from the shapes that the trace recorded. The tracing library guesses them by searching the graph, which
can take forever and fails on shuffled channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Integers = NDArray[np.int64]


class IndexMap(Protocol):
    """Maps channel numbers along an edge of the graph and back.

    Both directions return which of the given numbers go on (repeated where one becomes several) and the
    numbers that they become.
    """

    @property
    def makes_constants(self) -> bool:
        """Whether channels on the far side that come from nowhere are constants."""

    def forward(self, numbers: Integers) -> tuple[Integers, Integers]:
        """From the tensor that is read to the tensor that is made."""

    def backward(self, numbers: Integers) -> tuple[Integers, Integers]:
        """From the tensor that is made to the tensor that is read."""


@dataclass(frozen=True)
class Placed:
    """The tensor becomes channels `offset` to `offset + size` of a larger one: concatenation, padding."""

    offset: int
    size: int
    makes_constants: bool = False

    def forward(self, numbers: Integers) -> tuple[Integers, Integers]:
        return np.arange(len(numbers)), numbers + self.offset

    def backward(self, numbers: Integers) -> tuple[Integers, Integers]:
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
        within = (numbers >= self.start) & (numbers < self.stop) & ((numbers - self.start) % self.step == 0)
        taken = np.flatnonzero(within)
        return taken, (numbers[taken] - self.start) // self.step

    def backward(self, numbers: Integers) -> tuple[Integers, Integers]:
        return np.arange(len(numbers)), numbers * self.step + self.start


@dataclass(frozen=True)
class Flattened:
    """Every channel becomes `positions` features in a row."""

    positions: int
    makes_constants: bool = False

    def forward(self, numbers: Integers) -> tuple[Integers, Integers]:
        which = np.repeat(np.arange(len(numbers)), self.positions)
        return which, numbers[which] * self.positions + np.tile(np.arange(self.positions), len(numbers))

    def backward(self, numbers: Integers) -> tuple[Integers, Integers]:
        return np.arange(len(numbers)), numbers // self.positions


_PRODUCTS = ("MmBackward", "AddmmBackward", "BmmBackward", "BaddbmmBackward", "ScaledDotProduct")
_VIEWS = ("ViewBackward", "UnsafeViewBackward", "ReshapeAliasBackward")


def input_map(operation: Any, slot: int) -> IndexMap | None:
    """How the channels of an operation's `slot`-th input become those of its output; None: alike.

    Args:
        operation: the recorded operation: its gradient function.
        slot: which of its inputs, counting those in the gradient graph only.
    """
    name = operation.name()
    if name.startswith("CatBackward"):
        return _concatenation(operation, slot)
    if name.startswith("SliceBackward"):
        return _slice(operation)
    if name.startswith("ConstantPadNdBackward"):
        return _padding(operation)
    if name.startswith(_VIEWS):
        return _flattening(operation)
    return None


def output_map(operation: Any, number: int) -> IndexMap | None:
    """How the channels of a recorded operation become those of its `number`-th output; None: alike."""
    name = operation.name()
    shape = _output_shape(operation, number)
    if name.startswith("SplitBackward"):
        whole, dim = operation._saved_self_sym_sizes, _dim(operation._saved_dim, len(shape))
        if not _is_channel(dim, shape):
            return None
        start = number * operation._saved_split_size
        return Taken(start, min(start + operation._saved_split_size, whole[dim]))
    if name.startswith("SplitWithSizesBackward"):
        dim = _dim(operation._saved_dim, len(shape))
        if not _is_channel(dim, shape):
            return None
        start = sum(operation._saved_split_sizes[:number])
        return Taken(start, start + operation._saved_split_sizes[number])
    if name.startswith("UnbindBackward") and operation._saved_dim == 0 and len(shape) == 4:
        # Queries, keys and values, each (samples, heads, tokens, features of a head).
        size = shape[1] * shape[3]
        return Taken(number * size, (number + 1) * size)
    return None


def obstacle(operation: Any) -> str | None:
    """Why channels cannot be followed through an operation that belongs to no layer, or None."""
    name = operation.name()
    if name.startswith(_PRODUCTS):
        return "its channels enter a matrix product that belongs to no layer"
    if name.startswith(_VIEWS):
        return "its channels are regrouped" if _regroups(operation) else None
    return None


def _regroups(view: Any) -> bool:
    """Whether a view takes channels apart: features into heads, maps into groups that are shuffled."""
    whole: tuple[int, ...] = tuple(view._saved_self_sym_sizes)
    made = _output_shape(view, 0)
    if len(whole) == 1:
        return whole[0] not in made
    if len(made) > len(whole) and made[: len(whole) - 1] == whole[:-1]:
        return True
    if len(whole) == 4 and not _channels_last(whole) and made[3:] == whole[2:]:
        return made[1] * made[2] == whole[1]
    kept = whole[-1] == made[-1] or whole[1:2] == made[1:2]
    return not kept and _flattening(view) is None


def _concatenation(operation: Any, slot: int) -> IndexMap | None:
    shape = _output_shape(operation, 0)
    dim = _dim(operation._saved_dim, len(shape))
    if not _is_channel(dim, shape):
        return None
    sizes = [
        None if source is None else _output_shape(source, n)[dim] for source, n in operation.next_functions
    ]
    if sizes.count(None) > 1:
        return Placed(0, 0)
    known = [shape[dim] - sum(s for s in sizes if s is not None) if size is None else size for size in sizes]
    place = [index for index, size in enumerate(sizes) if size is not None][slot]
    return Placed(sum(known[:place]), known[place])


def _slice(operation: Any) -> IndexMap | None:
    shape = operation._saved_self_sym_sizes
    dim = _dim(operation._saved_dim, len(shape))
    if not _is_channel(dim, shape):
        return None
    size = shape[dim]
    start, stop = _signed(operation._saved_start), _signed(operation._saved_end)
    start, stop = (max(0, bound + size) if bound < 0 else min(bound, size) for bound in (start, stop))
    return Taken(start, stop, operation._saved_step)


def _padding(operation: Any) -> IndexMap | None:
    shape = _output_shape(operation, 0)
    pad = operation._saved_pad  # last dimension first, two numbers a dimension
    place = 2 * (len(shape) - 2)
    if len(shape) != 4 or len(pad) < place + 2 or not any(pad[place : place + 2]):
        return None
    before, after = pad[place], pad[place + 1]
    return Placed(before, shape[1] - before - after, makes_constants=True)


def _flattening(operation: Any) -> IndexMap | None:
    whole, flat = operation._saved_self_sym_sizes, _output_shape(operation, 0)
    if len(flat) != 2 or len(whole) not in (3, 4) or flat[0] != whole[0]:
        return None
    positions = int(np.prod(whole[2:]))
    return Flattened(positions) if positions > 1 and flat[1] == whole[1] * positions else None


def _output_shape(operation: Any, number: int) -> tuple[int, ...]:
    if hasattr(operation, "variable"):
        return tuple(operation.variable.shape)
    return tuple(operation._input_metadata[number].shape)


def _is_channel(dim: int, shape: tuple[int, ...]) -> bool:
    """Whether channels lie along a dimension: the last one of tokens and of square maps with channels last.

    Where it is unclear the second dimension is taken.
    """
    return dim == (len(shape) - 1 if _channels_last(shape) else 1)


def _channels_last(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3 or (len(shape) == 4 and shape[1] == shape[2] != shape[3])


def _dim(dim: int, dimensions: int) -> int:
    return _signed(dim) % dimensions


def _signed(number: int) -> int:
    """Autograd keeps negative numbers as unsigned ones."""
    return number - 2**64 if number >= 2**63 else number
