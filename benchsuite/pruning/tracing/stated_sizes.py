"""Sizes that stand in attributes of modules, such as the numbers by which a network splits its channels.

While a network is recorded, its modules' attributes hold numbers that know where they come from. Where one of
them divides or shapes a tensor, it counts channels, and is made smaller when they are removed.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from benchsuite.pruning.axes import Axis, axes_of
from benchsuite.pruning.tracing.layouts import VIEWS, position, saved_slice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    Integers = NDArray[np.int64]

_SPLITS = (torch.split, Tensor.split, torch.split_with_sizes, Tensor.split_with_sizes)
_SHAPINGS = (Tensor.view, Tensor.reshape, torch.reshape)
_UNFLATTENINGS = (Tensor.unflatten, torch.unflatten)
_COUNTED = (
    *("in_features", "out_features", "in_channels", "out_channels", "groups", "input_size"),
    *("num_features", "num_channels", "num_groups", "normalized_shape", "num_parameters"),
)
"""Attributes of torch's layers, which follow when a layer is cut."""
_INDEXING = ("SliceBackward", "SelectBackward", "UnsqueezeBackward", "AliasBackward")
_SIZES = ("split_size_or_sections", "split_size", "split_sizes", "shape", "size")
"""How the functions call the argument that has the sizes."""


@dataclass(frozen=True)
class StatedSize:
    """A number in an attribute that counts channels of a tensor.

    Attributes:
        axis: the attribute; it has as many entries as the number says.
        dim: the dimension of the tensor.
        first: the first channel that is counted.
        last: the channel after the last one.
        size: after so many channels the count begins anew, as where a tensor is split into equal parts.
        times: the attribute is so many times as large.
        of_input: whether the tensor is what the operation reads, and not what it makes.
    """

    axis: Axis
    dim: int
    first: int
    last: int
    size: int
    times: int
    of_input: bool

    def entries(self, numbers: Integers) -> tuple[Integers, Integers]:
        """Which of the given channels are counted, and the entry of the axis that stands for each.

        Where the attribute is several times as large, each channel has several entries.
        """
        which = np.flatnonzero((numbers >= self.first) & (numbers < self.last))
        entries = (numbers[which] - self.first) % self.size
        copies = np.repeat(np.arange(self.times), len(which))
        return np.tile(which, self.times), np.tile(entries, self.times) + copies * self.size


@dataclass(frozen=True, eq=False)
class StatedSizes:
    """What attributes say about the operations of one forward pass.

    Attributes:
        of: by recorded operation, the numbers that count its channels.
        divided: operations that take parts of a tensor by such numbers alone, so that each part may become
            smaller without the others.
    """

    of: dict[Any, list[StatedSize]] = field(default_factory=dict)
    divided: set[Any] = field(default_factory=set)


class _Number(int):
    """A number that an attribute holds, or a part of it, which knows the attribute."""

    axis: Axis
    times: int

    def __new__(cls, value: int, axis: Axis, times: int = 1) -> Self:
        made = super().__new__(cls, value)
        made.axis, made.times = axis, times
        return made

    def __getnewargs__(self) -> tuple[int, Axis, int]:  # type: ignore[override]  # typeshed knows int's alone
        return int(self), self.axis, self.times

    def __floordiv__(self, other: Any) -> Any:
        quotient = int(self) // other
        if isinstance(other, int) and other > 0 and quotient * other == self:
            return _Number(quotient, self.axis, self.times * other)
        return quotient

    def __neg__(self) -> int:
        return _Number(-int(self), self.axis, self.times)


@contextmanager
def stated_sizes(model: nn.Module) -> Iterator[StatedSizes]:
    """Note, while the network runs, which numbers in its modules' attributes count channels.

    Args:
        model: the network; its attributes are as before afterwards.
    """
    held: list[tuple[nn.Module, str, Any, Any]] = []
    for name, module in model.named_modules():
        if type(module).__module__.partition(".")[0] == "torch" and not isinstance(module, nn.Unflatten):
            continue  # what its own modules hold is known
        counted = _COUNTED if any(True for _ in axes_of(name, module)) else ()
        for attribute, value in [*vars(module).items()]:
            if attribute not in counted and (known := _knowing(name, attribute, value)) is not value:
                held.append((module, attribute, value, known))
                vars(module)[attribute] = known
    found = StatedSizes()
    try:
        with _Noting(found):
            yield found
    finally:
        for module, attribute, value, known in held:
            if vars(module).get(attribute) is known:
                vars(module)[attribute] = value


