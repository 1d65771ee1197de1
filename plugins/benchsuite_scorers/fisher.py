"""Fisher information of a unit's or weight's presence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from benchsuite import Scorer

if TYPE_CHECKING:
    from torch import Tensor

    from benchsuite import ScoringContext


class Fisher(Scorer):
    """Half the mean over samples of (g_n w)^2, where g_n is the gradient of one sample's loss.

    An estimate of the increase of the loss, with the Fisher information in place of the Hessian. Unit: g_n w
    is summed over the unit's weights and bias before squaring, which is the gradient for a factor on the
    unit's pre-activation. Cost: a gradient for each sample, which takes about as many backward passes as
    there are batches, but needs memory for `chunk` times the network's gradients. It fails if the network is
    not near a minimum of the loss, or if samples have random labels, since the Fisher information is then not
    the Hessian.

    Source: Theis et al. 2018.
    """

    name = "fisher"
    granularity = "both"
    chunk: Annotated[int, Field(ge=1)] = 16
    """Number of samples whose gradients are in memory at once."""

    def score(self, context: ScoringContext) -> dict[str, Tensor]:
        """Return half the mean squared product of gradient and weight."""
        import torch
        from torch.func import functional_call, grad, vmap
        from torch.nn.attention import SDPBackend, sdpa_kernel

        parameters = {name: value.detach() for name, value in context.model.named_parameters()}
        wanted = {
            name
            for layer in context.layers
            for name in (f"{layer.name}.weight", f"{layer.name}.bias")
            if name in parameters
        }
        others = {name: value for name, value in parameters.items() if name not in wanted}
        scored = {name: parameters[name] for name in wanted}

        def loss(weights: dict[str, Tensor], sample: Tensor, label: Tensor) -> Tensor:
            outputs: Tensor = functional_call(context.model, weights | others, (sample.unsqueeze(0),))
            return context.loss(outputs, label.unsqueeze(0))

        per_sample = vmap(grad(loss), in_dims=(None, 0, 0))
        totals = {layer.name: torch.zeros((), device=context.device) for layer in context.layers}
        for inputs, labels in context.batches(self.chunk):
            # Fused attention does not support gradients per sample.
            with sdpa_kernel([SDPBackend.MATH]):
                gradients = per_sample(scored, inputs, labels)
            for layer in context.layers:
                change = gradients[f"{layer.name}.weight"] * layer.weight
                if context.granularity == "unit":
                    change = change.flatten(2).sum(2)
                    if layer.bias is not None:
                        change = change + gradients[f"{layer.name}.bias"] * layer.bias
                totals[layer.name] = totals[layer.name] + (change**2).sum(0)
        return {name: total / (2 * context.samples) for name, total in totals.items()}
