"""Marks that travel with the values of a forward pass: which unit a value belongs to, which token it is.

A mark is an integer for every value of a tensor, in a tensor of the same shape. Functions that move values
are applied to the marks as well; functions that work value by value keep them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from benchsuite.scoring.points import NONLINEAR, NORMS

NOTHING = -1
"""The mark of values that belong to no unit or token, such as padding."""

_MOVING = frozenset(
    {"view", "view_as", "reshape", "reshape_as", "flatten", "unflatten", "permute", "transpose", "movedim"}
    | {"moveaxis", "swapaxes", "swapdims", "t", "squeeze", "unsqueeze", "chunk", "split", "tensor_split"}
    | {"unsafe_chunk", "split_with_sizes", "unbind", "narrow", "select", "__getitem__", "index_select"}
    | {"roll", "flip", "expand", "expand_as", "repeat", "tile", "pixel_unshuffle", "pixel_shuffle"}
    | {"channel_shuffle", "contiguous", "clone", "detach", "rot90", "fliplr", "flipud", "adjoint"}
    | {"__get__"}  # of attributes such as `mT`
)
JOINING = frozenset({"cat", "concat", "concatenate", "stack"})
DROPPING = frozenset(
    {"dropout", "dropout_", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_dropout"}
)
ADDING = frozenset({"add", "add_", "__add__", "__iadd__", "__radd__", "sub", "sub_", "__sub__"})
_ARITHMETIC = frozenset({"add", "sub", "mul", "div", "true_divide", "pow"})
BY_VALUE = (
    NONLINEAR
    | NORMS
    | _ARITHMETIC
    | {f"{name}_" for name in _ARITHMETIC}
    | {f"__{kind}{name}__" for name in ("add", "sub", "mul", "truediv", "pow") for kind in ("", "i", "r")}
    | DROPPING
    | {"neg", "abs", "exp", "log", "sqrt", "square", "sign", "erf", "clamp_max", "maximum", "minimum"}
    | {"to", "float", "double", "half", "type", "type_as", "normalize", "rms_norm", "local_response_norm"}
    | {"addcmul", "addcmul_", "lerp", "where", "masked_fill", "masked_fill_"}
)
OVER_POSITIONS = frozenset(
    {f"{kind}_pool{n}d" for kind in ("max", "avg", "lp", "adaptive_max", "adaptive_avg") for n in (1, 2, 3)}
    | {"interpolate", "upsample", "fractional_max_pool2d"}
)

KEEPING = _MOVING | JOINING | OVER_POSITIONS | DROPPING | {"to", "float"}
"""Functions that return values they were given, or means or maxima of such."""

Joined = Callable[[Tensor, Tensor], Tensor | None]
"""What two marks of the same values come to; None if they contradict each other."""


def carried(
    name: str,
    func: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    results: Sequence[Tensor],
    marks: Sequence[tuple[Tensor, Tensor | None]],
    joined: Joined,
) -> list[Tensor | None]:
    """The marks of a function's results; None where they are not known.

    Args:
        name: the function's name.
        func: the function.
        args: its arguments.
        kwargs: its arguments by keyword.
        results: the tensors it returned.
        marks: the tensors among its arguments that are computed from the network's input, and their marks.
        joined: how the marks of two operands of the same shape are brought together.
    """
    unknown: list[Tensor | None] = [None] * len(results)
    if all(mark is None for _, mark in marks):
        return unknown
    if name in BY_VALUE:
        return [_by_value(result, marks, joined) for result in results]
    if name in OVER_POSITIONS:
        return [_over_positions(result, marks[0][1]) for result in results]
    if name in JOINING:
        longer = _lengthened(name, args, kwargs, results[0], marks, joined)
        return [_concatenated(func, args, kwargs, results[0], marks) if longer is None else longer]
    if name in _MOVING or name == "pad":
        moved = _moved(name, func, args, kwargs, marks)
        if [None if m is None else m.shape for m in moved] == [r.shape for r in results]:
            return moved
    return unknown


def varying_dims(mark: Tensor) -> list[int]:
    """The dimensions, but the first, along which the marks are not all the same."""
    return [
        dim
        for dim in range(1, mark.ndim)
        if mark.shape[dim] > 1
        and mark.stride(dim) != 0
        and not bool((mark.narrow(dim, 0, 1) == mark.narrow(dim, 1, mark.shape[dim] - 1)).all())
    ]


def _by_value(result: Tensor, marks: Sequence[tuple[Tensor, Tensor | None]], joined: Joined) -> Tensor | None:
    """Operands of the result's own shape count; a gate that is broadcast counts where there is no other."""
    known = [(tensor, mark) for tensor, mark in marks if mark is not None]
    whole = [mark for tensor, mark in known if tensor.shape == result.shape]
    if not whole:
        if any(tensor.shape == result.shape for tensor, _ in marks):
            return None
        try:
            return torch.broadcast_to(known[0][1], result.shape)
        except RuntimeError:  # of another shape altogether
            return None
    found: Tensor | None = whole[0]
    for other in whole[1:]:
        if found is not None and found is not other:
            found = joined(found, other)
    return found


