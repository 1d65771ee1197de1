"""How much of some layers goes, as plain data, which a suite is read and planned with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LAYERS = "layers"
"""What stands in place of a sparsity where a suite names layers with a target each."""


def holds_masks(granularity: object) -> bool:
    """Whether weights are held at zero in trials of a granularity; in "unit+weight" those of some layers."""
    return isinstance(granularity, str) and "weight" in granularity.split("+")


@dataclass(frozen=True)
class Threshold:
    """What scores less goes."""

    value: float


@dataclass(frozen=True)
class Width:
    """Each layer keeps so many units."""

    units: int


Target = float | Literal["native"] | Threshold | Width
"""How much of some layers goes: a fraction of their units or weights, or what says it instead."""


@dataclass(frozen=True)
class LayerTarget:
    """Some layers and how much of them goes.

    Attributes:
        patterns: of the layers' names.
        target: how much goes.
    """

    patterns: tuple[str, ...]
    target: Target
