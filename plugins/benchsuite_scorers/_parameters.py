"""Which parameters of a network belong to a layer's units."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container

    from benchsuite import Layer


def parameter_names(layer: Layer, known: Container[str]) -> list[str]:
    """Return the names of a layer's weight (first), its bias, and its normalisation's scale and shift.

    Each parameter has one row per unit. Those that are not in `known` are left out.
    """
    names = [f"{layer.name}.weight", f"{layer.name}.bias"]
    if layer.norm_name is not None:
        names += [f"{layer.norm_name}.weight", f"{layer.norm_name}.bias"]
    return [name for name in names if name in known]
