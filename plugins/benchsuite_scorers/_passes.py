"""The loss of each batch, with divided logits or with batch norms that use the batch's own statistics."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from benchsuite import functional_call

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn

    from benchsuite import ScoringContext

BatchNorm = Literal["auto", "eval", "train"]


@dataclass(frozen=True)
class Passes:
    """How the loss is computed.

    Attributes:
        temperature: what the logits are divided by.
        own_statistics: whether batch norms use the mean and variance of the batch, as in training; dropout
            stays off, and the running statistics stay as they are.
    """

    temperature: float = 1.0
    own_statistics: bool = False

    @classmethod
    def of(cls, context: ScoringContext, temperature: float, batch_norm: BatchNorm) -> Passes:
        """What a scorer's parameters ask for; "auto" is "train" for a network at initialisation."""
        return cls(temperature, batch_norm == "train" or (batch_norm == "auto" and context.at_init))

    @property
    def plain(self) -> bool:
        """Whether they are the passes of `context.gradient_statistic`."""
        return self.temperature == 1 and not self.own_statistics

    def losses(
        self, context: ScoringContext, batch_size: int | None = None
    ) -> Iterator[tuple[dict[str, Tensor], Tensor, float]]:
        """Yield for each batch the parameters as leaves, the mean loss, and its share of the samples."""
        from torch.nn.attention import SDPBackend, sdpa_kernel

        for inputs, labels in self._batches(context, batch_size):
            parameters = context.leaf_parameters()
            buffers = {name: value.clone() for name, value in context.model.named_buffers()}
            # Fused attention does not support second derivatives.
            with (
                sdpa_kernel([SDPBackend.MATH]),
                _training_norms(context.model) if self.own_statistics else nullcontext(),
            ):
                outputs = functional_call(context.model, parameters | buffers, (inputs,))
            yield parameters, context.loss(outputs / self.temperature, labels), len(labels) / context.samples

    def _batches(self, context: ScoringContext, batch_size: int | None) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches; one sample has no statistics, so a last one alone joins the batch before it."""
        import torch

        from benchsuite import joined

        held: tuple[Tensor, Tensor] | None = None
        for inputs, labels in context.batches(batch_size):
            if held is not None and self.own_statistics and len(labels) == 1:
                held = joined([held[0], inputs]), torch.cat([held[1], labels])
                continue
            if held is not None:
                yield held
            held = inputs, labels
        if held is not None:
            yield held

    def mean_gradient(self, context: ScoringContext) -> dict[str, Tensor]:
        """Return by layer the gradient of the mean loss over all samples, in the weight's shape."""
        import torch

        if self.plain:
            return context.gradient_statistic("mean-gradient")
        totals = {layer.name: torch.zeros_like(layer.weight) for layer in context.layers}
        for parameters, loss, share in self.losses(context):
            weights = [parameters[f"{name}.weight"] for name in totals]
            gradients = torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True)
            for name, gradient in zip(totals, gradients, strict=True):
                totals[name] += share * gradient
        return totals


@contextmanager
def _training_norms(model: nn.Module) -> Iterator[None]:
    from torch import nn

    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    before = [norm.training for norm in norms]
    try:
        for norm in norms:
            norm.training = True
        yield
    finally:
        for norm, was in zip(norms, before, strict=True):
            norm.training = was
