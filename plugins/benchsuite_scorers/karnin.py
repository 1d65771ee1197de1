"""Sensitivity accumulated during training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from benchsuite import Scorer, Unsupported

if TYPE_CHECKING:
    from torch import Tensor

    from benchsuite import ScoringContext


class Karnin(Scorer):
    """Sum over training of dw(n)^2, times w_f / (eta (w_f - w_i)), normalised to (0, 1) within each layer.

    dw(n) is the change of the weight in step (or epoch) n, w_i and w_f are its initial and final values; 0
    where they are equal. It estimates how much the loss increases without the weight, from values that
    training computes anyway. This is Karnin's formula, which Khanal states first; the pseudo-code there
    writes S + dw(n)^2 + w / (eta (w - w_i)), and its "+" before the fraction is taken for a slip of the pen.
    eta is the mean learning rate, which cancels in the normalisation. Unit: the sum over the unit's weights,
    whose sensitivities add up to first order. Layers are normalised one by one, so scores of different layers
    cannot be compared. The native rule removes weights below `threshold`. Needs the training trace.

    Cost: one pass over the weights, and during training a running sum of squared updates. It fails for
    weights that shrank, whose estimate is negative and ranks lowest, and it is noisy for a weight whose final
    value is near its initial one.

    Source: Karnin 1990; zero denominators, normalisation and threshold as in Khanal 2018.
    """

    name = "karnin"
    granularity = "weight"
    sums_to_units = True
    needs_training_trace = True
    absolute = True
    data_free = True
    per: Literal["step", "epoch"] = "step"
    """Whether changes are squared per step or per epoch."""
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.45
    """The native rule removes normalised sensitivities below it."""

    def score(self, context: ScoringContext) -> dict[str, Tensor]:
        """Return the normalised sensitivity of each weight."""
        trace = context.training_trace
        updates = trace.squared_updates if self.per == "step" else trace.squared_epoch_updates
        eta = float(trace.learning_rates.mean()) if len(trace.learning_rates) else 1.0
        scores = {}
        for layer in context.layers:
            key = f"{layer.name}.weight"
            if key not in updates:
                context.skip(layer, "its weight was not trained, so the trace has no updates of it")
                continue
            raw = sensitivity(updates[key], trace.initial[key], layer.weight.cpu(), eta)
            spread = (raw.max() - raw.min()).clamp_min(1e-300)
            scores[layer.name] = (raw - raw.min()) / spread
        return scores

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
