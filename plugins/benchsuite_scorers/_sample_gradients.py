"""Gradients of each sample's own loss, several samples at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchsuite import functional_call

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from torch import Tensor

    from benchsuite import ScoringContext


def sample_gradients(
    context: ScoringContext, names: Collection[str], chunk: int
) -> Iterator[dict[str, Tensor]]:
    """Yield by parameter name (samples, *parameter's shape), for `chunk` samples at a time.

    A network that cannot run for several samples apart, as where its code depends on whether a mask has zeros
    or it packs its inputs, runs for one sample after the other.

    Args:
        context: the network and its samples.
        names: the parameters.
        chunk: how many samples' gradients are in memory at once.
    """
    import torch
    from torch.func import grad, vmap
    from torch.nn.attention import SDPBackend, sdpa_kernel

    parameters = {name: value.detach() for name, value in context.model.named_parameters()}
    others = {name: value for name, value in parameters.items() if name not in names}
    wanted = {name: parameters[name] for name in names}

    def loss(values: dict[str, Tensor], inputs: Any, labels: Tensor) -> Tensor:
        outputs: Tensor = functional_call(context.model, values | others, (inputs,))
        return context.loss(outputs, labels)

    def of_sample(values: dict[str, Tensor], sample: Any, label: Tensor) -> Tensor:
        return loss(values, sample.unsqueeze(0), label.unsqueeze(0))

    def one_by_one(values: dict[str, Tensor], inputs: Any, labels: Tensor) -> dict[str, Tensor]:
        own = {name: value.clone().requires_grad_() for name, value in values.items()}
        found = []
        with torch.enable_grad():
            for row in (slice(number, number + 1) for number in range(len(labels))):
                of_row = loss(own, inputs[row], labels[row])
                found.append(torch.autograd.grad(of_row, list(own.values()), materialize_grads=True))
        return {name: torch.stack(each) for name, each in zip(own, zip(*found, strict=True), strict=True)}

    together: Callable[..., dict[str, Tensor]] = vmap(grad(of_sample), in_dims=(None, 0, 0))
    for inputs, labels in context.batches(chunk):
        # Fused attention does not support gradients per sample.
        with sdpa_kernel([SDPBackend.MATH]):
            try:
                gradients = together(wanted, inputs, labels)
            except RuntimeError:  # what vmap cannot do has many messages
                together = one_by_one
                gradients = one_by_one(wanted, inputs, labels)
        yield gradients
