"""First-order Taylor expansion of the loss in a unit's parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from benchsuite import GradientStatistic, Scorer
from benchsuite_scorers._sample_gradients import sample_gradients

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from torch import Tensor

    from benchsuite import CoupledGroup, GradientBatch, Layer, ScoringContext

Variant = Literal["gate", "weight"]
_CHUNK = 16


class TaylorWeight(Scorer):
    """The squared first-order change of the loss when a unit's parameters go to zero.

    Unit, `variant = "gate"`: mean over batches of (gamma g_gamma + beta g_beta)^2, with the scale and shift
    of the batch norm that directly follows the unit; the unit's weights are not added, since they act through
    the norm and would count gamma twice. Without such a norm (sum of g w + g_b b)^2. `variant = "weight"`:
    sum over the unit's weights of (g w)^2. Single weights: (g w)^2. g is the gradient of the batch's mean
    loss, or with `average = "sample"` of each sample's own.

    What surgery removes together counts together: the gates of all coupled units are added before the square,
    each at its own norm. A norm behind an addition or a concatenation, as in pre-activation networks, belongs
    to what reads the sum and not to a unit; there the weights are the gate. Units coupled in series, as a
    depthwise convolution with what it reads, are gates one behind the other, and both count. Scores are
    squared changes of one loss, as Molchanov's global ranking takes them, so those of different layers are
    compared as they are.

    Cost: one shared backward pass per batch; with samples, a gradient for each. A batch's gradients average
    over its samples, so the scores depend on the batch size. It fails at a minimum, where gradients vanish
    but the loss is curved.

    Source: Molchanov et al. 2019, equation 6 with the gates of equation 8, and equation 7 for the variant
    "weight"; units that a skip connection couples are added there too.
    """

    name = "taylor-weight"
    granularity = "both"
    scale = "network"
    coupled = True
    absolute = True
    variant: Variant = "gate"
    """For units: their gate's change squared, or the squares of the weights' changes."""
    average: Literal["batch", "sample"] = "batch"
    """Whose changes are squared: those of a batch's mean loss, or of a sample's own."""

    def score(self, context: ScoringContext) -> dict[str, Tensor]:
        """Return the mean over batches or samples of the squared first-order change."""
        if self.average == "batch":
            means = context.gradient_statistic(SquaredChange(self.variant))
        else:
            means = self._over_samples(context)
        return means if context.granularity == "weight" else context.spread(means)

    def _over_samples(self, context: ScoringContext) -> dict[str, Tensor]:
        parameters = {name: value.detach() for name, value in context.model.named_parameters()}
        changes = Changes(self.variant, context.granularity == "unit", context.layers, context.groups)
        totals: dict[str, Tensor] = {}
        for gradients in sample_gradients(context, changes.names(parameters), _CHUNK):
            for name, squares in changes.squared(parameters, gradients).items():
                totals[name] = totals.get(name, 0) + squares.sum(0)
        return {name: total / context.samples for name, total in totals.items()}

    def gradient_statistics(self) -> Sequence[GradientStatistic]:
        """Return the one statistic it reads."""
        return (SquaredChange(self.variant),) if self.average == "batch" else ()


@dataclass(frozen=True)
class SquaredChange(GradientStatistic):
    """The mean over batches of the squared change; every batch counts the same."""

    name: ClassVar[str] = "squared-change"
    variant: Variant = "gate"

    def __call__(self, batch: GradientBatch) -> dict[str, Tensor]:
        """Square the batch's change."""
        changes = Changes(self.variant, batch.granularity == "unit", batch.layers, batch.groups)
        squares = changes.squared(batch.parameters, batch.gradients)
        return {name: square / batch.of_batches for name, square in squares.items()}


@dataclass(frozen=True)
class Changes:
    """Squared changes of the loss, of coupled units by group or of single weights by layer.

    Gradients may have more dimensions in front, such as one of samples.
    """

    variant: Variant
    units: bool
    layers: Sequence[Layer]
    groups: Sequence[CoupledGroup]

    def names(self, known: Collection[str]) -> set[str]:
        """The parameters that are read."""
        return {name for layer in self.layers for name in self._own(layer, known)}

    def _own(self, layer: Layer, known: Collection[str]) -> list[str]:
        """The parameters whose change is the unit's: of its gate, or its weights."""
        if not self.units or self.variant == "weight":
            return [f"{layer.name}.weight"]
        if f"{layer.norm_name}.weight" in known:
            return [f"{layer.norm_name}.weight", f"{layer.norm_name}.bias"]
        return [name for name in (f"{layer.name}.weight", f"{layer.name}.bias") if name in known]

    def squared(self, parameters: Mapping[str, Tensor], gradients: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return (..., positions) by group, or (..., *weight's shape) by layer."""
        terms: dict[str, Tensor] = {}
        for layer in self.layers:
            for name in self._own(layer, parameters):
                value = parameters[name]
                product = value * gradients[name]
                if not self.units or self.variant == "weight":
                    product = product**2
                if self.units:
                    front = product.shape[: product.ndim - value.ndim]
                    product = product.reshape(*front, layer.units, -1).sum(-1)
                terms[layer.name] = terms[layer.name] + product if layer.name in terms else product
        if not self.units:
            return terms
        return {group.name: self._together(group, terms) for group in self.groups}

    def _together(self, group: CoupledGroup, terms: Mapping[str, Tensor]) -> Tensor:
        import torch

        # A norm that several of the layers share is one gate, whose gradient is of all its uses.
        norms = {layer.name: layer.norm_name or layer.name for layer in self.layers}
        if self.variant == "weight":
            norms = {name: name for name in norms}
        distinct = {(norms[member.layer], member.units): terms[member.layer] for member in group.members}
        added = [term[..., torch.tensor(units)].sum(-1) for (_, units), term in distinct.items()]
        total = torch.stack(added).sum(0)
        return total if self.variant == "weight" else total**2
