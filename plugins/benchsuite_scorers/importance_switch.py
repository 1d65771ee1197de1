"""Importance switches: a learnt distribution of importance over a layer's units."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from benchsuite import Scorer, Unsupported

if TYPE_CHECKING:
    from torch import Tensor

    from benchsuite import ScoringContext
    from benchsuite_scorers._gates import Gates


class ImportanceSwitch(Scorer):
    """The posterior mean of a Dirichlet switch on a layer's pre-activations.

    A switch s, one share per unit and summing to 1, multiplies the layer's pre-activations: its outputs, or
    those of the normalisation that follows it. Coupled layers share one switch. The parameters phi of its
    distribution Dir(phi) maximise the log-likelihood of the training samples at the mean switch, minus the
    divergence KL(Dir(phi) || Dir(alpha0)); all weights are frozen. The score is the mean phi / sum(phi).

    The paper learns the switches "sequentially from the input layer" and does not say that those learnt
    before stay in place: eq. 8 has the likelihood given one layer's switch, all else is at the trained values
    (section 5), and the authors' program has one switch at a time. So each switch is learnt in the unchanged
    network by default; `order = "forward"` reads eqs. 4 and 5 to the letter, where a layer's input went
    through the switch before.

    Cost: `epochs` passes forward and backward through the part of the network after each group. It fails if
    it has not converged, since it then depends on the optimiser. Each switch divides the signal by about the
    number of units; in the order "forward" the last switches of a small ResNet stayed at the prior, since
    nothing reached them. A unit of several layers on one path is multiplied in each. It does not consider
    that several layers are pruned together.

    The scale is "layer": the shares of each switch sum to 1, so they are larger where units are few; divided
    by their mean, a share becomes share x units, 1 where all units are equal.

    Source: Adamczewski and Park 2019, eqs. 3 to 9.
    """

    name = "importance-switch"
    scale = "layer"
    coupled = True
    alpha0: Annotated[float, Field(gt=0)] = 1.0
    """The prior's parameter: below 1 it favours few units, above 1 equal ones."""
    epochs: Annotated[int, Field(ge=1)] = 20
    """Passes over the samples per switch; the paper uses 300, and says that a few are enough."""
    learning_rate: Annotated[float, Field(gt=0)] = 0.1
    """The learning rate of Adam, for log(phi)."""
    order: Literal["alone", "forward", "backward"] = "alone"
    """alone: each switch in the unchanged network. forward, backward: the switches that were learnt before,
    starting from the input or from the output, stay in place at their means."""

    def score(self, context: ScoringContext) -> dict[str, Tensor]:
        """Return the posterior mean by unit."""
        from contextlib import ExitStack

        from benchsuite_scorers._coupled import by_first_call, member_gates

        positions, skipped = {}, {}
        groups = by_first_call(context, context.groups)
        with ExitStack() as learnt:
            for group in groups[::-1] if self.order == "backward" else groups:
                try:
                    gates = member_gates(context, group)
                    mean = self._learn(context, gates)
                except Unsupported as reason:
                    skipped[group.name] = str(reason)
                    continue
                positions[group.name] = mean
                if self.order != "alone":
                    learnt.enter_context(gates.putting(mean[None]))
        return context.spread(positions, skipped)

    def _learn(self, context: ScoringContext, gates: Gates) -> Tensor:
        """Return the mean of one group's learnt switch."""
        import torch

        from benchsuite_scorers._partial_forward import PartialForward

        batches = [
            (PartialForward(context.model, gates, inputs), labels) for inputs, labels in context.batches()
        ]
        start = torch.full((gates.size,), self.alpha0, device=context.device).log()
        log_phi = start.clone().requires_grad_()
        optimiser = torch.optim.Adam([log_phi], lr=self.learning_rate)
        for _ in range(self.epochs):
            for rest, labels in batches:
                phi = log_phi.exp()
                switch = phi / phi.sum()
                likelihood = -context.samples * context.loss(rest.run(switch[None]), labels)
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
