"""Magnitude times the norm of the weight's input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchsuite import Scorer, Unsupported
from benchsuite_scorers._reached import skip_unreached

if TYPE_CHECKING:
    from torch import Tensor

    from benchsuite import Layer, ScoringContext


class Wanda(Scorer):
    """abs(w_ij) times the Euclidean norm of input j over samples.

    A small weight on a strong input may matter more than a large one on a weak input. For convolutions the
    input is what each position of the kernel reads, over samples and output positions; for linear layers over
    samples and tokens; for recurrent layers over samples and steps, their own units of the step before
    among the inputs. Cost: one forward pass. Scores are comparable within a unit's weights, where the paper
    ranks them, so neither over layers nor by their sum; it fails as a ranking of units, whose scales differ
    like those of magnitudes.

    Source: Sun et al. 2023.
    """

    name = "wanda"
    granularity = "weight"

    def score(self, context: ScoringContext) -> dict[str, Tensor]:
        """Return the magnitude of each weight times its input's norm."""
        if any(layer.kind == "recurrent" for layer in context.layers) and _has_padding(context):
            raise Unsupported(
                "which units of the step before a recurrent layer reads beside padding is not known; "
                "[pruning] keep leaves such layers out"
            )
        squares: dict[str, Tensor] = {}
        for batch in context.layer_inputs():
            for layer in context.layers:
                if layer.name in batch:
                    seen = squared_inputs(layer, batch[layer.name])
                    squares[layer.name] = squares.get(layer.name, 0) + seen
        skip_unreached(context, squares)
        return {
            layer.name: layer.weight.abs() * squares[layer.name].sqrt()
            for layer in context.layers
            if layer.name in squares
        }


def _has_padding(context: ScoringContext) -> bool:
    """Whether texts of the context are padded."""
    masks = (getattr(inputs, "kept", None) for inputs, _ in context.batches())
    return any(mask is not None and not bool(mask.all()) for mask in masks)


def squared_inputs(layer: Layer, inputs: Tensor) -> Tensor:
    """Return for each weight the sum of the squares of what it is multiplied with, in the weight's shape.

    The output's sum is linear in the weight, so its gradient at squared inputs is that sum, whatever the
    layer's stride, padding, dilation and groups.
    """
    import torch
    from torch.func import functional_call

    if layer.kind == "recurrent":
        module: Any = layer.module
        with torch.no_grad():
            read: Tensor = module.reads(inputs)
        return read.square().sum((0, 1))[:, None].expand(layer.weight.shape)
    weight = torch.zeros_like(layer.weight, requires_grad=True)
    with torch.enable_grad():
        total = functional_call(layer.module, {"weight": weight}, (inputs.detach() ** 2,)).sum()
    (gradient,) = torch.autograd.grad(total, weight)
    return gradient