def _knowing(name: str, attribute: str, value: Any) -> Any:
    """A number of an attribute, or each of several, as one that knows the attribute; all else as it is."""
    if type(value) is int and value > 1:
        return _Number(value, Axis(name, "size", attribute=attribute))
    if type(value) in (tuple, list) and any(type(each) is int and each > 1 for each in value):
        return type(value)(
            _Number(each, Axis(name, "size", place, attribute)) if type(each) is int and each > 1 else each
            for place, each in enumerate(value)
        )
    return value


class _Noting(TorchFunctionMode):
    """Notes the numbers by which tensors are split, sliced and shaped."""

    def __init__(self, found: StatedSizes) -> None:
        super().__init__()
        self._found = found

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        result = func(*args, **kwargs)
        if func in _SPLITS:
            self._note_split(result, _sizes(args, kwargs))
        elif func in _SHAPINGS:
            self._note_view(result, _sizes(args, kwargs))
        elif func in _UNFLATTENINGS and len(args) > 2:
            self._note_view(result, [*result.shape[: args[1] % args[0].ndim], *args[2]])
        elif func is Tensor.__getitem__:
            self._note_slices(result, args[1])
        return result

    def _note_split(self, parts: Sequence[Tensor], sizes: Sequence[Any]) -> None:
        operation: Any = parts[0].grad_fn if parts else None
        if operation is None or not operation.name().startswith("Split"):
            return
        dim = position(operation._saved_dim, parts[0].ndim)
        whole, start = sum(part.shape[dim] for part in parts), 0
        for size in sizes:
            last = whole if len(sizes) == 1 else start + size
            self._add(operation, size, dim, (start, last), of_input=False)
            start += size
        if all(isinstance(size, _Number) for size in sizes):
            self._found.divided.add(operation)

    def _note_view(self, made: Tensor, sizes: Sequence[Any]) -> None:
        operation = made.grad_fn
        if operation is not None and operation.name().startswith(VIEWS) and len(sizes) <= made.ndim:
            for dim, size in enumerate(sizes):
                self._add(operation, size, dim, (0, made.shape[dim]), of_input=False)

    def _note_slices(self, made: Any, index: Any) -> None:
        items = [
            item for item in (index if isinstance(index, tuple) else (index,)) if isinstance(item, slice)
        ]
        for operation in _slices_before(made.grad_fn) if items else ():
            dim = position(operation._saved_dim, len(operation._saved_self_sym_sizes))
            whole = operation._saved_self_sym_sizes[dim]
            taken = range(*saved_slice(operation).indices(whole))
            item = next((each for each in items if range(*_plain(each).indices(whole)) == taken), None)
            if item is None or item.step not in (None, 1):
                continue
            bounds = [bound for bound in (item.start, item.stop) if bound is not None and bound != 0]
            for bound in bounds:
                counted = (0, int(bound)) if bound > 0 else (whole + int(bound), whole)
                self._add(operation, bound, dim, counted, of_input=True)
            if bounds and all(isinstance(bound, _Number) for bound in bounds):
                self._found.divided.add(operation)

    def _add(
        self, operation: Any, number: Any, dim: int, counted: tuple[int, int], *, of_input: bool
    ) -> None:
        """Note what a number of an attribute counts; other numbers are not noted."""
        if isinstance(number, _Number) and number != 0:
            stated = StatedSize(number.axis, dim, *counted, abs(int(number)), number.times, of_input)
            self._found.of.setdefault(operation, []).append(stated)


def _sizes(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Sequence[Any]:
    """The sizes that a function is given, as one argument, as several or by name."""
    given = args[1:] or tuple(kwargs[name] for name in _SIZES if name in kwargs)
    if given and isinstance(given[0], tuple | list):
        return given[0]
    return given


def _slices_before(operation: Any) -> Iterator[Any]:
    """The operations of one indexing that take slices, the last one first."""
    while operation is not None and operation.name().startswith(_INDEXING):
        if operation.name().startswith("SliceBackward"):
            yield operation
        operation = operation.next_functions[0][0]


def _plain(item: slice) -> slice:
    """A slice with plain numbers."""
    start, stop = (None if bound is None else int(bound) for bound in (item.start, item.stop))
    return slice(start, stop, item.step)
