"""Gradient statistics: summaries of the gradients of all batches."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from benchsuite.errors import PluginError
from benchsuite.scoring.reductions import source_of

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    from torch import Tensor

    from benchsuite.contracts.layers import CoupledGroup, Granularity, Layer


@dataclass(frozen=True, eq=False)
class GradientBatch:
    """The results of one forward and backward pass over a batch.

    Attributes:
        layers: the layers to score.
        granularity: what the suite prunes.
        parameters: the network's parameters by name, detached.
        gradients: by parameter name, the gradient of the batch's mean loss; zero for unused parameters.
        activations: by layer, its activation maps and the gradients of each sample's own loss, both
            (samples, units, positions...). Recurrent layers are absent: a gradient at their output lacks
            what their units do from step to step inside. Empty for a statistic that does not ask for them.
        groups: the coupled groups that the layers form.
        gates: by group, (samples, positions): the derivative of each sample's own loss with respect to the
            presence of a position, see `benchsuite.scoring.gates`. Groups whose gates cannot be read are
            absent (`ScoringContext.ungated` has the reasons). Empty for a statistic that does not ask for
            them, and where weights are pruned.
        counting: by layer with activations, which positions count, bool (samples, steps); others' all do.
        samples: how many samples the batch has.
        of_samples: how many all batches have together.
        of_batches: how many batches there are.
    """

    layers: Sequence[Layer]
    granularity: Granularity
    parameters: Mapping[str, Tensor]
    gradients: Mapping[str, Tensor]
    activations: Mapping[str, tuple[Tensor, Tensor]]
    groups: Sequence[CoupledGroup]
    gates: Mapping[str, Tensor]
    samples: int
    of_samples: int
    of_batches: int
    counting: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class GradientStatistic:
    """A sum over batches of terms that it computes from each batch's gradients.

    Subclass it as a frozen dataclass to make your own; its fields are its parameters. All scorers that ask
    for equal statistics share the sum.
    """

    name: ClassVar[str] = ""
    reads_activations: ClassVar[bool] = False
    """Whether it needs `GradientBatch.activations`."""
    reads_gates: ClassVar[bool] = False
    """Whether it needs `GradientBatch.gates`."""

    def __call__(self, batch: GradientBatch) -> dict[str, Tensor]:
        """Return the batch's term of the sum by layer or group, of one shape for all batches."""
        raise NotImplementedError(f"{type(self).__name__} does not define __call__()")

    @property
    def key(self) -> str:
        """The statistic's identity in content keys: class, parameters and source."""
        return f"{type(self).__module__}.{self!r}\n{source_of(type(self))}"


@dataclass(frozen=True)
class MeanGradient(GradientStatistic):
    """The gradient of the mean loss over all samples for each layer's weight, in the weight's shape."""

    name: ClassVar[str] = "mean-gradient"

    def __call__(self, batch: GradientBatch) -> dict[str, Tensor]:
        """Weigh the batch's gradient by its share of the samples."""
        share = batch.samples / batch.of_samples
        return {layer.name: share * batch.gradients[f"{layer.name}.weight"] for layer in batch.layers}


@dataclass(frozen=True)
class SquaredGate(GradientStatistic):
    """The mean over samples of the squared derivative of the sample's own loss at a gate, by group.

    (positions,) for each group. What is coupled in a position counts together before the square. Empty where
    weights are pruned.
    """

    name: ClassVar[str] = "squared-gate"
    reads_gates: ClassVar[bool] = True

    def __call__(self, batch: GradientBatch) -> dict[str, Tensor]:
        """Add up the squares of the batch's samples."""
        return {name: (gate**2).sum(0) / batch.of_samples for name, gate in batch.gates.items()}


@dataclass(frozen=True)
class ActivationChange(GradientStatistic):
    """The mean over samples of abs(mean over positions of a x g_a), (units,) for each layer.

    a is the activation after the non-linearity, g_a the gradient of the sample's own loss. Layers that the
    forward pass does not reach are absent, and so are recurrent layers, which also read their units inside.
    """

    name: ClassVar[str] = "activation-change"
    reads_activations: ClassVar[bool] = True

    def __call__(self, batch: GradientBatch) -> dict[str, Tensor]:
        """Add up the absolute changes of the batch's samples."""
        from benchsuite.scoring.padding import mean_over_positions

        return {
            name: mean_over_positions(maps * gradients, batch.counting.get(name)).abs().sum(0)
            / batch.of_samples
            for name, (maps, gradients) in batch.activations.items()
        }


GRADIENT_STATISTICS: dict[str, GradientStatistic] = {
    statistic.name: statistic for statistic in (MeanGradient(), SquaredGate(), ActivationChange())
}
"""The statistics that are found by name."""


def find_statistic(statistic: str | GradientStatistic) -> GradientStatistic:
    """Return the statistic itself or the one of that name; raises `PluginError` for an unknown name."""
    if isinstance(statistic, GradientStatistic):
        return statistic
    if statistic not in GRADIENT_STATISTICS:
        known = ", ".join(GRADIENT_STATISTICS)
        raise PluginError(f"there is no gradient statistic {statistic!r}; there are: {known}")
    return GRADIENT_STATISTICS[statistic]


def own_parameters(layer: Layer, known: Container[str]) -> list[str]:
    """Return the names of a layer's weight (first), its bias, and its normalisation's scale and shift.

    Each parameter has one row per unit. Those that are not in `known` are left out.
    """
    names = [f"{layer.name}.weight", f"{layer.name}.bias"]
    if layer.norm_name is not None:
        names += [f"{layer.norm_name}.weight", f"{layer.norm_name}.bias"]
    return [name for name in names if name in known]
