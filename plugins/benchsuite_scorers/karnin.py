"""Sensitivity accumulated during training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from benchsuite import Scorer, Unsupported

if TYPE_CHECKING:
    from torch import Tensor

    from benchsuite import ScoringContext


class Karnin(Scorer):
    """Sum over training of dw(n)^2, times w_f / (eta (w_f - w_i)), scaled to (0, 1) within each layer.

    dw(n) is the change of the weight in step (or epoch) n, w_i and w_f are its initial and final values; 0
    where they are equal. It estimates how much the loss increases without the weight, from values that
    training computes anyway. This is Karnin's formula, which Khanal states first; eta is the mean learning
    rate. The algorithm box of Khanal adds up epochs with the weight w(n) of each instead of the final one:
    `algorithm = "box"` is the sum of dw(n)^2 w(n) / (eta (w(n) - w_i)). The box prints a "+" before the
    fraction, which is taken for a slip of the pen; "box-as-printed" has it, and then the fraction outweighs
    the changes.

    Unit: the sum over the unit's weights, whose sensitivities add up to first order. Layers are scaled one by
    one, so scores of different layers cannot be compared. The native rule removes weights below `threshold`.
    Khanal scales "using any appropriate measure". From the smallest to the largest value, a single weight
    that ended near its start stretches the scale, so that a threshold removes almost nothing or almost
    everything, by luck; `scaling = "quantile"` leaves out the outermost values at both ends, and "rank" is
    the share of the layer's weights below, so that a threshold is the share that goes. Needs the training
    trace.

    Cost: one pass over the weights, and during training running sums of squared updates. It fails for
    weights that shrank, whose estimate is negative and ranks lowest, and it is noisy for a weight whose final
    value is near its initial one.

    Source: Karnin 1990; zero denominators, scaling and threshold as in Khanal 2018, which uses thresholds
    from 0.001 to 0.45.
    """

    name = "karnin"
    granularity = "weight"
    sums_to_units = True
    needs_training_trace = True
    absolute = True
    data_free = True
    per: Literal["step", "epoch"] = "step"
    """Whether changes are squared per step or per epoch; the boxes always sum over epochs."""
    algorithm: Literal["formula", "box", "box-as-printed"] = "formula"
    """Karnin's formula, or Khanal's algorithm box, as it is meant or as it is printed."""
    scaling: Literal["min-max", "quantile", "rank"] = "min-max"
    """How a layer's sensitivities become numbers from 0 to 1."""
    clip: Annotated[float, Field(ge=0, lt=0.5)] = 0.01
    """Share of a layer's weights at each end that the scaling "quantile" sets to 0 and to 1."""
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.45
    """The native rule removes normalised sensitivities below it."""

    def score(self, context: ScoringContext) -> dict[str, Tensor]:
        """Return the normalised sensitivity of each weight."""
        scores = {}
        for layer in context.layers:
            if (raw := self._raw(context, layer.name, layer.weight)) is None:
                context.skip(layer, "its weight was not trained, so the trace has no updates of it")
            else:
                scores[layer.name] = self._scaled(raw)
        return scores

    def _raw(self, context: ScoringContext, name: str, final: Tensor) -> Tensor | None:
        """The sensitivities of a layer's weights before scaling; None without updates of them."""
        trace, key = context.training_trace, f"{name}.weight"
        eta = float(trace.learning_rates.mean()) if len(trace.learning_rates) else 1.0
        if self.algorithm == "formula":
            updates = trace.squared_updates if self.per == "step" else trace.squared_epoch_updates
            if key not in updates:
                return None
            return sensitivity(updates[key], trace.initial[key], final.cpu(), eta)
        if key not in trace.epoch_ratios:
            return None
        if self.algorithm == "box":
            return trace.epoch_products[key].double() / eta
        return trace.squared_epoch_updates[key].double() + trace.epoch_ratios[key].double() / eta

    def _scaled(self, raw: Tensor) -> Tensor:
        if self.scaling == "rank":
            return mid_ranks(raw)
        low, high = raw.min(), raw.max()
        if self.scaling == "quantile":
            low, high = middle(raw, self.clip)
        return (raw.clamp(low, high) - low) / (high - low).clamp_min(1e-300)

    def native(self, scores: dict[str, Tensor], context: ScoringContext) -> dict[str, Tensor]:
        """Keep the weights that reach the threshold; raises `Unsupported` for units."""
        if context.granularity == "unit":
            raise Unsupported(f"the native rule of {self.name} removes single weights, not units")
        return {name: score >= self.threshold for name, score in scores.items()}


def sensitivity(squared_updates: Tensor, initial: Tensor, final: Tensor, eta: float) -> Tensor:
    """Return Karnin's sensitivity in double precision; 0 where the final weight is the initial one."""
    import torch

    first, last = initial.double(), final.double()
    moved = last - first
    safe = torch.where(moved == 0, 1.0, moved)
    return torch.where(moved == 0, 0.0, squared_updates.double() * last / (eta * safe))


def middle(values: Tensor, clip: float) -> tuple[Tensor, Tensor]:
    """Return the quantiles that leave a share of the values below the one and above the other."""
    import numpy as np
    import torch

    low, high = np.quantile(values.numpy(), (clip, 1 - clip))  # torch's has a limit of 16 million values
    return torch.tensor(low), torch.tensor(high)


def mid_ranks(values: Tensor) -> Tensor:
    """Return for each value the share of the values below it, and of half of those equal to it."""
    import torch

    _, places, counts = torch.unique(values, return_inverse=True, return_counts=True)
    counts = counts.double()  # half of a count would be in single precision
    shares: Tensor = (counts.cumsum(0) - counts / 2) / values.numel()
    return shares[places]
