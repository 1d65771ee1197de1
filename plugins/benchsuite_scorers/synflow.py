"""Synaptic flow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from benchsuite import Scorer, Unsupported

if TYPE_CHECKING:
    from torch import Tensor

    from benchsuite import ScoringContext


class SynFlow(Scorer):
    """abs(w x dR/dw), where R sums the outputs of the network with abs(w) for an input of ones.

    Computed in rounds: each round scores the remaining weights and removes those with the lowest scores, so
    that the density falls exponentially to `density`; this prevents a layer from losing all its weights. The
    score is the place in that order of removal, from 0 (removed first) to 1 (kept longest); the weights that
    remain at the end are ordered by their last flow. With one round the score is the flow itself. Every
    parameter is made positive, buffers are not changed; evaluation mode and double precision are used. Unit:
    the sum over the unit's weights; a removed unit also loses its bias and its normalisation's scale and
    shift. It needs no data except the shape of an input. Cost: `rounds` backward passes of one sample.
    Designed for untrained networks. It fails for layers before activations that saturate, such as sigmoids:
    large weights saturate them, and then get a low flow. Networks whose flow is outside the range of double
    precision are not scored.

    Source: Tanaka et al. 2020, algorithm 1.
    """

    name = "synflow"
    granularity = "both"
    data_free = True
    rounds: Annotated[int, Field(ge=1)] = 100
    """Rounds of scoring and removing; the paper uses 100."""
    density: Annotated[float, Field(gt=0, le=1)] = 0.01
    """Share of the weights or units that are left after the last round."""

    def score(self, context: ScoringContext) -> dict[str, Tensor]:
        """Return the flow (one round) or the place in the order of removal.

        Raises:
            Unsupported: the network's flow overflows or vanishes.
        """
        import torch

        by_unit = context.granularity == "unit"
        shapes = {layer.name: (layer.units,) if by_unit else layer.weight.shape for layer in context.layers}
        kept = {
            name: torch.ones(shape, dtype=torch.bool, device=context.device) for name, shape in shapes.items()
        }
        flow = self._flow(context, kept)
        strength = torch.stack([score.sum() for score in flow.values()]).sum()
        if not strength.isfinite():
            raise Unsupported("the flow overflows double precision")
        if strength == 0:
            raise Unsupported("no flow reaches the outputs: it vanishes in double precision")
        if self.rounds == 1:
            return flow
        sizes = [score.numel() for score in flow.values()]
        total = sum(sizes)
        places = torch.zeros(total, dtype=torch.float64, device=context.device)
        left = torch.arange(total, device=context.device)
        for number in range(1, self.rounds + 1):
            keep = round(total * self.density ** (number / self.rounds))
            flat = torch.cat([score.flatten() for score in flow.values()])
            left = left[rising_order(flat[left])]
            # The last round orders everything that is left, the other rounds only what they remove.
            leaving = left if number == self.rounds else left[: max(len(left) - keep, 0)]
            start = total - len(left)
            places[leaving] = torch.arange(
                start, start + len(leaving), device=context.device, dtype=places.dtype
            )
            left = left[len(leaving) :]
            mask = torch.zeros(total, dtype=torch.bool, device=context.device)
            mask[left] = True
            kept = {
                name: part.reshape(shape)
                for (name, shape), part in zip(shapes.items(), mask.split(sizes), strict=True)
            }
            if number < self.rounds:
                flow = self._flow(context, kept)
        ordered = (places / max(total - 1, 1)).split(sizes)
        return {
            name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), ordered, strict=True)
        }

    @staticmethod
    def _flow(context: ScoringContext, kept: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return each weight's or unit's flow in the network that is left."""
        import torch
        from torch.func import functional_call

        model = context.model
        values = {name: value.detach().double().abs() for name, value in model.named_parameters()}
        buffers = {
            name: value.double() if value.is_floating_point() else value
            for name, value in model.named_buffers()
        }
        for layer in context.layers:
            mask = kept[layer.name]
            keys = context.own_parameters(layer) if mask.ndim == 1 else [f"{layer.name}.weight"]
            for key in keys:
                rows = mask.reshape(-1, *[1] * (values[key].ndim - 1)) if mask.ndim == 1 else mask
                values[key] = values[key] * rows
        weights = {layer.name: values[f"{layer.name}.weight"].requires_grad_() for layer in context.layers}
        inputs, _ = next(context.batches(1))
        ones = torch.ones_like(inputs, dtype=torch.float64)
        flow = functional_call(model, values | buffers, (ones,)).sum()
        gradients = torch.autograd.grad(
            flow, list(weights.values()), allow_unused=True, materialize_grads=True
        )
        scores = {
            name: (weight.detach() * gradient).abs()
            for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
        }
        if context.granularity == "unit":
            return {name: score.flatten(1).sum(1) for name, score in scores.items()}
        return scores


def rising_order(flow: Tensor) -> Tensor:
    """Return the places (n,) of a flow's values (n,) from the smallest to the largest.

    Values that may differ only by rounding keep their original order. Flow is conserved, so weights that are
    on a single path have equal flow in all layers: rounding must not rank them.
    """
    import torch

    places = flow.argsort(stable=True)
    rising = flow[places]
    higher = rising[1:] - rising[:-1] > 1e-9 * rising[1:]
    group = torch.cat([higher.new_zeros(min(1, len(flow)), dtype=torch.int64), higher.cumsum(0)])
    return places[(group * len(flow) + places).argsort()]
