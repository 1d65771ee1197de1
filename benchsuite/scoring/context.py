"""What a scorer sees of a network and its training data."""

from __future__ import annotations

import hashlib
from functools import cached_property, partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from benchsuite.errors import PluginError, Unsupported
from benchsuite.scoring.points import ActivationPoint, as_maps, find_points, reading
from benchsuite.scoring.reductions import Reduction, find_reduction
from benchsuite.scoring.tables import TableStore, fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

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
        store: keeps activation tables; share its folder between processes that score the same network.
        reductions: what other scorers of the suite will ask `activations` for: the first forward pass
            serves them too.
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
        self._store = store or TableStore()
        self._announced = tuple(find_reduction(reduction) for reduction in reductions)
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
        parameters = self.leaf_parameters()
        for inputs, labels in self.batches(batch_size):
            loss = self.loss(functional_call(self.model, parameters, (inputs,)), labels)
            gradients = torch.autograd.grad(
                loss, list(parameters.values()), allow_unused=True, materialize_grads=True
            )
            yield dict(zip(parameters, gradients, strict=True))

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
        wanted = find_reduction(reduction)
        table = self._store.load(self._table_key(wanted))
        if table is None:
            with self._store.lock():
                self._fill_tables(wanted)
            table = self._store.load(self._table_key(wanted))
        assert table is not None
        return {
            layer.name: table[:, columns] for layer, columns in zip(self._reached, self._columns, strict=True)
        }

    @property
    def _reached(self) -> list[Layer]:
        return [layer for layer in self.layers if layer.name in self._points]

    @property
    def _columns(self) -> list[slice]:
        ends = torch.tensor([layer.units for layer in self._reached]).cumsum(0).tolist()
        return [slice(end - layer.units, end) for end, layer in zip(ends, self._reached, strict=True)]

    @cached_property
    def _content(self) -> str:
        """Identifies the network, its layers and the samples."""
        layers = " ".join(layer.name for layer in self.layers)
        structure = f"{self.model}\n{layers}\n{self.batch_size}"
        data = {"inputs": self._inputs, "labels": self._labels}
        return f"{fingerprint(dict(self.model.state_dict()))}\n{fingerprint(data)}\n{structure}"

    def _table_key(self, reduction: Reduction) -> str:
        return f"{self._content}\n{reduction.key}"

    def _fill_tables(self, wanted: Reduction) -> None:
        """Run the samples through the network once for every reduction that is not in the store."""
        missing = {
            self._table_key(reduction): reduction
            for reduction in (wanted, *self._announced)
            if self._store.load(self._table_key(reduction)) is None
        }
        if not missing:
            return  # Another process filled them while this one waited for the lock.
        columns = {layer.name: part for layer, part in zip(self._reached, self._columns, strict=True)}
        width = sum(layer.units for layer in self._reached)
        with self._store.filling(list(missing), (self.samples, width)) as arrays, torch.no_grad():
            row = 0
            for inputs, _ in self.batches():
                count = len(inputs)
                filled = [torch.zeros(count, width, device=self.device) for _ in missing]
                reduce = partial(self._reduce, list(missing.values()), filled, columns)
                with reading(self._reached, self._points, reduce):
                    self.model(inputs)
                for array, table in zip(arrays, filled, strict=True):
                    array[row : row + count] = table.cpu().numpy()
                row += count

    def _reduce(
        self,
        reductions: list[Reduction],
        tables: list[Tensor],
        columns: dict[str, slice],
        name: str,
        tensor: Tensor,
    ) -> None:
        maps = as_maps(self.layer(name), tensor, len(tables[0]))
        for table, reduction in zip(tables, reductions, strict=True):
            table[:, columns[name]] = reduction(maps)

    def activation_gradients(self) -> Iterator[dict[str, tuple[Tensor, Tensor]]]:
        """Give for each batch, by layer, its activation maps and the gradients of each sample's own loss.

        Both have the shape (samples, units, positions...). In evaluation mode a sample's loss depends on
        its own activations only, so the gradient of the batch's summed loss is that of each sample.
        """
        parameters = self.leaf_parameters()
        for inputs, labels in self.batches():
            watcher = _Watcher(self, len(inputs))
            with reading(self._reached, self._points, watcher.watch):
                outputs = functional_call(self.model, parameters, (inputs,))
            loss = cross_entropy(outputs, labels, reduction="sum")
            torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
            yield {
                name: (maps, watcher.gradients.get(name, torch.zeros_like(maps)))
                for name, maps in watcher.maps.items()
            }

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


class _Watcher:
    """Keeps one batch's activation maps and, once the loss went backward, their gradients."""

    def __init__(self, context: ScoringContext, samples: int) -> None:
        self._context, self._samples = context, samples
        self.maps: dict[str, Tensor] = {}
        self.gradients: dict[str, Tensor] = {}

    def watch(self, name: str, tensor: Tensor) -> None:
        # Copied, since a later operation may overwrite it in place.
        self.maps[name] = self._ordered(name, tensor.detach().clone())
        tensor.register_hook(partial(self._keep, name))

    def _keep(self, name: str, gradient: Tensor) -> None:
        self.gradients[name] = self._ordered(name, gradient)

    def _ordered(self, name: str, tensor: Tensor) -> Tensor:
        return as_maps(self._context.layer(name), tensor, self._samples)


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
