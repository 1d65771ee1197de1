"""What a scorer gets: a network and part of its training or validation data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

import torch

from benchsuite.errors import Unsupported
from benchsuite.scoring.backward import gradient_batches
from benchsuite.scoring.gradients import GradientStatistic, find_statistic
from benchsuite.scoring.reductions import Reduction, find_reduction
from benchsuite.scoring.reports import Reports
from benchsuite.scoring.sampled_network import SampledNetwork, Sampling, seeded
from benchsuite.scoring.shared import SharedPasses
from benchsuite.scoring.tables import TableStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import Tensor, nn

    from benchsuite.contracts.inputs import Inputs
    from benchsuite.contracts.layers import Layer
    from benchsuite.training import TrainingTrace


class ScoringContext(SampledNetwork):
    """A trained network in evaluation mode with a fixed, seeded part of its training or validation split.

    Args:
        model: the dense network; moved to `device` and put into evaluation mode.
        layers: the layers to score.
        inputs: the split's inputs, samples first: floats, a `TensorMap`, or what `normalise` takes.
        labels: their class numbers.
        draw: number of the independent draw of a random criterion; with `seed` and `round_number` it decides
            the generator.
        round_number: how many cuts the network has had; each round of a schedule draws anew.
        target: for scorers that need it, the share of the budget that the next cut will remove from the
            network as it is; None where that is not known.
        store: keeps activation tables and gradient statistics; share its folder between processes that
            score the same network.
        reductions: what other scorers of the suite will ask `activations` for: the first forward pass
            computes these too.
        statistics: what they will ask `gradient_statistic` for: the first backward pass computes these too.
        trace: the training trace, if training recorded one.
        at_init: whether the network is as it was before training.
        stream: tells the generator from that of another scoring with the same seed and draw.
        options: the optional arguments of `SampledNetwork`.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[Layer],
        inputs: Inputs,
        labels: Tensor,
        *,
        draw: int = 0,
        round_number: int = 0,
        target: float | None = None,
        store: TableStore | None = None,
        reductions: Sequence[str | Reduction] = (),
        statistics: Sequence[str | GradientStatistic] = (),
        trace: TrainingTrace | None = None,
        at_init: bool = False,
        stream: str = "",
        **options: Unpack[Sampling],
    ) -> None:
        super().__init__(model, layers, inputs, labels, **options)
        self.draw, self.round_number = draw, round_number
        self.target, self.at_init = target, at_init
        self._shared = SharedPasses(
            self,
            store or TableStore(),
            [find_reduction(reduction) for reduction in reductions],
            [find_statistic(statistic) for statistic in statistics],
        )
        self._trace, self._stream = trace, stream
        self.restart()

    def restart(self) -> None:
        """Prepare for a new scorer: reset the generator and the skipped layers."""
        later = f" round {self.round_number}" if self.round_number else ""
        own = f" of {self._stream}" if self._stream else ""
        self.generator = seeded(self.seed, f"draw {self.draw}{later}{own}")
        """A seeded generator on the CPU, the scorer's only source of randomness."""
        self.skipped: dict[str, str] = {}
        """Reasons for the layers that the scorer could not score, by name."""
        self.reports = Reports()
        """What the scorer said of its own work; see `report`."""

    def report(self, name: str, value: object) -> None:
        """Keep something of the scorer's own work for people, such as a standard error; it decides nothing.

        A number becomes the metric `reported/<name>` of the trials. An array or a table becomes the file
        `report-<name>.csv` in their folders, which MLflow and the leaderboard show too. Only the scoring of
        the dense network is reported, with all of its samples.

        Args:
            name: lower-case letters, digits and underscores, at most 40; each once.
            value: a finite number; an array or tensor of one or two dimensions; or a table as a list of rows,
                dicts with the same columns, of numbers and short texts. NaN stands for what is not known.

        Raises:
            PluginError: it is none of these.
        """
        self.reports.add(name, value)

    def spread(
        self, positions: Mapping[str, Tensor], reasons: Mapping[str, str] | None = None
    ) -> dict[str, Tensor]:
        """Turn scores of coupled units into scores of units, for scorers that are `coupled`.

        Layers of which no unit can be removed, and those with a group that is absent, are skipped.

        Args:
            positions: by group name, one score per position, shape (group.size,).
            reasons: by group name, why a group is absent, such as `ungated`.

        Returns:
            By layer, (units,): each unit has the score of its position; a unit that cannot be removed has 0.
        """
        scores: dict[str, Tensor] = {}
        for group in self.groups:
            if group.name not in positions:
                for member in group.members:
                    reason = (reasons or {}).get(
                        group.name, f"there are no scores for its group {group.name}"
                    )
                    self.skipped.setdefault(member.layer, reason)
        for group in self.groups:
            for member in group.members:
                if member.layer in self.skipped:
                    continue
                given = positions[group.name]
                if member.layer not in scores:
                    scores[member.layer] = given.new_zeros(self.layer(member.layer).units)
                width = len(member.units[0])
                places = torch.tensor(member.units, device=given.device).flatten()
                scores[member.layer][places] = given.repeat_interleave(width)
        for layer in self.layers:
            if layer.name not in scores and layer.name not in self.skipped:
                self.skip(layer, "none of its units can be removed by itself")
        return scores

    def sum_over_groups(
        self, scores: Mapping[str, Tensor], owners: Mapping[str, str] | None = None
    ) -> dict[str, Tensor]:
        """Add up scores of units, or of their weights, over coupled units: by group name, (group.size,).

        Args:
            scores: by layer, (units,) or the weight's shape; absent layers add nothing.
            owners: by layer, the name of what is scored, where several layers may share it, such as a
                normalisation or an activation map; what they share counts once in a group.
        """
        flat = sum_over_units(scores)
        sums = {}
        for group in self.groups:
            distinct = {
                ((owners or {}).get(member.layer, member.layer), member.units): flat[member.layer]
                for member in group.members
                if member.layer in flat
            }
            parts = [
                score[torch.tensor(units, device=score.device)].sum(1)
                for (_, units), score in distinct.items()
            ]
            if parts:
                sums[group.name] = torch.stack(parts).sum(0)
        return sums

    def skip(self, layer: Layer | str, reason: str) -> None:
        """Declare that the criterion cannot score a layer, which is then left out of the scores."""
        name = layer if isinstance(layer, str) else layer.name
        self.layer(name)
        self.skipped[name] = reason

    @property
    def training_trace(self) -> TrainingTrace:
        """What training recorded; raises `Unsupported` if it recorded nothing."""
        if self._trace is None:
            raise Unsupported(
                "no training trace: only the trained dense network has one, where its training recorded it"
            )
        return self._trace

    def gradients(self, batch_size: int | None = None) -> Iterator[dict[str, Tensor]]:
        """Yield for each batch the gradient of its mean loss by parameter name; zero if unused."""
        for batch in gradient_batches(self, activations=False, batch_size=batch_size):
            yield dict(batch.gradients)

    def gradient_statistic(self, statistic: str | GradientStatistic) -> dict[str, Tensor]:
        """Return a statistic of the gradients of all batches by layer or group, on the device.

        One backward pass per batch computes every statistic that any scorer of the suite has announced by
        `Scorer.gradient_statistics`.

        Args:
            statistic: a `GradientStatistic`, or the name of one: "mean-gradient", "squared-gate" (by
                group), "activation-change" (`benchsuite.scoring.gradients` says what they are).
        """
        found = self._shared.statistic(find_statistic(statistic))
        names = dict.fromkeys(
            [*(layer.name for layer in self.layers), *(group.name for group in self.groups)]
        )
        return {name: found[name].to(self.device) for name in names if name in found}

    def activation_function(self, layer: Layer | str) -> str | None:
        """Name the non-linearity after a layer as torch calls it, such as "relu"; None if none follows."""
        point = self._points.get(layer if isinstance(layer, str) else layer.name)
        return None if point is None else point.function

    def zero_below(self, layer: Layer | str) -> bool:
        """Whether the non-linearity after a layer is exactly zero for negative inputs, as ReLU is."""
        point = self._points.get(layer if isinstance(layer, str) else layer.name)
        return point is not None and point.zero_below

    def map_owner(self, layer: Layer | str) -> str:
        """Name the first of the layers whose activation map is this layer's too, as that of their sum is."""
        name = layer if isinstance(layer, str) else layer.name
        point = self._points.get(name)
        return name if point is None or point.owner is None else point.owner

    def activations(self, reduction: str | Reduction = "mean") -> dict[str, Tensor]:
        """Return a float32 table (samples, units) on the CPU for each layer: its reduced activation maps.

        Maps are read after the non-linearity (`benchsuite.scoring.points` says where exactly); a
        convolution's positions are pixels, a linear layer's are tokens, a recurrent layer's are steps. Layers
        that the network's forward pass does not reach are absent; positions of padding are left out. One pass
        over the samples computes every reduction that any scorer of the suite has announced by
        `Scorer.reductions`.

        Args:
            reduction: a `Reduction`, or the name of one: "mean", "max", "variance", "zero-fraction",
                "rank", "top-5-mean" (or any other number).
        """
        return self._shared.table(find_reduction(reduction))

    def activation_gradients(self) -> Iterator[dict[str, tuple[Tensor, Tensor]]]:
        """Yield for each batch, by layer, its activation maps and the gradients of each sample's own loss.

        Both have the shape (samples, units, positions...). In evaluation mode a sample's loss depends only on
        its own activations. Recurrent layers are absent: a gradient at their output lacks what their units do
        from step to step inside.
        """
        for batch in gradient_batches(self, activations=True):
            yield dict(batch.activations)


def sum_over_units(scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return unit scores (units,) from weight scores: the sum over each unit's weights."""
    return {name: score.flatten(1).sum(1) if score.ndim > 1 else score for name, score in scores.items()}
