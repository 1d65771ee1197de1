"""Which units of a dense network are left in a pruned one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchsuite.pruning.graph import PruningGraph


def kept_units(graph: PruningGraph, removed: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """By layer, the dense indices of the units that are left."""
    gone: dict[str, set[int]] = {}
    for group in graph.groups:
        for member in group.members:
            units = (u for position in removed.get(group.name, ()) for u in member.units[position])
            gone.setdefault(member.layer, set()).update(units)
    kept = {
        layer.name: tuple(u for u in range(layer.units) if u not in gone.get(layer.name, ()))
        for layer in graph.layers
    }
    return kept | {name: kept[first] for name, first in graph.shared.items() if first in kept}
