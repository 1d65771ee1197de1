"""How the scores of layers meet: normalised by layer, and one for each position of a coupled group."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from benchsuite.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchsuite.contracts.layers import CoupledGroup
    from benchsuite.pruning.graph import PruningGraph
    from benchsuite.pruning.settings import Aggregate, Normalise, PruningSettings


def normalised(scores: Tensor, how: Normalise, among: Tensor | None = None) -> Tensor:
    """One layer's scores, float64, divided by the mean or largest absolute value or the Euclidean norm.

    Scores that are all zero stay as they are.

    Args:
        scores: the layer's scores.
        how: by what to divide.
        among: bool, which of the scores that is computed from; by default all.
    """
    scores = scores.detach().double()
    counted = scores if among is None else scores[among.to(scores.device)]
    if how == "none" or counted.numel() == 0:
        return scores
    size = counted.abs()
    scale = {"mean": size.mean(), "max": size.max(), "l2": counted.norm()}[how]
    return scores / torch.where(scale > 0, scale, torch.ones_like(scale))


def group_scores(
    graph: PruningGraph, scores: Mapping[str, Tensor], settings: PruningSettings
) -> dict[str, Tensor]:
    """One score per position of every coupled group, float64 on the CPU, higher is more important.

    Each layer's scores are normalised, by those of its units that can be removed; those of units at the same
    position of a layer are aggregated, then those of the group's layers that have scores.

    Args:
        graph: the network's pruning graph.
        scores: by layer name, one score per unit, shape (units,).
        settings: how to normalise and aggregate.

    Raises:
        Unsupported: no layer of some group has scores.
    """
    units = {layer.name: layer.units for layer in graph.layers}
    for name, given in scores.items():
        if name in units and tuple(given.shape) != (units[name],):
            raise ValueError(f"scores of {name} have shape {tuple(given.shape)}; it has {units[name]} units")
    removable = {name: torch.zeros(count, dtype=torch.bool) for name, count in units.items()}
    for group in graph.groups:
        for member in group.members:
            removable[member.layer][torch.tensor(member.units).flatten()] = True
    scaled = {
        name: normalised(given, settings.normalise, removable[name]).cpu()
        for name, given in scores.items()
        if name in units
    }
    unscored = [group.members[0].layer for group in graph.groups if not _scored(group, scaled)]
    if unscored:
        shown = ", ".join(unscored[:5]) + (" and others" if len(unscored) > 5 else "")
        raise Unsupported(
            f"the criterion gives no scores for {shown}, nor for layers that are coupled with it; [pruning] "
            f"keep leaves such layers whole: keep = {json.dumps(unscored[:5])}"
        )
    return {group.name: _position_scores(group, scaled, settings.aggregate) for group in graph.groups}


def _scored(group: CoupledGroup, scores: Mapping[str, Tensor]) -> bool:
    return any(member.layer in scores for member in group.members)


def _position_scores(group: CoupledGroup, scores: Mapping[str, Tensor], how: Aggregate) -> Tensor:
    rows = []
    for member in group.members:
        if member.layer in scores:
            units = torch.tensor(member.units)
            rows.append(_aggregated(scores[member.layer][units], how))
    return _aggregated(torch.stack(rows, dim=1), how)


def _aggregated(values: Tensor, how: Aggregate) -> Tensor:
    """Reduce the second dimension."""
    if how == "mean":
        return values.mean(1)
    return values.sum(1) if how == "sum" else values.amax(1)
