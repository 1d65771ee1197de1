"""How channel numbers change where a network concatenates, splits, slices, pads or flattens.

The changes are computed from the shapes that the trace recorded. The tracing library guesses them by
searching the graph, which can take very long and fails on shuffled channels. If `Layouts` does not know which
dimension is that of the channels, it is guessed from the shape.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from benchsuite.pruning.tracing.index_maps import (
    Flattened,
    Halved,
    IndexMap,
    Placed,
    Reversed,
    Spread,
    Taken,
    Tiled,
)
from benchsuite.pruning.tracing.layouts import VIEWS, Layouts, output_shape, position, saved_slice, viewed

if TYPE_CHECKING:
    from collections.abc import Sequence

_LAYER_PRODUCTS = ("MmBackward", "AddmmBackward")
_ELEMENTWISE = ("MulBackward", "AddBackward", "SubBackward", "DivBackward", "ExpandBackward")
"""Where a smaller input is used for several channels at once."""
_DEPTH = 2
"""Operations of a linear layer after its matrix product: a view and an addition."""
_PRODUCTS = (*_LAYER_PRODUCTS, "BmmBackward", "BaddbmmBackward", "ScaledDotProduct")


def input_map(layouts: Layouts, operation: Any, place: int) -> IndexMap | None:
    """How the channels of an operation's `place`-th input map to those of its output; None: unchanged.

    Args:
        layouts: the channel dimensions of the network's tensors.
        operation: the recorded operation: its gradient function.
        place: which of its next functions the input is.
    """
    name = operation.name()
    if name.startswith("CatBackward"):
        return _concatenation(layouts, operation, place)
    if name.startswith("SliceBackward"):
        return _slice(layouts, operation)
    if name.startswith("ConstantPadNdBackward"):
        return _padding(layouts, operation)
    if name.startswith(VIEWS):
        return _view(layouts, operation)
    if name.startswith(_ELEMENTWISE):
        return _spreading(layouts, operation, place)
    if name.startswith("GluBackward"):
        shape = output_shape(operation, 0)
        dim = position(operation._saved_dim, len(shape))
        return Halved(shape[dim]) if dim == _channel_dim(layouts, operation, shape) else None
    if name.startswith("PixelShuffleBackward"):
        return Reversed(Flattened(operation._saved_upscale_factor**2))
    if name.startswith("PixelUnshuffleBackward"):
        return Flattened(operation._saved_downscale_factor**2)
    return None


def output_map(layouts: Layouts, operation: Any, number: int) -> IndexMap | None:
    """How the channels of a recorded operation map to those of its `number`-th output; None: unchanged."""
    name = operation.name()
    shape = output_shape(operation, number)
    if name.startswith(("SplitBackward", "SplitWithSizesBackward")):
        dim = position(operation._saved_dim, len(shape))
        if dim != _channel_dim(layouts, operation, shape):
            return None
        if name.startswith("SplitBackward"):
            whole, size = operation._saved_self_sym_sizes, operation._saved_split_size
            return Taken(number * size, min((number + 1) * size, whole[dim]))
        start = sum(operation._saved_split_sizes[:number])
        return Taken(start, start + operation._saved_split_sizes[number])
    if name.startswith("UnbindBackward") and operation._saved_dim == 0 and len(shape) == 4:
        # Queries, keys and values, each (samples, heads, tokens, features of a head).
        size = shape[1] * shape[3]
        return Taken(number * size, (number + 1) * size)
    return None


def obstacle(layouts: Layouts, operation: Any) -> str | None:
    """Why channels cannot be followed through an operation that belongs to no layer, or None."""
    name = operation.name()
    if name.startswith(_PRODUCTS):
        return "its channels enter a matrix product that belongs to no layer"
    if name.startswith(VIEWS):
        return "its channels are regrouped" if _regroups(layouts, operation) else None
    return None


def counted_dim(layouts: Layouts, operation: Any) -> int | None:
    """The channel dimension of an operation by which a tensor is split, sliced or given another shape."""
    if operation.name().startswith(VIEWS):
        dim, source = layouts.channel_dim(operation), operation.next_functions[0][0]
        return _only_dim(operation) if dim is None and hasattr(source, "variable") else dim
    whole = operation._saved_self_sym_sizes if hasattr(operation, "_saved_self_sym_sizes") else ()
    return _channel_dim(layouts, operation, whole or output_shape(operation, 0))


def _only_dim(view: Any) -> int | None:
    """The only dimension of more than one entry that a view has, or None."""
    wide = [dim for dim, size in enumerate(output_shape(view, 0)) if size > 1]
    return wide[0] if len(wide) == 1 else None


def inside(operation: Any) -> set[Any]:
    """The operations that a linear layer is recorded as; the last one represents the layer.

    For tokens these are a matrix product and a view, and an addition of the bias if the tokens are not
    contiguous in memory.

    Args:
        operation: the last operation of a layer.
    """
    found: list[Any] = [operation]
    while len(found) <= _DEPTH and not found[-1].name().startswith(_PRODUCTS):
        if not (before := found[-1].next_functions) or before[0][0] is None:
            break
        found.append(before[0][0])
    return set(found) if found[-1].name().startswith(_LAYER_PRODUCTS) else set()


def _regroups(layouts: Layouts, view: Any) -> bool:
    """Whether a view splits the channels: features into heads, maps into groups that are shuffled."""
    whole: tuple[int, ...] = tuple(view._saved_self_sym_sizes)
    made = output_shape(view, 0)
    if (dim := layouts.channel_dim_before(view)) is not None:
        return viewed(whole, made, dim) is None
    if len(whole) == 1:
        return whole[0] not in made
    if len(made) > len(whole) and made[: len(whole) - 1] == whole[:-1]:
        return True
    if len(whole) == 4 and _guess(whole) == 1 and made[3:] == whole[2:]:
        return made[1] * made[2] == whole[1]
    kept = whole[-1] == made[-1] or whole[1:2] == made[1:2]
    return not kept and _flattening(whole, made) is None


def _concatenation(layouts: Layouts, operation: Any, place: int) -> IndexMap | None:
    shape = output_shape(operation, 0)
    dim = position(operation._saved_dim, len(shape))
    if dim != _channel_dim(layouts, operation, shape):
        return None
    sizes = [
        None if source is None else output_shape(source, n)[dim] for source, n in operation.next_functions
    ]
    if sizes.count(None) > 1:
        return Placed(0, 0)
    known = [shape[dim] - sum(s for s in sizes if s is not None) if size is None else size for size in sizes]
    return Placed(sum(known[:place]), known[place])


def _spreading(layouts: Layouts, operation: Any, place: int) -> IndexMap | None:
    """Where one channel of an input meets all channels of the output."""
    shape, dim = output_shape(operation, 0), layouts.channel_dim(operation)
    if dim is None or shape[dim] == 1:
        return None
    whole = output_shape(*operation.next_functions[place])
    own = dim - len(shape) + len(whole)
    return Spread() if own >= 0 and whole[own] == 1 else None


def _slice(layouts: Layouts, operation: Any) -> IndexMap | None:
    shape = operation._saved_self_sym_sizes
    dim = position(operation._saved_dim, len(shape))
    if dim != _channel_dim(layouts, operation, shape):
        return None
    size = shape[dim]
    return Taken(*saved_slice(operation).indices(size))


def _padding(layouts: Layouts, operation: Any) -> IndexMap | None:
    shape = output_shape(operation, 0)
    dim = _channel_dim(layouts, operation, shape)
    pad = operation._saved_pad  # last dimension first, two numbers a dimension
    place = 2 * (len(shape) - 1 - dim)
    if len(pad) < place + 2 or not any(pad[place : place + 2]):
        return None
    before, after = pad[place], pad[place + 1]
    return Placed(before, shape[dim] - before - after, makes_constants=True)


def _view(layouts: Layouts, operation: Any) -> IndexMap | None:
    whole, made = tuple(operation._saved_self_sym_sizes), output_shape(operation, 0)
    dim = layouts.channel_dim_before(operation)
    if dim is None:
        return _flattening(whole, made)
    view = viewed(whole, made, dim)
    if view is None:
        return None
    if view.within > 1:
        return Reversed(Flattened(view.within))
    if view.after > 1:
        return Flattened(view.after)
    return Tiled(view.before, whole[dim]) if view.before > 1 else None


def _flattening(whole: Sequence[int], flat: Sequence[int]) -> IndexMap | None:
    if len(flat) != 2 or len(whole) not in (3, 4) or flat[0] != whole[0]:
        return None
    positions = prod(whole[2:])
    return Flattened(positions) if positions > 1 and flat[1] == whole[1] * positions else None


def _channel_dim(layouts: Layouts, operation: Any, shape: Sequence[int]) -> int:
    """The channel dimension of an operation's output of this shape."""
    found = layouts.channel_dim(operation)
    return _guess(shape) if found is None else found


def _guess(shape: Sequence[int]) -> int:
    """The last dimension for tokens and for square maps with channels last; the second if it is unclear."""
    last = len(shape) == 3 or (len(shape) == 4 and shape[1] == shape[2] != shape[3])
    return len(shape) - 1 if last else 1
