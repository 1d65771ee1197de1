"""The scale that batch normalisation gives a unit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchsuite import Scorer

if TYPE_CHECKING:
    from torch import Tensor

    from benchsuite import ScoringContext


class BatchNormScale(Scorer):
    """abs(gamma) of the batch normalisation that follows the layer.

    Layers without one, or whose normalisation has no scale, cannot be scored. The paper has one threshold for
    the scales of all layers, so those of different layers are compared as they are. The scales of coupled
    units are added up, that of a normalisation which their layers share once. Cost: none. It works best
    if training has moved the scales towards zero (Liu et al. add an L1 penalty on them), and it fails if the
    next layer's weights compensate for the scale.

    Source: Liu et al. 2017 (network slimming).
    """

    name = "bn-scale"
    scale = "network"
    coupled = True
    data_free = True

    def score(self, context: ScoringContext) -> dict[str, Tensor]:
        """Return abs(gamma) by unit, of all that is coupled."""
        scores, owners, reasons = {}, {}, {}
        for layer in context.layers:
            scale = None if layer.norm is None else getattr(layer.norm, "weight", None)
            if scale is not None:
                scores[layer.name] = scale.detach().abs()
                owners[layer.name] = layer.norm_name or layer.name
        sums = context.sum_over_groups(scores, owners)
        for group in context.groups:
            if group.name not in sums:
                reasons[group.name] = "no batch normalisation with a scale follows"
        return context.spread(sums, reasons)
