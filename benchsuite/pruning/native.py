"""Carrying out a criterion's own rule of what to remove."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor, nn

    from benchsuite.layers import CoupledGroup
    from benchsuite.pruning.graph import PruningGraph


def positions_to_remove(group: CoupledGroup, keep: Mapping[str, Tensor]) -> tuple[int, ...]:
    """The positions none of whose units is kept by the rule, in the layers that it speaks of."""
    spoken = [member for member in group.members if member.layer in keep]
    if not spoken:
        return ()
    return tuple(
        position
        for position in range(group.size)
        if not any(bool(keep[m.layer][list(m.units[position])].any()) for m in spoken)
    )


def merge_units(
    model: nn.Module, graph: PruningGraph, merges: Mapping[str, Sequence[Sequence[int]]]
) -> nn.Module:
    """Return a copy in which whatever reads a kept unit reads it with its removed twins' weights added.

    Args:
        model: the dense network.
        graph: its pruning graph.
        merges: by layer, pairs (removed unit, kept unit).
    """
    merged = copy.deepcopy(model)
    for group in graph.groups:
        for member in group.members:
            place = {unit: position for position, units in enumerate(member.units) for unit in units}
            for gone, kept in merges.get(member.layer, ()):
                for cut in graph.cuts[group.name]:
                    if cut.axis.side == "in":
                        weight = merged.get_submodule(cut.axis.name).get_parameter("weight")
                        _add(weight, cut.entries[place[gone]].tolist(), cut.entries[place[kept]].tolist())
    return merged


def _add(weight: Tensor, source: list[int], target: list[int]) -> None:
    with torch.no_grad():
        weight[:, target] += weight[:, source]
