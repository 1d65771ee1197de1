"""Controls made from a scorer's own scores: what a criterion has to beat."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch
    from torch import Tensor

    from benchsuite.contracts.layers import CoupledGroup


def reversed_scores(scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the scores with the order within each layer reversed: the most important unit is removed first.

    Each layer keeps its own values, so its scale relative to other layers does not change.
    """
    turned = {}
    for name, score in scores.items():
        flat = score.flatten()
        order = flat.argsort(stable=True)
        mirrored = flat.clone()
        mirrored[order] = flat[order.flip(0)]
        turned[name] = mirrored.reshape(score.shape)
    return turned


def shuffled_scores(
    scores: Mapping[str, Tensor], generator: torch.Generator, groups: Sequence[CoupledGroup] = ()
) -> dict[str, Tensor]:
    """Return the scores permuted within each layer: the same sparsity per layer, but a random order.

    Layers of one coupled group share one permutation of the group's positions, so that the group's aggregated
    scores are the same numbers in another order. Groups are used for unit scores only; a layer without a
    group, or one with several units per position, is permuted separately.
    """
    import torch

    shared: dict[str, Tensor] = {}
    for group in groups:
        order = torch.randperm(group.size, generator=generator)
        for member in group.members:
            flat = [unit for units in member.units for unit in units]
            simple = all(len(units) == 1 for units in member.units) and len(flat) == group.size
            if simple and member.layer in scores and scores[member.layer].shape == (group.size,):
                places = torch.tensor(flat)
                permutation = torch.empty_like(places)
                permutation[places] = places[order]
                shared.setdefault(member.layer, permutation)
    result = {}
    for name, score in scores.items():
        order = shared[name] if name in shared else torch.randperm(score.numel(), generator=generator)
        result[name] = score.flatten()[order.to(score.device)].reshape(score.shape)
    return result
