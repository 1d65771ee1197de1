"""Hessian products of the mean loss over all samples, for the scored weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchsuite_scorers._passes import Passes

if TYPE_CHECKING:
    from torch import Tensor

    from benchsuite import ScoringContext


def hessian_products(
    context: ScoringContext, vectors: dict[str, Tensor], passes: Passes | None = None
) -> dict[str, Tensor]:
    """Return the Hessian of the mean loss times each of several vectors, by layer.

    Args:
        context: the network and its samples.
        vectors: by layer, (vectors, *weight's shape); each vector covers all layers.
        passes: how the loss is computed.

    Returns:
        By layer, (vectors, *weight's shape).
    """
    import torch

    names = {layer.name: f"{layer.name}.weight" for layer in context.layers}
    totals = {name: torch.zeros_like(vector) for name, vector in vectors.items()}
    for parameters, loss, share in (passes or Passes()).losses(context):
        weights = [parameters[key] for key in names.values()]
        gradients = torch.autograd.grad(
            loss, weights, create_graph=True, allow_unused=True, materialize_grads=True
        )
        if not any(gradient.requires_grad for gradient in gradients):
            continue  # The loss is linear in the weights.
        live = [i for i, gradient in enumerate(gradients) if gradient.requires_grad]
        along = [vectors[list(names)[i]] for i in live]
        products = torch.autograd.grad(
            [gradients[i] for i in live],
            weights,
            along,
            allow_unused=True,
            materialize_grads=True,
            is_grads_batched=True,
        )
        for name, product in zip(names, products, strict=True):
            totals[name] += share * product
    return totals
