"""Importance switches: a learnt distribution of importance over a layer's units."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from benchsuite import Scorer

if TYPE_CHECKING:
    from torch import Tensor

    from benchsuite import Layer, ScoringContext


class ImportanceSwitch(Scorer):
    """The posterior mean of a Dirichlet switch on a layer's pre-activations.

    A switch s, one share per unit and summing to 1, multiplies the layer's outputs. The parameters phi of its
    distribution Dir(phi) maximise the log-likelihood of the training samples at the mean switch, minus the
    divergence KL(Dir(phi) || Dir(alpha0)); all weights are frozen. The score is the mean phi / sum(phi).
    The switches of the layers are learnt one after the other.

    Cost: `epochs` passes forward and backward through the part of the network after each layer. It fails if
    it has not converged, since it then depends on the optimiser, and it does not consider that several layers
    are pruned together.

    Source: Adamczewski and Park 2019, eqs. 3 to 9.
    """

    name = "importance-switch"
    alpha0: Annotated[float, Field(gt=0)] = 1.0
    """The prior's parameter: below 1 it favours few units, above 1 equal ones."""
    epochs: Annotated[int, Field(ge=1)] = 20
    """Passes over the samples per layer; the paper uses 300, and says that a few are enough."""
    learning_rate: Annotated[float, Field(gt=0)] = 0.1
    """The learning rate of Adam, for log(phi)."""
    order: Literal["alone", "forward", "backward"] = "alone"
    """alone: each layer in the unchanged network. forward, backward: the switches of the layers that were
    learnt before, starting from the input or from the output, remain active."""

    def score(self, context: ScoringContext) -> dict[str, Tensor]:
        """Return the posterior mean by unit."""
        from benchsuite_scorers._next_layer import unit_mask

        scores: dict[str, Tensor] = {}
        handles = []
        layers = context.layers[::-1] if self.order == "backward" else context.layers
        try:
            for layer in layers:
                mean = self._learn(context, layer)
                if mean is None:
                    context.skip(layer, "the network's forward pass does not reach it")
                    continue
                scores[layer.name] = mean
                if self.order != "alone":

                    def switch(
                        _module: object,
                        _inputs: object,
                        output: Tensor,
                        layer: Layer = layer,
                        mean: Tensor = mean,
                    ) -> Tensor:
                        return output * unit_mask(layer, mean.to(output.dtype), output)

                    handles.append(layer.module.register_forward_hook(switch))
        finally:
            for handle in handles:
                handle.remove()
        return scores

    def _learn(self, context: ScoringContext, layer: Layer) -> Tensor | None:
        """Return the mean of one layer's learnt switch."""
        import torch

        from benchsuite_scorers._next_layer import unit_mask
        from benchsuite_scorers._partial_forward import PartialForward

        try:
            batches = [
                (PartialForward(context.model, layer.module, inputs), labels)
                for inputs, labels in context.batches()
            ]
        except ValueError:
            return None
        start = torch.full((layer.units,), self.alpha0, device=context.device).log()
        log_phi = start.clone().requires_grad_()
        optimiser = torch.optim.Adam([log_phi], lr=self.learning_rate)
        for _ in range(self.epochs):
            for rest, labels in batches:
                phi = log_phi.exp()
                switch = unit_mask(layer, phi / phi.sum(), rest.output)
                likelihood = -context.samples * context.loss(rest.run(rest.output * switch), labels)
                objective = likelihood - dirichlet_divergence(phi, self.alpha0)
                (log_phi.grad,) = torch.autograd.grad(-objective, log_phi)
                optimiser.step()
        phi = log_phi.detach().exp().double()
        return phi / phi.sum()


def dirichlet_divergence(phi: Tensor, alpha0: float) -> Tensor:
    """Return KL(Dir(phi) || Dir(alpha0, ..., alpha0)) (Adamczewski and Park 2019, eq. 9)."""
    import torch

    units = len(phi)
    alpha = torch.tensor(alpha0, dtype=phi.dtype, device=phi.device)
    total = phi.sum()
    return (
        torch.lgamma(total)
        - torch.lgamma(units * alpha)
        - torch.lgamma(phi).sum()
        + units * torch.lgamma(alpha)
        + ((phi - alpha) * (torch.digamma(phi) - torch.digamma(total))).sum()
    )
