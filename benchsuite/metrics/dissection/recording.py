"""A forward pass as a graph of tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from benchsuite.errors import Unsupported
from benchsuite.metrics.dissection.layouts import Layout, Origin, layout_of, token_marks
from benchsuite.metrics.dissection.markers import (
    BY_VALUE,
    JOINING,
    KEEPING,
    OVER_POSITIONS,
    carried,
    varying_dims,
)
from benchsuite.metrics.dissection.places import Observer, Place
from benchsuite.metrics.dissection.unit_marks import UnitMarks, joined_tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchsuite.metrics.dissection.markers import Joined

    Follow = Callable[[list[Tensor | None], Joined], list[Tensor | None]]

_WEIGHTED = frozenset(
    {f"conv{kind}{n}d" for kind in ("", "_transpose") for n in (1, 2, 3)}
    | {"linear", "bilinear", "matmul", "__matmul__", "addmm", "bmm", "baddbmm", "einsum", "tensordot"}
    | {"multi_head_attention_forward", "scaled_dot_product_attention"}
)
"""Functions in which the values of several units are combined with weights."""


@dataclass(eq=False)
class Value:
    """One tensor of a forward pass.

    Attributes:
        index: its number, in the order of computation; 0 is the network's input.
        sources: the numbers of the values that it is computed from.
        shape: its shape.
        function: the function that returned it, or the class of the module if its inside is not visible.
        weighted: whether the function combines the values of several units with weights.
        calls: the numbers of the module calls in which it was computed, the outermost first.
        place: the call that returned it; None if it returned more, or its inside is not visible.
        units: its unit marks, see `UnitMarks`.
        tokens: for tokens, which position of `grid` each value belongs to.
        grid: height and width of the map that the tokens are the positions of.
        origin: which position of an upright map each value comes from; None where it is not known.
        turned: whether its positions are not where they are in the image, or were not in what it comes from.
    """

    index: int
    sources: tuple[int, ...]
    shape: tuple[int, ...]
    function: str
    weighted: bool
    calls: tuple[int, ...]
    place: Place | None = None
    units: Tensor | None = None
    tokens: Tensor | None = None
    grid: tuple[int, int] | None = None
    origin: Origin | None = None
    turned: bool = False

    @property
    def layout(self) -> Layout | None:
        """How it is a map, if it is one."""
        return layout_of(self.shape, self.units, self.tokens, self.grid)


@dataclass(eq=False)
class Call:
    """One call of a module.

    Attributes:
        module: the module.
        around: numbers of the calls in which it is made, the outermost first.
        inputs: numbers of the values it is given.
        output: number of the value it returns; -1 if it returns none.
        place: its name.
    """

    module: nn.Module
    around: tuple[int, ...]
    inputs: frozenset[int]
    output: int = -1
    place: Place | None = None


@dataclass(eq=False)
class Recording:
    """A forward pass.

    Attributes:
        values: its tensors, in the order of computation.
        calls: the module calls.
        output: number of the value that the network returns.
        by_place: the number of the value at each place.
        marks: which units the marks of `Value.units` stand for.
    """

    values: list[Value]
    calls: list[Call]
    output: int
    by_place: dict[Place, int]
    marks: UnitMarks

    def by_name(self, name: str) -> int | None:
        """The number of the value at the place of that name; None if there is none."""
        whole = self.by_place.get(Place(name))  # a module whose name looks like another place's
        return self.by_place.get(Place.parse(name)) if whole is None else whole


def record(model: nn.Module, sample: Tensor) -> Recording:
    """Record one forward pass over `sample`, of which one image is enough.

    Raises:
        Unsupported: the output does not come from the input by functions that can be followed.
    """
    recorder = _Recorder(model, sample)
    with torch.no_grad(), recorder.watching():
        output = model(sample)
    for tensor in _tensors(output):
        if (index := recorder.known.get(tensor)) is not None:
            return Recording(recorder.values, recorder.calls, index, recorder.by_place, recorder.marks)
    raise Unsupported("dissection cannot follow the network's calls from its input to its output")


class _Recorder(Observer):
    def __init__(self, model: nn.Module, sample: Tensor) -> None:
        super().__init__(model)
        self.values: list[Value] = []
        self.calls: list[Call] = []
        self.by_place: dict[Place, int] = {}
        self.marks = UnitMarks()
        self.known = WeakTensorKeyDictionary()
        self._open: list[int] = []
        image = self._add(sample, (), "input", weighted=False)
        if sample.ndim == 4:
            image.origin = Origin.of(image.shape, Layout(1, (image.shape[2], image.shape[3])))

    def entered(self, module: nn.Module, inputs: Any) -> None:
        self.calls.append(Call(module, tuple(self._open), frozenset(self._sources(inputs))))
        self._open.append(len(self.calls) - 1)

    def left(self, place: Place, output: Any) -> None:
        call = self.calls[self._open.pop()]
        module = call.module
        found = _tensors(output)
        for tensor in found:
            if self.known.get(tensor) is None and call.inputs:  # its inside was not visible
                weighted = any(parameter.ndim > 1 for parameter in module.parameters())
                hidden = self._add(tensor, tuple(sorted(call.inputs)), type(module).__name__, weighted)
                hidden.turned = any(self.values[index].turned for index in call.inputs)
        if len(found) != 1 or (index := self.known.get(found[0])) is None:
            return
        call.output, call.place = index, place
        value = self.values[index]
        self.by_place[place] = index
        if isinstance(module, nn.modules.conv._ConvNd) and len(value.shape) == module.weight.ndim:
            value.units = self.marks.of_layer(place.module, value.shape, dim=1)
        elif isinstance(module, nn.Linear):
            value.units = self.marks.of_layer(place.module, value.shape, dim=-1)

    def called(self, place: Place, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        # Looked up before the call, which may change a tensor in place.
        given = [t for t in _tensors((args, kwargs)) if self.known.get(t) is not None]
        sources = [self.values[self.known[t]] for t in given]
        result = func(*args, **kwargs)
        results = _tensors(args[0] if place.function == "__setitem__" else result)
        if not sources or not results:
            return result
        if place.function in KEEPING and any(result is tensor for tensor in given):  # nothing was done
            self.by_place[place] = self.known[result]
            return result
        indices = tuple(dict.fromkeys(value.index for value in sources))
        added = [
            self._add(tensor, indices, place.function, place.function in _WEIGHTED) for tensor in results
        ]
        if len(added) == 1:
            added[0].place = place
            self.by_place[place] = added[0].index
        self._mark(place.function, func, args, kwargs, given, sources, results, added)
        return result

    def _mark(
        self,
        name: str,
        func: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        given: Sequence[Tensor],
        sources: Sequence[Value],
        results: Sequence[Tensor],
        added: Sequence[Value],
    ) -> None:
        def follow(marks: list[Tensor | None], joined: Joined) -> list[Tensor | None]:
            pairs = list(zip(given, marks, strict=True))
            return carried(name, func, args, kwargs, results, pairs, joined)

        units = follow([value.units for value in sources], self.marks.joined)
        if name in _WEIGHTED and len(added) == 1:
            units = [self.marks.of_no_layer(added[0].shape, -1 if name == "linear" else 1)]
            if not name.startswith(("conv", "linear")):
                units = [None]
        for value, mark in zip(added, units, strict=True):
            value.units = mark
        self._mark_tokens(name, follow, sources, added)
        self._orient(name, follow, sources, added)

    def _mark_tokens(
        self, name: str, follow: Follow, sources: Sequence[Value], added: Sequence[Value]
    ) -> None:
        if all(len(value.shape) != 3 for value in (*sources, *added)):
            return
        tokens = [token_marks(value.shape, value.tokens, value.layout) for value in sources]
        grids = [value.grid or (value.layout.grid if value.layout else None) for value in sources]
        if name == "linear":
            found = [_through_linear(tokens[0], added[0].shape)]
        else:
            found = follow(tokens, joined_tokens)
        for value, mark in zip(added, found, strict=True):
            if len(value.shape) == 3 and mark is not None:
                value.tokens = mark
                value.grid = next(g for g, t in zip(grids, tokens, strict=True) if t is not None)

    def _orient(self, name: str, follow: Follow, sources: Sequence[Value], added: Sequence[Value]) -> None:
        """Say where in the image the positions of new values are, and whether they are upright."""
        origins = [value.origin for value in sources]
        known = [origin for origin in origins if origin is not None]
        in_maps = (
            name.startswith("conv") or name in OVER_POSITIONS
        )  # channels first, in the same order as before
        in_place = in_maps or name in BY_VALUE
        found: list[Tensor | None] = [None] * len(added)
        if not in_maps and len({origin.grid for origin in known}) == 1:
            marks = [None if origin is None else origin.numbers for origin in origins]
            if name == "linear":
                found = [_through_linear(marks[0], added[0].shape)]
            else:
                found = follow(marks, joined_tokens)
        # Of a sum the upright terms say where it is; of a concatenation every part does.
        lost = [value.turned for value in sources if value.origin is None and name in JOINING]
        for value, numbers in zip(added, found, strict=True):
            layout = value.layout
            if numbers is None:
                value.turned = any(source.turned or (in_place and _astray(source)) for source in sources)
            else:
                value.origin = Origin(numbers, known[0].grid)
                if name == "pad":  # cropped or trimmed by what follows
                    value.turned = any(source.turned for source in sources)
                    continue
                value.turned = any(lost) or (layout is not None and not value.origin.upright(layout))
            # Of maps in the place of images: windows that stand there are not the image.
            of_images = len(value.shape) == 4 and value.shape[0] == self.values[0].shape[0]
            if of_images and not value.turned and (in_maps or value.origin) and layout is not None:
                value.origin = Origin.of(value.shape, layout) if max(layout.grid) > 1 else None

    def _sources(self, given: Any) -> list[int]:
        return [index for t in _tensors(given) if (index := self.known.get(t)) is not None]

    def _add(self, tensor: Tensor, sources: tuple[int, ...], function: str, weighted: bool) -> Value:
        value = Value(len(self.values), sources, tuple(tensor.shape), function, weighted, tuple(self._open))
        self.values.append(value)
        self.known[tensor] = value.index
        return value


def _tensors(nested: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(nested) if isinstance(leaf, Tensor)]


def _through_linear(tokens: Tensor | None, shape: tuple[int, ...]) -> Tensor | None:
    """The token marks after a linear layer, which mixes what stands along the last dimension."""
    if tokens is None or tokens.ndim - 1 in varying_dims(tokens):
        return None
    return tokens[..., :1].expand(shape)


def _astray(value: Value) -> bool:
    """Whether it is no map of known units, such as the image itself, and not upright as channels first."""
    if value.origin is None or value.layout is not None or len(value.shape) != 4:
        return False
    return not value.origin.upright(Layout(1, (value.shape[2], value.shape[3])))
