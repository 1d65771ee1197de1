"""Applying a criterion's own rule of what to remove."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch

from benchsuite.pruning.axes import read_weights

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor, nn

    from benchsuite.contracts.layers import CoupledGroup
    from benchsuite.pruning.graph import PruningGraph


def positions_to_remove(group: CoupledGroup, keep: Mapping[str, Tensor]) -> tuple[int, ...]:
    """The positions of which the rule keeps no unit, in the layers that the rule covers."""
    spoken = [member for member in group.members if member.layer in keep]
    if not spoken:
        return ()
    return tuple(
        position
        for position in range(group.size)
        if not any(bool(keep[m.layer][list(m.units[position])].any()) for m in spoken)
    )


def merge_units(
    model: nn.Module,
    graph: PruningGraph,
    merges: Mapping[str, Sequence[Sequence[int]]],
    removed: Mapping[str, Sequence[int]],
) -> nn.Module:
    """Return a copy in which the outgoing weights of removed twins are added to those of the kept unit.

    Args:
        model: the dense network.
        graph: its pruning graph.
        merges: by layer, pairs (removed unit, kept unit).
        removed: by group, the positions that will be removed. A unit that is kept because of a coupled layer
            is not merged; if coupled layers name different twins, the first one counts.
    """
    merged = copy.deepcopy(model)
    for group in graph.groups:
        twins = _twins(group, merges, frozenset(removed.get(group.name, ())))
        added: set[Tensor] = set()  # layers may share a weight
        for cut in graph.cuts[group.name]:
            if cut.axis.side not in ("in", "sequence"):
                continue
            for weight, dim in read_weights(merged.get_submodule(cut.axis.name)):
                for gone, kept in twins.items() if weight not in added else ():
                    source, target = cut.entries[gone].tolist(), cut.entries[kept].tolist()
                    _add(weight.transpose(0, dim), source, target)
                added.add(weight)
    return merged


def _twins(
    group: CoupledGroup, merges: Mapping[str, Sequence[Sequence[int]]], removed: frozenset[int]
) -> dict[int, int]:
    """By removed position of the group, the position that it is merged into."""
    twins: dict[int, int] = {}
    for member in group.members:
        place = {unit: position for position, units in enumerate(member.units) for unit in units}
        for gone, kept in merges.get(member.layer, ()):
            source, target = place.get(gone), place.get(kept)
            if source in removed and target is not None and target not in removed:
                twins.setdefault(source, target)
    return twins


def _add(weight: Tensor, source: list[int], target: list[int]) -> None:
    with torch.no_grad():
        weight[target] += weight[source]
