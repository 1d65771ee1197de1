"""Hessian products of the mean loss over all samples, for the scored weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from benchsuite import ScoringContext


def hessian_products(context: ScoringContext, vectors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the Hessian of the mean loss times each of several vectors, by layer.

    Args:
        context: the network and its samples.
        vectors: by layer, (vectors, *weight's shape); each vector covers all layers.

    Returns:
        By layer, (vectors, *weight's shape).
    """
    import torch
    from torch.func import functional_call
    from torch.nn.attention import SDPBackend, sdpa_kernel

    names = {layer.name: f"{layer.name}.weight" for layer in context.layers}
    totals = {name: torch.zeros_like(vector) for name, vector in vectors.items()}
    for inputs, labels in context.batches():
        parameters = context.leaf_parameters()
        weights = [parameters[key] for key in names.values()]
        # Fused attention does not support second derivatives.
        with sdpa_kernel([SDPBackend.MATH]):
            loss = context.loss(functional_call(context.model, parameters, (inputs,)), labels)
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
        share = len(labels) / context.samples
        for name, product in zip(names, products, strict=True):
            totals[name] += share * product
    return totals


def hessian_diagonal(context: ScoringContext, signs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the mean over vectors v of v x (H v), by layer.

    For draws of random signs this estimates the Hessian's diagonal; for a full set of orthogonal sign
    vectors it is exact.
    """
    products = hessian_products(context, signs)
    return {name: (signs[name] * products[name]).mean(0) for name in signs}
