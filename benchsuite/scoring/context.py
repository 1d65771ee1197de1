"""What a scorer sees of a network and its training data."""

from __future__ import annotations

import hashlib
from functools import cached_property, partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchsuite.errors import PluginError, Unsupported
from benchsuite.scoring.backward import gradient_batches
from benchsuite.scoring.gradients import GradientStatistic, find_statistic, own_parameters
from benchsuite.scoring.points import ActivationPoint, find_points, reading
from benchsuite.scoring.reductions import Reduction, find_reduction
from benchsuite.scoring.shared import SharedPasses
from benchsuite.scoring.tables import TableStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from benchsuite.layers import CoupledGroup, Layer
    from benchsuite.scoring.scorer import Granularity
    from benchsuite.training import TrainingTrace


class ScoringContext:
    """A trained network in evaluation mode with a fixed, seeded part of its training split.

    Args:
        model: the dense network; moved to `device` and put into evaluation mode.
        layers: the layers to score.
        inputs: the training split's inputs, samples first: floats, or whatever `normalise` takes.
        labels: their class numbers.
        groups: the coupled groups that `layers` form.
        normalise: makes a batch of inputs, already on the device, what the network expects.
        classes: number of classes; by default one more than the largest label.
        samples: how many of the inputs to use, drawn with `seed`; None for all.
        batch_size: samples per forward pass.
        seed: decides the samples and, with `draw`, the generator.
        draw: number of the independent draw of a random criterion.
        device: where the network and the batches live.
        granularity: what the suite prunes.
        store: keeps activation tables and gradient statistics; share its folder between processes that
            score the same network.
        reductions: what other scorers of the suite will ask `activations` for: the first forward pass
            serves them too.
        statistics: what they will ask `gradient_statistic` for: the first backward pass serves them too.
        trace: the training trace, where training recorded one.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[Layer],
        inputs: Tensor,
        labels: Tensor,
        *,
        groups: Sequence[CoupledGroup] = (),
        normalise: Callable[[Tensor], Tensor] | None = None,
        classes: int | None = None,
        samples: int | None = None,
        batch_size: int = 128,
        seed: int = 0,
        draw: int = 0,
        device: torch.device | str = "cpu",
        granularity: Granularity = "unit",
        store: TableStore | None = None,
        reductions: Sequence[str | Reduction] = (),
        statistics: Sequence[str | GradientStatistic] = (),
        trace: TrainingTrace | None = None,
    ) -> None:
        self.device = torch.device(device)
        self.model = model.to(self.device).eval()
        self.layers = tuple(layers)
        self.groups = tuple(groups)
        self.granularity: Granularity = granularity
        self.batch_size = batch_size
        self.seed, self.draw = seed, draw
        self._normalise = normalise
        count = min(samples or len(labels), len(labels))
        chosen = torch.randperm(len(labels), generator=_generator(seed, "samples"))[:count].to(inputs.device)
        self._inputs = inputs[chosen].to(self.device)
        self._labels = labels[chosen].to(self.device)
        self.classes = int(labels.max()) + 1 if classes is None else classes
        self._shared = SharedPasses(
            self,
            store or TableStore(),
            [find_reduction(reduction) for reduction in reductions],
            [find_statistic(statistic) for statistic in statistics],
        )
        self._trace = trace
        self.restart()

    def restart(self) -> None:
        """Begin a scorer: its generator starts anew and no layer is skipped."""
        self.generator = _generator(self.seed, f"draw {self.draw}")
        """A seeded generator on the CPU, the scorer's only source of randomness."""
        self.skipped: dict[str, str] = {}
        """Reasons of the layers that the scorer could not serve, by name."""

    def skip(self, layer: Layer | str, reason: str) -> None:
        """Say that the criterion cannot serve a layer, which is then left out of the scores."""
        name = layer if isinstance(layer, str) else layer.name
        self.layer(name)
        self.skipped[name] = reason

    def layer(self, name: str) -> Layer:
        """Return the layer of that name; raises `PluginError` if there is none."""
        if name not in self._by_name:
            raise PluginError(f"there is no layer {name!r}; there are: {', '.join(self._by_name)}")
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> dict[str, Layer]:
        return {layer.name: layer for layer in self.layers}

    @property
    def samples(self) -> int:
        """How many samples `batches` gives in all."""
        return len(self._labels)

    @property
    def training_trace(self) -> TrainingTrace:
        """What training recorded; raises `Unsupported` where it recorded nothing."""
        if self._trace is None:
            raise Unsupported(
                "no training trace: the network was not trained by this suite, or its training recorded none"
            )
        return self._trace

    @property
    def raw_samples(self) -> dict[str, Tensor]:
        """The samples' "inputs", not normalised, and "labels"."""
        return {"inputs": self._inputs, "labels": self._labels}

    def batches(self, batch_size: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Give normalised inputs and labels on the device, always the same samples in the same order."""
        size = batch_size or self.batch_size
        for inputs, labels in zip(self._inputs.split(size), self._labels.split(size), strict=True):
            yield (inputs if self._normalise is None else self._normalise(inputs)), labels

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy."""
        return cross_entropy(outputs, labels)

    def leaf_parameters(self) -> dict[str, Tensor]:
        """Return the parameters by name as leaves that require a gradient and share the network's memory.

        With `torch.func.functional_call` they give gradients without leaving a trace in the network.
        """
        return {name: value.detach().requires_grad_() for name, value in self.model.named_parameters()}

    def gradients(self, batch_size: int | None = None) -> Iterator[dict[str, Tensor]]:
        """Give for each batch the gradient of its mean loss by parameter name; zero where unused."""
        for batch in gradient_batches(self, activations=False, batch_size=batch_size):
            yield dict(batch.gradients)

    def own_parameters(self, layer: Layer) -> list[str]:
        """Return the names of a layer's weight (first), its bias, and its normalisation's scale and shift.

        Those that exist; each parameter has one row per unit.
        """
        return own_parameters(layer, dict(self.model.named_parameters()))

    def gradient_statistic(self, statistic: str | GradientStatistic) -> dict[str, Tensor]:
        """Return a statistic of the gradients of all batches by layer, on the device.

        One backward pass per batch serves every statistic that any scorer of the suite has announced by
        `Scorer.gradient_statistics`.

        Args:
            statistic: a `GradientStatistic`, or the name of one: "mean-gradient", "squared-change",
                "activation-change" (`benchsuite.scoring.gradients` says what they are).
        """
        found = self._shared.statistic(find_statistic(statistic))
        return {layer.name: found[layer.name].to(self.device) for layer in self.layers if layer.name in found}

    def activation_function(self, layer: Layer | str) -> str | None:
        """Name the non-linearity behind a layer as torch calls it, such as "relu"; None if none follows."""
        point = self._points.get(layer if isinstance(layer, str) else layer.name)
        return None if point is None else point.function

    @cached_property
    def _points(self) -> dict[str, ActivationPoint]:
        inputs, _ = next(self.batches(min(2, self.samples)))
        return find_points(self.model, self.layers, inputs)

    def activations(self, reduction: str | Reduction = "mean") -> dict[str, Tensor]:
        """Return a float32 table (samples, units) on the CPU for each layer: its reduced activation maps.

        Maps are read after the non-linearity (`benchsuite.scoring.points` says where exactly); a
        convolution's positions are pixels, a linear layer's are tokens. Layers that the network's forward
        pass does not reach are absent. One pass over the samples serves every reduction that any scorer of
        the suite has announced by `Scorer.reductions`.

        Args:
            reduction: a `Reduction`, or the name of one: "mean", "max", "variance", "zero-fraction",
                "rank", "top-5-mean" (or any other number).
        """
        return self._shared.table(find_reduction(reduction))

    def reading(self, sink: Callable[[str, Tensor], None]) -> AbstractContextManager[None]:
        """Call `sink(layer name, tensor)` at each activation point of one forward pass inside."""
        return reading(self.reached, self._points, sink)

    @property
    def reached(self) -> list[Layer]:
        """The layers that the network's forward pass reaches."""
        return [layer for layer in self.layers if layer.name in self._points]

    def activation_gradients(self) -> Iterator[dict[str, tuple[Tensor, Tensor]]]:
        """Give for each batch, by layer, its activation maps and the gradients of each sample's own loss.

        Both have the shape (samples, units, positions...). In evaluation mode a sample's loss depends on
        its own activations only.
        """
        for batch in gradient_batches(self, activations=True):
            yield dict(batch.activations)

    def layer_inputs(self) -> Iterator[dict[str, Tensor]]:
        """Give for each batch, by layer, the tensor that enters it, in the network's own layout."""
        for inputs, _ in self.batches():
            entered: dict[str, Tensor] = {}
            handles = [
                layer.module.register_forward_pre_hook(partial(_keep_input, entered, layer.name))
                for layer in self.layers
            ]
            try:
                with torch.no_grad():
                    self.model(inputs)
            finally:
                for handle in handles:
                    handle.remove()
            yield entered


def _keep_input(
    entered: dict[str, Tensor], name: str, _module: nn.Module, arguments: tuple[Tensor, ...]
) -> None:
    # The first use counts; copied, since a later operation may overwrite it in place.
    entered.setdefault(name, arguments[0].detach().clone())


def _generator(seed: int, purpose: str) -> torch.Generator:
    digest = hashlib.sha256(f"{seed} {purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def sum_over_units(scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return unit scores (units,) from weight scores: the sum over each unit's weights."""
    return {name: score.flatten(1).sum(1) if score.ndim > 1 else score for name, score in scores.items()}
