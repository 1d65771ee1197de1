"""The outputs of a network's stages."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from torch import nn

from benchsuite.errors import Unsupported
from benchsuite.metrics.dissection.markers import ADDING, DROPPING, JOINING, KEEPING
from benchsuite.metrics.dissection.recording import record
from benchsuite.metrics.dissection.trunk import immediate_dominators, leading_to_output, trunk
from benchsuite.scoring.points import NONLINEAR

if TYPE_CHECKING:
    from torch import Tensor

    from benchsuite.metrics.dissection.places import Place
    from benchsuite.metrics.dissection.recording import Recording, Value

_SMALLER = 0.75
"""A stage ends where height or width shrinks to less than this; convolutions without padding trim edges."""
_POSITIONS, _SHARE = 2, 0.1
"""How many positions, or what share of them, height and width may differ from the image's proportion."""


def choose_layers(model: nn.Module, sample: Tensor) -> tuple[str, ...]:
    """Return the names of the outputs of a network's stages, in order.

    Only tensors on the trunk count: those through which everything passes from the input to the output, so
    that nothing bypasses them. A stage is a row of maps on the trunk, one after the other, of about the same
    height and width; its output is the last of them that is the output of a block (a module that adds its
    input to what it computes, concatenates branches, or is of the same class as such a module), or that
    comes after a non-linearity. The inside of blocks is left out, and so are stages without weights of their
    own, such as a pooling at the end, stages without any block or non-linearity (if the network has one),
    maps of a single position, maps that are not upright or come from such, and what is computed after the
    last weights, where units are classes. Tokens are maps where it is known which position each is.

    Raises:
        Unsupported: there is no such tensor; the message says why.
    """
    recording = record(model, sample[:1])
    chosen = stage_outputs(recording)
    return tuple(str(name_of(recording, value)) for value in chosen)


def stage_outputs(recording: Recording) -> list[Value]:
    """The outputs of the stages; see `choose_layers`."""
    passed = trunk(recording)
    last_weights = max((v.index for v in leading_to_output(recording) if v.weighted), default=-1)
    scores = len(recording.values[recording.output].shape) == 2
    blocks = _blocks(recording)
    maps = [v for v in passed if _is_map(v, recording.values[0])]
    if not maps:
        kinds = ", ".join(sorted({str(v.shape) for v in passed[1:]}))
        raise Unsupported(
            "dissection needs maps of more than one position, or tokens at known positions, that everything"
            f" passes through on its way to the output; what everything passes through has the shapes {kinds}"
        )
    upright = [v for v in maps if not v.turned]
    if not upright:
        raise Unsupported(
            "dissection needs maps that stand as the image does; what everything passes through is"
            f" transposed, mirrored, moved or cropped from {name_of(recording, maps[0])} on"
        )
    active = _active(recording)
    rows = _rows(recording, blocks)
    found: list[Value] = []
    weak: list[Value] = []
    before = 0
    for stage in _stages(upright):
        inside = [v for v in stage if _visible(recording, v, blocks)]
        if scores:
            inside = [v for v in inside if v.index < last_weights]
        ends = [v for v in inside if v.index in active or _block_output(recording, v, blocks, rows)]
        if not inside:
            continue
        last = _undropped(recording, (ends or inside)[-1])
        if any(v.weighted for v in recording.values[before + 1 : last.index + 1]):
            (found if ends else weak).append(last)
        if ends:
            before = last.index
    unread = [
        v
        for v in passed
        if before < v.index < last_weights
        and v.layout is None
        and len(v.shape) > 2
        and _visible(recording, v, blocks)
        and _block_output(recording, v, blocks, rows)
    ]
    if unread:
        raise Unsupported(
            "dissection does not know which position of the image each value of"
            f" {name_of(recording, unread[-1])}, {unread[-1].shape}, belongs to; name the layers to dissect"
            " in the suite"
        )
    if not found and (active or blocks):
        weak = []
    if not (found or weak):
        raise Unsupported(
            "dissection needs maps after a block or a non-linearity that everything passes through, before"
            " the last layer with weights, whose units are classes"
        )
    return found or weak


