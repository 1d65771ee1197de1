"""Dissecting a network: one pass for the thresholds, one for the counts."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - its name everywhere
from torch import Tensor, nn

from benchsuite.errors import Unsupported
from benchsuite.hardware.devices import exact_float32
from benchsuite.metrics.dissection.counting import BatchLabels, LayerCounts, batch_labels
from benchsuite.metrics.dissection.layers import MapReader
from benchsuite.metrics.dissection.result import Dissection, LayerDissection, ious_from_counts
from benchsuite.metrics.dissection.stages import choose_layers
from benchsuite.metrics.dissection.thresholds import UpperQuantile, upper_quantile

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchsuite.metrics.dissection.packing import PackedConcepts
    from benchsuite.metrics.dissection.settings import DissectionSettings

KEPT_BYTES = 1024**3
"""Maps of at most this size are kept from the first pass, so that no second pass is needed."""
TOP_IMAGES = 4
"""How many of the images that activate a unit most are remembered for pictures."""
_NULL_SEED = 20_170_719


def dissect(
    model: nn.Module,
    concepts: PackedConcepts,
    settings: DissectionSettings,
    *,
    device: torch.device | str,
    mean: Sequence[float],
    std: Sequence[float],
    input_shape: Sequence[int],
) -> Dissection:
    """Count how every unit of some layers agrees with every concept (Bau et al. 2017, section 2.2).

    The fraction `settings.quantile` of all values of unit k's maps is above the threshold T_k. Maps are
    interpolated bilinearly to the label maps' size (`align_corners=False`); the unit's mask is where they
    exceed T_k. All counts are integers over the whole set. The null counts come from the same masks, with
    every image given the labels of another one at random, so that concepts keep their positions in the image
    but no longer match what the image shows.

    Memory: the packed set is mapped from its files. Beyond what the network takes, each layer needs at most
    3 x `quantile` of its maps for the thresholds (2 GiB at most, see `upper_quantile`), 8 bytes x units x
    concepts x (1 + null draws) for the counts, and with pictures units x `TOP_IMAGES` x label-map pixels; all
    layers together keep at most `KEPT_BYTES` of maps between the passes.

    Args:
        model: read in evaluation mode, on `device`; its mode is restored.
        concepts: images are resized to the network's input, and averaged over channels for networks of one.
        settings: layers, quantile, batch size and null draws.
        device: where the model is.
        mean: of the model's own data, per channel on the scale 0..1.
        std: of the same data and scale.
        input_shape: of one sample of the model's own data, (channels, height, width).

    Raises:
        Unsupported: the network or its input has no maps.
        UsageError: a layer named in the settings does not exist.
    """
    if len(input_shape) != 3:
        raise Unsupported(
            f"dissection needs a network for images; this one's samples are {tuple(input_shape)}"
        )
    size = (settings.input_size,) * 2 if settings.input_size else tuple(input_shape[1:])
    feed = _Feed(concepts, settings.batch_size, int(input_shape[0]), size, mean, std, device)
    with _evaluating(model), torch.inference_mode(), exact_float32():
        sample = feed.inputs(0)[:2]
        names = choose_layers(model, sample) if settings.layers == "auto" else settings.layers
        reader = MapReader(model, names, sample)
        first = _first_pass(model, reader, feed, settings.quantile)
        counts = _second_pass(model, reader, feed, first, settings)
    return Dissection(
        concepts=concepts.concepts,
        pixels=concepts.pixels.numpy(),
        images_with=concepts.images_with.numpy(),
        images=len(concepts),
        mask_size=concepts.mask_size,
        iou=settings.iou,
        concepts_key=concepts.key,
        layers=tuple(_finished(name, first[name], counts[name], concepts) for name in reader.names),
    )


class _Feed:
    """The set's images as the network takes them, batch by batch; the last batch may be shorter."""

    def __init__(
        self,
        concepts: PackedConcepts,
        batch_size: int,
        channels: int,
        size: tuple[int, ...],
        mean: Sequence[float],
        std: Sequence[float],
        device: torch.device | str,
    ) -> None:
        self.concepts, self.device = concepts, device
        self._batch_size, self._channels, self._size = batch_size, channels, size
        self._mean = torch.tensor(mean, device=device).view(1, -1, 1, 1)
        self._std = torch.tensor(std, device=device).view(1, -1, 1, 1)
        found = concepts.images.shape[1]
        if found != channels and 1 not in (found, channels):
            raise Unsupported(
                f"dissection: the concept images have {found} channels, the network takes {channels}"
            )

    @property
    def starts(self) -> range:
        """Number of each batch's first image."""
        return range(0, len(self.concepts), self._batch_size)

    def images(self, start: int) -> Tensor:
        """Numbers of a batch's images."""
        return torch.arange(start, min(start + self._batch_size, len(self.concepts)))

    def inputs(self, start: int) -> Tensor:
        """A batch of network inputs, float32."""
        images = self.concepts.images[start : start + self._batch_size].to(self.device).float() / 255
        if images.shape[1] != self._channels:
            images = (
                images.expand(-1, self._channels, -1, -1) if images.shape[1] == 1 else images.mean(1, True)
            )
        if tuple(images.shape[2:]) != self._size:
            images = F.interpolate(
                images, size=self._size, mode="bilinear", align_corners=False, antialias=True
            )
        return (images - self._mean) / self._std


