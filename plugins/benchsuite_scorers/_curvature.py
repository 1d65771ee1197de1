"""Hessian products of the mean loss over all samples, for the scored weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchsuite_scorers._passes import Passes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from benchsuite import ScoringContext


def batch_products(
    context: ScoringContext,
    draw: Callable[[], dict[str, Tensor]],
    passes: Passes | None = None,
    batch_size: int | None = None,
) -> Iterator[tuple[dict[str, Tensor], dict[str, Tensor]]]:
    """Yield for each batch several vectors, and the Hessian of the batch's loss times each of them, by layer.

    The losses of all batches add up to the mean loss over all samples.

    Args:
        context: the network and its samples.
        draw: gives a batch its vectors, by layer, (vectors, *weight's shape); each covers all layers.
        passes: how the loss is computed.
        batch_size: samples of a batch; by default the context's.
    """
    import torch

    names = {layer.name: f"{layer.name}.weight" for layer in context.layers}
    for parameters, loss, share in (passes or Passes()).losses(context, batch_size):
        weights = [parameters[key] for key in names.values()]
        gradients = torch.autograd.grad(
            loss * share, weights, create_graph=True, allow_unused=True, materialize_grads=True
        )
        vectors = draw()
        live = [i for i, gradient in enumerate(gradients) if gradient.requires_grad]
        if not live:  # the loss is linear in the weights
            yield vectors, {name: torch.zeros_like(vector) for name, vector in vectors.items()}
            continue
        products = torch.autograd.grad(
            [gradients[i] for i in live],
            weights,
            [vectors[list(names)[i]] for i in live],
            allow_unused=True,
            materialize_grads=True,
            is_grads_batched=True,
        )
        yield vectors, dict(zip(names, products, strict=True))


def hessian_products(
    context: ScoringContext, vectors: dict[str, Tensor], passes: Passes | None = None
) -> dict[str, Tensor]:
    """Return the Hessian of the mean loss over all samples times each of several vectors, by layer."""
    import torch

    totals = {name: torch.zeros_like(vector) for name, vector in vectors.items()}
    for _, products in batch_products(context, lambda: vectors, passes):
        for name, product in products.items():
            totals[name] += product
    return totals
