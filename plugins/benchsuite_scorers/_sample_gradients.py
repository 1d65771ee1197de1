"""Gradients of each sample's own loss, several samples at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchsuite import functional_call

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from torch import Tensor

    from benchsuite import ScoringContext


def sample_gradients(
    context: ScoringContext, names: Collection[str], chunk: int
) -> Iterator[dict[str, Tensor]]:
    """Yield by parameter name (samples, *parameter's shape), for `chunk` samples at a time.

    Args:
        context: the network and its samples.
        names: the parameters.
        chunk: how many samples' gradients are in memory at once.
    """
    from torch.func import grad, vmap
    from torch.nn.attention import SDPBackend, sdpa_kernel

    parameters = {name: value.detach() for name, value in context.model.named_parameters()}
    others = {name: value for name, value in parameters.items() if name not in names}
    wanted = {name: parameters[name] for name in names}

    def loss(values: dict[str, Tensor], sample: Tensor, label: Tensor) -> Tensor:
        outputs: Tensor = functional_call(context.model, values | others, (sample.unsqueeze(0),))
        return context.loss(outputs, label.unsqueeze(0))

    per_sample = vmap(grad(loss), in_dims=(None, 0, 0))
    for inputs, labels in context.batches(chunk):
        # Fused attention does not support gradients per sample.
        with sdpa_kernel([SDPBackend.MATH]):
            gradients: dict[str, Tensor] = per_sample(wanted, inputs, labels)
        yield gradients
