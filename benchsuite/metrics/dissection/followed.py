"""Which units of the dense network the maps of a pruned network come from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchsuite.metrics.dissection.recording import record

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from torch import Tensor, nn

    from benchsuite.metrics.dissection.unit_marks import Unit

Sources = tuple[frozenset["Unit"], ...]
"""By unit of an output, the units of layers that it is the sum, the copy or the concatenation of."""


def unit_sources(model: nn.Module, names: Sequence[str], sample: Tensor) -> dict[str, Sources | None]:
    """Follow the units of all layers through one forward pass to the outputs of some places.

    Additions tie units to each other, concatenations and shuffles move them; the units of an output are those
    that arrive there.

    Args:
        model: the dense network, in evaluation mode.
        names: of modules or places, as `Place` writes them.
        sample: an input; one image is used.

    Returns:
        By name; None where the units cannot be followed.
    """
    recording = record(model, sample[:1])
    found: dict[str, Sources | None] = {}
    for name in names:
        index = recording.by_name(name)
        value = None if index is None else recording.values[index]
        if value is None or value.units is None or value.layout is None:
            found[name] = None
            continue
        sources = recording.marks.sources(value.units, value.layout.unit_dim)
        found[name] = None if sources is None else tuple(sources)
    return found


def units_left(sources: Sources, gone: Mapping[str, Collection[int]]) -> tuple[int, ...] | None:
    """The units of an output that are left; None if the layers do not agree, and nothing is known.

    Args:
        sources: as `unit_sources` gives them.
        gone: by layer, its removed units.
    """
    left = []
    for number, units in enumerate(sources):
        removed = {unit in gone.get(layer, ()) for layer, unit in units}
        if len(removed) > 1:
            return None
        if removed != {True}:
            left.append(number)
    return tuple(left)
