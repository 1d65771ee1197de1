"""The 2:4 pattern: of every four consecutive weights, the two best are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from benchsuite.errors import Unsupported
from benchsuite.pruning.masks import WeightSelection

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from benchsuite.pruning.graph import PruningGraph


def select_two_four(graph: PruningGraph, scores: Mapping[str, Tensor], seed: int) -> WeightSelection:
    """Choose the two weights to keep among every four consecutive inputs of a unit.

    The pattern is that of sparse tensor cores (Mishra et al., 2021): along the input channels, at each
    position of a convolution's kernel. Layers whose inputs cannot be divided by four, such as the first one
    and depthwise convolutions, are not pruned, and neither are layers without scores.

    Args:
        graph: the network's pruning graph.
        scores: by layer name, one score per weight, higher is more important.
        seed: decides the choice among equal scores.

    Raises:
        Unsupported: no layer can have the pattern.
    """
    generator = torch.Generator().manual_seed(seed)
    keep: dict[str, Tensor] = {}
    ties = 0
    for layer in graph.weight_layers:
        # A recurrent layer has two matrices, of its inputs and of its units of the step before.
        parts = (layer.units, layer.weight.shape[1] - layer.units) if layer.kind == "recurrent" else ()
        if layer.name not in scores or any(size % 4 for size in (layer.weight.shape[1], *parts)):
            continue
        score = scores[layer.name].detach().double().cpu()
        if score.shape != layer.weight.shape:
            raise ValueError(
                f"scores of {layer.name} have shape {tuple(score.shape)}; its weight has "
                f"{tuple(layer.weight.shape)}"
            )
        inputs_last = score.movedim(1, -1)
        fours = inputs_last.reshape(-1, 4)
        shuffled = torch.rand(fours.shape, generator=generator).argsort(1)
        ascending = shuffled.gather(1, fours.gather(1, shuffled).sort(dim=1, stable=True).indices)
        mask = torch.ones_like(fours, dtype=torch.bool).scatter_(1, ascending[:, :2], False)
        keep[layer.name] = mask.view(inputs_last.shape).movedim(-1, 1).contiguous()
        edge = fours.gather(1, ascending[:, 1:3])
        at_edge = fours == edge[:, :1]
        ties += int(at_edge[edge[:, 0] == edge[:, 1]].sum())
    if not keep:
        raise Unsupported("no scored layer has a number of inputs that can be divided by four")
    dense_params, dense_macs = graph.cost_model.cost(graph.cost_model.counts({}))
    removed = {name: int((~mask).sum()) for name, mask in keep.items()}
    return WeightSelection(
        keep=keep,
        ties=ties,
        params_removed=sum(removed.values()) / dense_params,
        macs_removed=sum(count * graph.weight_macs[name] for name, count in removed.items()) / dense_macs,
    )
