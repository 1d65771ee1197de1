"""A network with a fixed part of its training or validation data, for passes over samples."""

from __future__ import annotations

import hashlib
from collections import Counter
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchsuite.contracts.inputs import example_of, under_names
from benchsuite.contracts.layers import CoupledGroup, GroupMember
from benchsuite.errors import PluginError, Unsupported
from benchsuite.scoring.calls import call_input
from benchsuite.scoring.gates import places_of
from benchsuite.scoring.gradients import own_parameters
from benchsuite.scoring.padding import without_padding
from benchsuite.scoring.points import ActivationPoint, find_points, reading
from benchsuite.scoring.readers import ungated_groups

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from benchsuite.contracts.inputs import Inputs
    from benchsuite.contracts.layers import Granularity, Layer
    from benchsuite.scoring.gates import Places


class Sampling(TypedDict, total=False):
    """The optional arguments of `SampledNetwork`, for classes built on it."""

    groups: Sequence[CoupledGroup]
    normalise: Callable[[Any], Any] | None
    classes: int | None
    samples: int | None
    half: Literal[0, 1] | None
    batch_size: int
    seed: int
    device: torch.device | str
    granularity: Granularity


class SampledNetwork:
    """A network in evaluation mode with a fixed, seeded part of its training or validation split.

    Args:
        model: the network; moved to `device` and put into evaluation mode.
        layers: the layers to score.
        inputs: the split's inputs, samples first: floats, a `TensorMap`, or what `normalise` takes.
        labels: their class numbers.
        groups: the coupled groups that `layers` form; without any, each layer is one, whose readers are not
            known.
        normalise: turns a batch of inputs, already on the device, into what the network expects.
        classes: number of classes; by default one more than the largest label.
        samples: how many of the inputs to use, drawn with `seed`; None for all.
        half: use the first or the second half of those only.
        batch_size: samples per forward pass.
        seed: decides the samples.
        device: where the network and the batches are.
        granularity: what the suite prunes.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[Layer],
        inputs: Inputs,
        labels: Tensor,
        *,
        groups: Sequence[CoupledGroup] = (),
        normalise: Callable[[Any], Any] | None = None,
        classes: int | None = None,
        samples: int | None = None,
        half: Literal[0, 1] | None = None,
        batch_size: int = 128,
        seed: int = 0,
        device: torch.device | str = "cpu",
        granularity: Granularity = "unit",
    ) -> None:
        self.device = torch.device(device)
        self.model = model.to(self.device).eval()
        self.layers = tuple(layers)
        self.groups = tuple(groups) or tuple(_alone(layer) for layer in self.layers)
        self.granularity: Granularity = granularity
        self.batch_size = batch_size
        self.seed = seed
        self._normalise = normalise
        count = min(samples or len(labels), len(labels))
        chosen = torch.randperm(len(labels), generator=seeded(seed, "samples"))[:count].to(inputs.device)
        if half is not None:
            chosen = chosen[: count // 2] if half == 0 else chosen[count // 2 : count // 2 * 2]
        self._inputs: Any = inputs[chosen].to(self.device)
        self._labels = labels[chosen].to(self.device)
        self.classes = int(labels.max()) + 1 if classes is None else classes

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
        """How many samples `batches` yields in all."""
        return len(self._labels)

    @property
    def raw_samples(self) -> dict[str, Tensor]:
        """The samples' "inputs", not normalised, and "labels"."""
        return {**under_names(self._inputs, "inputs"), "labels": self._labels}

    def batches(self, batch_size: int | None = None) -> Iterator[tuple[Any, Tensor]]:
        """Yield normalised inputs and labels on the device, always the same samples in the same order.

        Inputs are a tensor or, of a data set whose inputs come by name, a `TensorMap`; the network takes both
        as its only argument.
        """
        size = batch_size or self.batch_size
        for inputs, labels in zip(self._inputs.split(size), self._labels.split(size), strict=True):
            yield (inputs if self._normalise is None else self._normalise(inputs)), labels

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy."""
        return cross_entropy(outputs, labels)

    def leaf_parameters(self) -> dict[str, Tensor]:
        """Return the parameters by name as leaves that require a gradient and share the network's memory.

        With `torch.func.functional_call` they give gradients without changing the network.
        """
        return {name: value.detach().requires_grad_() for name, value in self.model.named_parameters()}

    def own_parameters(self, layer: Layer) -> list[str]:
        """Return the names of a layer's weight (first), its bias, and its normalisation's scale and shift.

        Only those that exist are returned; each parameter has one row per unit.
        """
        return own_parameters(layer, dict(self.model.named_parameters()))

    @cached_property
    def _points(self) -> dict[str, ActivationPoint]:
        inputs, _ = next(self.batches(min(2, self.samples)))
        return find_points(self.model, self.layers, inputs)

    @cached_property
    def ungated(self) -> dict[str, str]:
        """The groups whose gates cannot be read, with the reasons (`benchsuite.scoring.readers`)."""
        inputs = example_of(self._inputs)
        inputs = inputs if self._normalise is None else self._normalise(inputs)
        return ungated_groups(self.model, self.groups, self.leaf_parameters(), inputs)

    @cached_property
    def gate_places(self) -> Places:
        """Where the groups' gates are (`benchsuite.scoring.gates`)."""
        return places_of(self.groups, self.ungated, self.device)

    def reading(self, sink: Callable[[str, Tensor], None]) -> AbstractContextManager[None]:
        """Call `sink(layer name, tensor)` at each activation point in one forward pass inside the block."""
        return reading(self.reached, self._points, sink)

    @property
    def reached(self) -> list[Layer]:
        """The layers that the network's forward pass reaches."""
        return [layer for layer in self.layers if layer.name in self._points]

    def layer_inputs(self) -> Iterator[dict[str, Tensor]]:
        """Yield for each batch, by layer, its input tensor at its first call, in the network's own layout.

        What a layer reads at positions of padding is zero there.

        Raises:
            Unsupported: a layer is called anew for each sample.
        """
        inputs, _ = next(self.batches(min(2, self.samples)))
        one, two = (self._calls(part) for part in (inputs[:1], inputs))
        if often := [name for name, number in two.items() if number > one[name]]:
            raise Unsupported(
                f"layer {often[0]} is called anew for each sample, and its first call is not all"
            )
        for inputs, _ in self.batches():
            kept: dict[str, Tensor] = {}
            self._run_with(inputs, lambda name: partial(_keep_input, kept, name, inputs))  # noqa: B023 - called at once
            yield kept

    def _calls(self, inputs: Inputs) -> Counter[str]:
        """How often a forward pass calls each layer."""
        calls: Counter[str] = Counter()
        self._run_with(inputs, lambda name: lambda *_: calls.update([name]))
        return calls

    def _run_with(self, inputs: Inputs, hook: Callable[[str], Callable[..., None]]) -> None:
        """Run the network once, with a forward pre-hook with keyword arguments on each layer."""
        handles = [
            layer.module.register_forward_pre_hook(hook(layer.name), with_kwargs=True)
            for layer in self.layers
        ]
        try:
            with torch.no_grad():
                self.model(inputs)
        finally:
            for handle in handles:
                handle.remove()


def _alone(layer: Layer) -> CoupledGroup:
    """A group of one layer's units."""
    units = tuple((unit,) for unit in range(layer.units))
    return CoupledGroup(layer.name, (GroupMember(layer.name, units),), layer.units)


def _keep_input(
    kept: dict[str, Tensor],
    name: str,
    inputs: Inputs,
    module: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> None:
    # The first use counts; the input is copied, since a later operation may overwrite it in place.
    if name not in kept:
        kept[name] = without_padding(module, call_input(args, kwargs).detach(), inputs).clone()


def seeded(seed: int, purpose: str) -> torch.Generator:
    """A generator on the CPU for one purpose."""
    digest = hashlib.sha256(f"{seed} {purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