def _over_positions(result: Tensor, mark: Tensor | None) -> Tensor | None:
    if mark is None or mark.ndim != result.ndim or any(dim > 1 for dim in varying_dims(mark)):
        return None
    once = (slice(None), slice(None), *(slice(0, 1) for _ in mark.shape[2:]))
    return mark[once].expand(result.shape)


def _moved(
    name: str,
    func: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    marks: Sequence[tuple[Tensor, Tensor | None]],
) -> list[Tensor | None]:
    if name == "pad":
        mode = kwargs.get("mode", args[2] if len(args) > 2 else "constant")
        if mode == "constant":
            args, kwargs = args[:2], {**kwargs, "value": NOTHING}
    source, mark = marks[0]
    if mark is None:
        return []
    # A view needs values that lie in order.
    own = mark.contiguous() if name.startswith("view") else mark
    moved = func(*_replaced(args, source, own), **_replaced(kwargs, source, own))
    return [moved] if isinstance(moved, Tensor) else list(moved)


def _lengthened(
    name: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    result: Tensor,
    marks: Sequence[tuple[Tensor, Tensor | None]],
    joined: Joined,
) -> Tensor | None:
    """The marks if they do not vary along the dimension of a concatenation, as units along that of tokens.

    What is concatenated with them without marks of its own, such as a class token, has the same.
    """
    known = [mark for _, mark in marks if mark is not None]
    dim = kwargs.get("dim", kwargs.get("axis", args[1] if len(args) > 1 else 0)) % result.ndim
    if name == "stack" or any(dim in (vary := varying_dims(mark)) or not vary for mark in known):
        return None
    found: Tensor | None = known[0].narrow(dim, 0, 1)
    for other in known[1:]:
        if found is not None:
            found = joined(found, other.narrow(dim, 0, 1))
    return None if found is None else found.expand(result.shape)


def _concatenated(
    func: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    result: Tensor,
    marks: Sequence[tuple[Tensor, Tensor | None]],
) -> Tensor | None:
    known = {id(tensor): mark for tensor, mark in marks if mark is not None}

    def mark_of(tensor: Any) -> Any:
        if not isinstance(tensor, Tensor):
            return tensor
        nothing = torch.tensor(NOTHING, dtype=torch.int32).expand(tensor.shape)
        return known.get(id(tensor), nothing)

    found: Tensor = func(*tree_map(mark_of, args), **tree_map(mark_of, kwargs))
    return compact(found) if found.shape == result.shape else None


def compact(mark: Tensor) -> Tensor:
    """The same marks, held once along every dimension where they are all the same."""
    varying = [0, *varying_dims(mark)]
    once = mark[tuple(slice(None) if dim in varying else slice(0, 1) for dim in range(mark.ndim))]
    return once.clone().expand(mark.shape)


def _replaced(value: Any, source: Tensor, mark: Tensor) -> Any:
    """Arguments for marks, which are on the CPU, as other arguments such as indices then must be."""

    def argument(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        return mark if leaf is source else leaf.cpu()

    return tree_map(argument, value)
