"""Synaptic flow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from benchsuite import Scorer, Unsupported, functional_call

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from benchsuite import ScoringContext


class SynFlow(Scorer):
    """abs(w x dR/dw), where R sums the outputs of the network with abs(w) for an input of ones.

    Computed in rounds: each round scores the remaining weights and removes those with the lowest scores, so
    that the density falls exponentially to what the suite's sparsity leaves; where the flow is conserved, as
    with ReLU, this prevents a layer from losing all its weights. The score is the place in that order of
    removal, from 0 (removed first) to 1 (kept longest); the weights that remain at the end are ordered by
    their last flow. With one round the score is the flow itself. Units: the flow of all weights of a unit and
    of the units coupled with it is added up; such units go together, with their biases, their normalisations'
    scale and shift, and the weights by which other layers read them, so that a round sees the network that
    surgery leaves, except that norms over channels still have the mean and variance of all of them. Every
    parameter is made positive, buffers are not changed; evaluation mode and double precision are used. It
    needs no data except the shape of an input.

    Scores can be compared over layers as they are: the flow through every layer is the same, so that a wide
    layer's weights have less of it each, and this is what keeps thin layers alive (Tanaka et al. 2020,
    theorems 1 and 2). The sparsity is taken for the share of parameters that go, or of coupled units, also
    where the suite's budget is another.

    Cost: `rounds` backward passes of one sample. Designed for untrained networks. It fails for layers before
    activations that saturate, such as sigmoids: large weights saturate them, and then get a low flow.
    Networks whose flow is outside the range of double precision are not scored.

    Source: Tanaka et al. 2020, algorithm 1.
    """

    name = "synflow"
    granularity = "both"
    data_free = True
    scale = "network"
    coupled = True
    needs_target = True
    rounds: Annotated[int, Field(ge=1)] = 100
    """Rounds of scoring and removing; the paper uses 100."""
    density: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of the weights or units that are left after the last round; by default what the suite's sparsity
    leaves, or a hundredth where there is none."""

    def score(self, context: ScoringContext) -> dict[str, Tensor]:
        """Return the flow (one round) or the place in the order of removal.

        Raises:
            Unsupported: the network's flow overflows or vanishes.
        """
        import torch

        flow = self._flow(context, {})
        strength = torch.stack([score.sum() for score in flow.values()]).sum()
        if not strength.isfinite():
            raise Unsupported("the flow overflows double precision")
        if strength == 0:
            raise Unsupported("no flow reaches the outputs: it vanishes in double precision")
        if self.rounds > 1:
            flow = self._places(context, flow)
        return context.spread(flow) if context.granularity == "unit" else flow

    def _places(self, context: ScoringContext, flow: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return each weight's or position's place in the order of removal."""
        import torch

        shapes = {name: score.shape for name, score in flow.items()}
        sizes = [score.numel() for score in flow.values()]
        total = sum(sizes)
        places = torch.zeros(total, dtype=torch.float64, device=context.device)
        left = torch.arange(total, device=context.device)
        if context.granularity == "weight":
            # What earlier cuts of a schedule removed comes first, and is no part of what is left.
            gone = torch.cat([context.layer(name).weight.flatten() == 0 for name in flow])
            places[left[gone]] = torch.arange(int(gone.sum()), device=context.device, dtype=places.dtype)
            left = left[~gone]
        alive, density = len(left), self._density(context, len(left), total)
        for number in range(1, self.rounds + 1):
            keep = round(alive * density ** (number / self.rounds))
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
            if number < self.rounds:
                flow = self._flow(context, _by_name(mask, shapes))
        return _by_name(places / max(total - 1, 1), shapes)

    def _density(self, context: ScoringContext, alive: int, total: int) -> float:
        """Return the share of `alive`, of all `total` weights or positions, that the rounds leave."""
        if self.density is not None:
            return self.density
        if context.target is None:
            return 0.01
        if context.granularity == "unit":
            return 1 - context.target
        # Biases and normalisations count in the budget, but cannot be removed.
        others = sum(parameter.numel() for parameter in context.model.parameters()) - total
        return max(1 - context.target * (alive + others) / alive, 1 / alive)

    @staticmethod
    def _flow(context: ScoringContext, kept: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the flow in the network that is left.

        Args:
            context: the network.
            kept: by group, bool (positions,), or by layer, bool in the weight's shape; all where absent.

        Returns:
            By group, (positions,), or by layer, in the weight's shape.
        """
        import torch

        model, by_unit = context.model, context.granularity == "unit"
        values = {name: value.detach().double().abs() for name, value in model.named_parameters()}
        buffers = {
            name: value.double() if value.is_floating_point() else value
            for name, value in model.named_buffers()
        }
        if by_unit:
            for group in context.groups if kept else ():
                removed = ~kept[group.name]
                for member in group.members:
                    gone = torch.tensor(member.units, device=context.device)[removed].flatten()
                    for key in context.own_parameters(context.layer(member.layer)):
                        values[key][gone] = 0
                # A norm behind an addition or a concatenation makes something of nothing: nobody reads it.
                for reader in group.readers:
                    gone = torch.tensor(reader.inputs, device=context.device)[removed].flatten()
                    if (name := f"{reader.layer}.weight") in values:  # else it is tied to one that is listed
                        values[name][:, gone] = 0
        else:
            for name, mask in kept.items():
                values[f"{name}.weight"] *= mask
        weights = {layer.name: values[f"{layer.name}.weight"].requires_grad_() for layer in context.layers}
        inputs, _ = next(context.batches(1))
        if not isinstance(inputs, torch.Tensor):
            raise Unsupported("it feeds ones in place of a sample, which token ids and masks cannot be")
        ones = torch.ones_like(inputs, dtype=torch.float64)
        flow = functional_call(model, values | buffers, (ones,)).sum()
        gradients = torch.autograd.grad(
            flow, list(weights.values()), allow_unused=True, materialize_grads=True
        )
        scores = {
            name: (weight.detach() * gradient).abs()
            for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
        }
        return context.sum_over_groups(scores) if by_unit else scores


def _by_name(flat: Tensor, shapes: dict[str, torch.Size]) -> dict[str, Tensor]:
    """Return the parts of a tensor (n,) under their names and in their shapes."""
    sizes = [shape.numel() for shape in shapes.values()]
    parts = zip(shapes.items(), flat.split(sizes), strict=True)
    return {name: part.reshape(shape) for (name, shape), part in parts}


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