@dataclass
class _LayerPass:
    """What the first pass finds about one layer."""

    quantile: UpperQuantile
    map_size: tuple[int, int]
    peaks: Tensor
    top: Tensor
    thresholds: Tensor = field(default_factory=lambda: torch.empty(0))
    maps: list[Tensor] = field(default_factory=list)

    def update(self, maps: Tensor, images: Tensor) -> None:
        self.quantile.update(maps.transpose(0, 1).flatten(1))
        peaks = torch.cat([self.peaks, maps.amax((2, 3)).T], dim=1)
        numbers = torch.cat([self.top, images.expand(len(peaks), -1)], dim=1)
        self.peaks, order = peaks.topk(min(TOP_IMAGES, peaks.shape[1]), dim=1)
        self.top = numbers.gather(1, order)


def _first_pass(model: nn.Module, reader: MapReader, feed: _Feed, quantile: float) -> dict[str, _LayerPass]:
    layers: dict[str, _LayerPass] = {}
    keep = False
    for start in feed.starts:
        images = feed.images(start).to(feed.device)
        batch = _maps(model, reader, feed.inputs(start))
        if start == 0:
            layers = {name: _begin(maps, feed, quantile) for name, maps in batch.items()}
            size = sum(maps[0].numel() * 4 for maps in batch.values())
            keep = size * len(feed.concepts) <= KEPT_BYTES
        for name, maps in batch.items():
            layers[name].update(maps, images)
            if keep:
                layers[name].maps.append(maps)
    for layer in layers.values():
        layer.thresholds = layer.quantile.levels().to(feed.device)
    return layers


def _begin(maps: Tensor, feed: _Feed, quantile: float) -> _LayerPass:
    units, height, width = maps.shape[1:]
    none = torch.empty(units, 0, device=maps.device)
    values = height * width * len(feed.concepts)
    return _LayerPass(
        upper_quantile(units, values, quantile, maps.device), (height, width), none, none.to(torch.int64)
    )


def _maps(model: nn.Module, reader: MapReader, inputs: Tensor) -> dict[str, Tensor]:
    """Every layer's maps of one batch, float32; they are copies."""
    found: dict[str, Tensor] = {}

    def sink(name: str, maps: Tensor) -> None:
        found[name] = maps.to(torch.float32, copy=True, memory_format=torch.contiguous_format)

    with reader.reading(len(inputs), sink):
        model(inputs)
    return {name: found[name] for name in reader.names}


def _second_pass(
    model: nn.Module,
    reader: MapReader,
    feed: _Feed,
    first: dict[str, _LayerPass],
    settings: DissectionSettings,
) -> dict[str, LayerCounts]:
    shuffles = null_assignments(len(feed.concepts), settings.null_draws)
    counts = {
        name: LayerCounts(
            layer.thresholds, feed.concepts, 1 + len(shuffles), layer.top if settings.pictures else None
        )
        for name, layer in first.items()
    }
    for batch, start in enumerate(feed.starts):
        images = feed.images(start)
        draws = [images, *(shuffle[images] for shuffle in shuffles)]
        labels: BatchLabels = batch_labels(feed.concepts, draws, feed.device)
        kept = {name: layer.maps[batch] for name, layer in first.items() if layer.maps}
        for name, maps in (kept or _maps(model, reader, feed.inputs(start))).items():
            counts[name].add(maps, labels, start)
    return counts


def null_assignments(images: int, draws: int) -> list[Tensor]:
    """Per draw, whose labels each image gets: a random cycle through all images, so none keeps its own."""
    generator = torch.Generator().manual_seed(_NULL_SEED)
    found = []
    for _ in range(draws):
        order = torch.randperm(images, generator=generator)
        assignment = torch.empty_like(order)
        assignment[order] = order.roll(1)
        found.append(assignment)
    return found


def _finished(name: str, layer: _LayerPass, counts: LayerCounts, concepts: PackedConcepts) -> LayerDissection:
    intersections = counts.intersections.cpu().numpy()
    areas = counts.areas.cpu().round().to(torch.int64).numpy()
    units = len(layer.thresholds)
    category_of = np.array([concepts.categories.index(c.category) for c in concepts.concepts])
    null = ious_from_counts(intersections[1:], areas[1:], concepts.pixels.numpy(), category_of)
    if counts.regions is None:
        regions = np.zeros((units, 0, 0), np.uint8)
    else:
        regions = np.packbits(counts.regions.flatten(2).cpu().numpy(), axis=2)
    return LayerDissection(
        name=name,
        thresholds=layer.thresholds.cpu().numpy(),
        intersections=intersections[0],
        areas=areas[0],
        null_ious=null.max(2),
        null_concepts=null.argmax(2),
        map_size=layer.map_size,
        top_images=layer.top.cpu().numpy() if counts.regions is not None else np.zeros((units, 0), np.int64),
        regions=regions,
    )


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the block; every module's own mode is restored afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
