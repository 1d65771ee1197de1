"""What a metric plugin gets: a network of a trial, the dense one, and the data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch

from benchsuite.errors import PluginError
from benchsuite.metrics.showpieces import Showpieces
from benchsuite.scoring.context import ScoringContext
from benchsuite.scoring.sampled_network import seeded
from benchsuite.scoring.tables import TableStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import Tensor, nn

    from benchsuite.contracts.layers import Layer
    from benchsuite.metrics.metric_stage import Stage
    from benchsuite.scoring.reductions import Reduction
    from benchsuite.training.data import DeviceDataset, DeviceSplit

SplitName = Literal["train", "validation", "test"]


@dataclass(frozen=True, eq=False)
class MeasuredNetwork:
    """A network to measure.

    Attributes:
        model: in evaluation mode.
        layers: the dense network's prunable layers, as they are now.
        kept: by layer, the units of the dense network that are left, in the network's order.
    """

    model: nn.Module
    layers: Sequence[Layer]
    kept: Mapping[str, tuple[int, ...]]


class MetricContext:
    """A network in evaluation mode, what it was made of, and the data.

    Args:
        stage: "dense", "round" (after a round of a schedule that is not its last), or "end".
        network: the network to measure.
        dense: the dense one; at the stage "dense" the same.
        data: the data set on the device.
        device: where networks and data are.
        round_number: how many cuts the network has had.
        batch_size: samples per forward pass.
        seed: decides `generator`, and which samples are drawn; the same for all criteria.
    """

    def __init__(
        self,
        stage: Stage,
        network: MeasuredNetwork,
        dense: MeasuredNetwork,
        data: DeviceDataset,
        device: torch.device,
        *,
        round_number: int = 0,
        batch_size: int = 128,
        seed: int = 0,
    ) -> None:
        self.stage: Stage = stage
        self.round_number, self.device, self.batch_size = round_number, device, batch_size
        self._network, self._dense, self._data, self._seed = network, dense, data, seed
        self._passes: dict[tuple[str, bool, int | None], ScoringContext] = {}
        self.generator = seeded(seed, "metric")
        """A seeded generator on the CPU, the metric's only source of randomness."""
        self.shown = Showpieces()
        """Tables, curves and pictures for people; see `report`, `curve` and `picture`."""

    @property
    def model(self) -> nn.Module:
        """The network to measure; leave it as it is."""
        return self._network.model

    @property
    def dense(self) -> nn.Module:
        """The dense network; leave it as it is."""
        return self._dense.model

    @property
    def layers(self) -> Sequence[Layer]:
        """The layers that could be pruned of the dense network, as they are in the network to measure."""
        return self._network.layers

    @property
    def kept(self) -> Mapping[str, tuple[int, ...]]:
        """By layer, the units of the dense network that are left, in the network's order."""
        return self._network.kept

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in label order."""
        return self._data.classes

    def labels(self, split: SplitName = "test") -> Tensor:
        """Class numbers of a split, (samples,), int64 on the device."""
        return self._split(split).labels

    def batches(
        self, split: SplitName = "test", batch_size: int | None = None
    ) -> Iterator[tuple[Any, Tensor]]:
        """Yield normalised inputs and labels of a whole split on the device, in its order.

        Inputs are a tensor or, of a data set whose inputs come by name, a `TensorMap`.
        """
        found, size = self._split(split), batch_size or self.batch_size
        for inputs, labels in zip(found.inputs.split(size), found.labels.split(size), strict=True):
            yield found.normalise(inputs), labels

    def outputs(self, split: SplitName = "test", *, dense: bool = False) -> Tensor:
        """Return the class scores (before softmax) of a split, (samples, classes), on the device.

        Args:
            split: which one.
            dense: those of the dense network.
        """
        model = self.dense if dense else self.model
        with torch.no_grad():
            return torch.cat([model(inputs) for inputs, _ in self.batches(split)])

    def activations(
        self,
        reduction: str | Reduction = "mean",
        split: SplitName = "train",
        *,
        samples: int | None = None,
        dense: bool = False,
    ) -> dict[str, Tensor]:
        """Return by layer a float32 table (samples, units) on the CPU, as `ScoringContext.activations` does.

        Args:
            reduction: see there.
            split: whose samples.
            samples: so many of them, drawn with the seed; None for all, in an order drawn with the seed, too.
            dense: of the dense network.
        """
        return self._pass(split, dense, samples).activations(reduction)

    def activation_labels(self, split: SplitName = "train", *, samples: int | None = None) -> Tensor:
        """Return the labels of the rows of `activations` with the same arguments, (samples,), on the CPU."""
        return self._pass(split, False, samples).raw_samples["labels"].cpu()

    def report(self, name: str, value: object) -> None:
        """Keep an array or a table for people, as `ScoringContext.report` does; it decides nothing.

        It becomes the file `measured-<metric>-<name>.csv` of the trial or the dense model.

        Raises:
            PluginError: it is none of these; numbers are returned by `measure`.
        """
        self.shown.add_table(name, value)

    def curve(
        self, name: str, x: Sequence[float], y: Mapping[str, Sequence[float]], axes: tuple[str, str]
    ) -> None:
        """Keep lines for people: a table and a drawing of it.

        Args:
            name: lower-case letters, digits and underscores, at most 40; each once.
            x: places on the horizontal axis.
            y: by the name of a line, as many values; NaN where there is none.
            axes: titles of the horizontal and the vertical axis.

        Raises:
            PluginError: the lines have another length than `x`, or there are too many.
        """
        self.shown.add_curve(name, x, y, axes)

    def picture(self, name: str, picture: object) -> None:
        """Keep a picture for people.

        Args:
            name: as for `curve`.
            picture: a figure of matplotlib, or the bytes of a PNG file, at most 2 MiB.

        Raises:
            PluginError: it is neither.
        """
        self.shown.add_picture(name, picture)

    def _split(self, name: str) -> DeviceSplit:
        found: DeviceSplit | None = {
            "train": self._data.train,
            "validation": self._data.validation,
            "test": self._data.test,
        }.get(name)
        if found is None:
            raise PluginError(f"there is no split {name!r:.40}; there are train, validation and test")
        return found

    def _pass(self, split: str, dense: bool, samples: int | None) -> ScoringContext:
        """A network with some samples, which reads their activations once."""
        key = split, dense, samples
        if key not in self._passes:
            network, data = self._dense if dense else self._network, self._split(split)
            self._passes[key] = ScoringContext(
                network.model,
                network.layers,
                data.inputs,
                data.labels,
                normalise=data.normalise,
                classes=len(self._data.classes),
                samples=samples,
                batch_size=self.batch_size,
                seed=self._seed,
                device=self.device,
                store=TableStore(),
            )
        return self._passes[key]