def name_of(recording: Recording, value: Value) -> Place:
    """The name of a value: of the largest module that it is computed in and that returns it, or of the call.

    The name of a convolution stands for what follows it, so its own output is named by the call.
    """
    for number in value.calls[1:]:  # the first is the network itself
        call = recording.calls[number]
        if call.output == value.index and call.place is not None:
            if isinstance(call.module, nn.Conv2d) and value.place is not None:
                return value.place
            return call.place
    if value.place is None:  # a module whose inside is not visible, or one of several results
        place = next((p for p, index in recording.by_place.items() if index == value.index), None)
        if place is None:
            raise Unsupported("dissection cannot name the output of a stage; name the layers in the suite")
        return place
    return value.place


def _stages(maps: list[Value]) -> list[list[Value]]:
    stages = [[maps[0]]]
    for before, value in pairwise(maps):
        assert before.layout is not None
        assert value.layout is not None
        first = stages[-1][0].layout
        assert first is not None
        old, new, start = before.layout.grid, value.layout.grid, first.grid
        same = all(_SMALLER * s <= n <= o for s, o, n in zip(start, old, new, strict=True))
        if same:
            stages[-1].append(value)
        else:
            stages.append([value])
    return stages


def _active(recording: Recording) -> set[int]:
    """The values that come out of a non-linearity, whatever was pooled, moved or put together since."""
    active: set[int] = set()
    for value in recording.values[1:]:
        sources = [s in active for s in value.sources]
        gates = [s in active for s in value.sources if recording.values[s].shape == value.shape]
        if (
            value.function in NONLINEAR
            or (value.function in KEEPING and all(sources))
            or (value.function in ("mul", "mul_", "div", "div_", "__mul__", "__rmul__") and any(gates))
        ):
            active.add(value.index)
    return active


def _blocks(recording: Recording) -> set[type[nn.Module]]:
    """The classes of modules in which ways part at the module's input and come together again."""
    parents = immediate_dominators(recording)
    found: set[type[nn.Module]] = set()
    for value in recording.values:
        if len(value.sources) < 2 or value.function not in ADDING | JOINING:
            continue
        for number in reversed(value.calls[1:]):  # the first is the network itself
            call = recording.calls[number]
            if parents[value.index] in call.inputs:
                if not isinstance(call.module, nn.Sequential | nn.ModuleList | nn.ModuleDict):
                    found.add(type(call.module))
                break
    return found


def _visible(recording: Recording, value: Value, blocks: set[type[nn.Module]]) -> bool:
    """Whether no block is around it, or it is the output of those that are."""
    around = (recording.calls[number] for number in value.calls)
    return all(type(call.module) not in blocks or call.output == value.index for call in around)


def _block_output(
    recording: Recording, value: Value, blocks: set[type[nn.Module]], rows: set[tuple[int, ...]]
) -> bool:
    """Whether it is the output of a block, or of a module that stands in a row with blocks."""
    for number in value.calls:
        call = recording.calls[number]
        if call.output == value.index and (type(call.module) in blocks or call.around[-1:] in rows):
            return True
    return False


def _rows(recording: Recording, blocks: set[type[nn.Module]]) -> set[tuple[int, ...]]:
    """The calls of sequences that have blocks in them, each as a tuple of one."""
    holding = {n for call in recording.calls if type(call.module) in blocks for n in call.around}
    return {(n,) for n in holding if isinstance(recording.calls[n].module, nn.Sequential)}


def _undropped(recording: Recording, value: Value) -> Value:
    """What a value was before dropout, which changes nothing in evaluation."""
    while value.function in DROPPING:
        value = recording.values[value.sources[0]]
    return value


def _is_map(value: Value, image: Value) -> bool:
    """Whether it has positions, and in about the proportion of the image: windows in a row have not."""
    if value.layout is None or max(value.layout.grid) == 1:
        return False
    (height, width), (tall, wide) = value.layout.grid, image.shape[-2:]
    return abs(height - width * tall / wide) <= max(_POSITIONS, _SHARE * height)
