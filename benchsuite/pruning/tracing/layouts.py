"""The channel dimension of each recorded tensor.

It is followed from the layers that compute the channels, since the shape alone does not distinguish channels
from positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_SECOND = ("ConvolutionBackward", "NativeBatchNorm", "CudnnBatchNorm", "MiopenBatchNorm", "NativeGroupNorm")
_LAST = ("AddmmBackward", "MmBackward", "NativeLayerNorm")
_UNKNOWN = ("BmmBackward", "BaddbmmBackward", "ScaledDotProduct", "IndexBackward", "UnfoldBackward", "Im2Col")
VIEWS = ("ViewBackward", "UnsafeViewBackward", "ReshapeAliasBackward")
"""How a view, a reshape or a flattening is recorded."""
_DROPPING = ("SelectBackward", "UnbindBackward", "SqueezeBackward")


@dataclass(frozen=True)
class Viewed:
    """How a view changes the channel dimension.

    Attributes:
        dim: the channel dimension afterwards.
        after: how many positions each channel becomes, in a row.
        before: how often the row of all channels is repeated.
        within: how many channels in a row become one, as where features are made maps.
    """

    dim: int
    after: int = 1
    before: int = 1
    within: int = 1


def viewed(whole: Sequence[int], made: Sequence[int], dim: int) -> Viewed | None:
    """How a view changes the channel dimension, or None if it splits the channels.

    Args:
        whole: the shape before the view.
        made: the shape after the view.
        dim: the channel dimension of `whole`.
    """
    size, outer, inner = whole[dim], prod(whole[:dim]), prod(whole[dim + 1 :])
    for place, width in enumerate(made):
        around = prod(made[:place]), prod(made[place + 1 :])
        if width % size or (size == 1 and width > 1):
            continue
        if around == (outer, inner):
            return Viewed(place)
        if around[0] == outer and inner % around[1] == 0:
            return Viewed(place, after=width // size)
        if around[1] == inner and outer % around[0] == 0:
            return Viewed(place, before=width // size)
    if len(whole) == 2 and len(made) == 4 and (dim, made[0]) == (1, whole[0]):
        return Viewed(1, within=prod(made[2:]))
    return None


class Layouts:
    """Finds the channel dimensions of the tensors of one recorded network, and caches them.

    Args:
        known: the channel dimensions of the outputs of some operations.
    """

    def __init__(self, known: Mapping[Any, int]) -> None:
        self._found: dict[Any, int | None] = {**known}

    def channel_dim(self, operation: Any) -> int | None:
        """The channel dimension of an operation's output, or None if it is not known.

        Args:
            operation: the recorded operation: its gradient function.
        """
        waiting = [operation]  # not recursive, since networks are deeper than Python's stack
        while waiting:
            current = waiting[-1]
            if current not in self._found:
                missing = [source for source in _sources(current) if source not in self._found]
                if missing:
                    waiting.extend(missing)
                    continue
                self._found[current] = self._derived(current)
            waiting.pop()
        return self._found[operation]

    def channel_dim_before(self, operation: Any) -> int | None:
        """The channel dimension of the input of an operation with one source."""
        source, _ = operation.next_functions[0]
        return None if source is None else self.channel_dim(source)

    def _derived(self, operation: Any) -> int | None:
        name, dimensions = operation.name(), len(output_shape(operation, 0))
        if hasattr(operation, "variable") or name.startswith(_UNKNOWN):
            return None
        if name.startswith(_SECOND):
            return 1
        if name.startswith(_LAST):
            return self._beside(operation, name, dimensions)
        for source, number in operation.next_functions:
            if source is not None and (dim := self._found[source]) is not None:
                return _moved(operation, name, dim, output_shape(source, number))
        return None

    def _beside(self, operation: Any, name: str, dimensions: int) -> int:
        """The last dimension, or where a linear layer mixes positions the one of the channels beside them."""
        place = {"AddmmBackward": 1, "MmBackward": 0}.get(name.rstrip("0123456789"))
        source = None if place is None else operation.next_functions[place][0]
        dim = None if source is None else self._found[source]
        return dimensions - 1 if dim is None else min(dim, dimensions - 1)


def _sources(operation: Any) -> list[Any]:
    return [source for source, _ in operation.next_functions if source is not None]


def _moved(operation: Any, name: str, dim: int, whole: tuple[int, ...]) -> int | None:
    """Where an operation moves the dimension `dim` of a source of shape `whole`."""
    made = output_shape(operation, 0)
    if name.startswith("TransposeBackward"):
        swapped = [position(operation._saved_dim0, len(whole)), position(operation._saved_dim1, len(whole))]
        return swapped[1 - swapped.index(dim)] if dim in swapped else dim
    if name.startswith("TBackward"):
        return 1 - dim
    if name.startswith("PermuteBackward"):
        return [position(d, len(whole)) for d in operation._saved_dims].index(dim)
    if name.startswith(VIEWS):
        view = viewed(whole, made, dim)
        return None if view is None else view.dim
    if name.startswith(("UnsqueezeBackward", "StackBackward")):
        return dim + (position(operation._saved_dim, len(made)) <= dim)
    gone = _dropped(operation, name, whole, made)
    if dim in gone:
        return None
    moved = dim - sum(d < dim for d in gone)
    # The other operations are element-wise or work on positions; smaller tensors are aligned at the end.
    missing = len(made) - (len(whole) - len(gone))
    return moved + missing if missing >= 0 else None


def _dropped(operation: Any, name: str, whole: tuple[int, ...], made: tuple[int, ...]) -> set[int]:
    """The dimensions of a source that an operation removes."""
    if len(made) >= len(whole):
        return set()
    if name == "SqueezeBackward0":
        return {d for d, size in enumerate(whole) if size == 1}
    if (
        name.startswith(_DROPPING)
        or name.startswith("SqueezeBackward")
        or hasattr(operation, "_saved_keepdim")
    ):
        dims = getattr(operation, "_saved_dim", ())
        return {position(d, len(whole)) for d in ((dims,) if isinstance(dims, int) else dims)}
    return set()


def output_shape(operation: Any, number: int) -> tuple[int, ...]:
    """The shape of a recorded operation's `number`-th output."""
    if hasattr(operation, "variable"):
        return tuple(operation.variable.shape)
    return tuple(operation._input_metadata[number].shape)


def position(dim: int, dimensions: int) -> int:
    """A dimension counted from the front."""
    return signed(dim) % dimensions


def saved_slice(operation: Any) -> slice:
    """The slice that an operation takes along its dimension."""
    bounds = (operation._saved_start, operation._saved_end)
    start, stop = (None if bound is None else signed(bound) for bound in bounds)
    return slice(start, stop, operation._saved_step)


def signed(number: int) -> int:
    """Autograd keeps negative numbers as unsigned ones."""
    return number - 2**64 if number >= 2**63 else number
