"""The integer counts of network dissection: how many pixels a unit and a concept have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812 - its name everywhere
from torch import Tensor

if TYPE_CHECKING:
    from benchsuite.metrics.dissection.packing import PackedConcepts

_CHUNK_BYTES = 4 * 1024**2
"""How many maps are upsampled at once: few enough to stay in a processor's cache."""
_CHUNK_BYTES_GPU = 256 * 1024**2


@dataclass(frozen=True, eq=False)
class BatchLabels:
    """The labels against which one batch of maps is counted: the images' own, then those of the null draws.

    Attributes:
        table: concept numbers of every pixel, (images * pixels, draws * maps); `d * (concepts + 1)` is added
            to the numbers of draw `d`.
        whole: per draw the whole-image labels: positions in the batch and concepts.
        has_category: float64, (draws, images, categories).
    """

    table: Tensor
    whole: tuple[tuple[Tensor, Tensor], ...]
    has_category: Tensor


def batch_labels(concepts: PackedConcepts, draws: list[Tensor], device: torch.device | str) -> BatchLabels:
    """Collect the labels of a batch.

    Args:
        concepts: the set.
        draws: per draw, whose labels each image of the batch gets: the first its own, the others shuffled.
        device: where to put them.
    """
    tables = []
    step = len(concepts.concepts) + 1
    wide = torch.int16 if step * len(draws) <= torch.iinfo(torch.int16).max else torch.int32
    for draw, images in enumerate(draws):
        maps = concepts.label_maps(images).to(wide)
        tables.append(maps.flatten(2).transpose(1, 2).flatten(0, 1) + draw * step)
    whole = tuple(
        (positions.to(device), numbers.to(device))
        for positions, numbers in (concepts.image_labels(images) for images in draws)
    )
    has = torch.stack([concepts.has_category[images] for images in draws]).double()
    return BatchLabels(torch.cat(tables, dim=1).contiguous().to(device), whole, has.to(device))


class LayerCounts:
    """Adds up one layer's counts, batch by batch.

    Attributes:
        intersections: I_kc, int64, (draws, units, concepts): pixels of the unit's mask that are labelled with
            the concept.
        areas: A_k,cat, float64 holding integers, (draws, units, categories): pixels of the unit's mask in
            images that have a concept of the category.
        regions: bool, (units, top, h, w): the unit's mask in the images that activate it most.
    """

    def __init__(
        self, thresholds: Tensor, concepts: PackedConcepts, draws: int, top_images: Tensor | None
    ) -> None:
        device = thresholds.device
        units, number = len(thresholds), len(concepts.concepts)
        self._thresholds = thresholds
        self._size = concepts.mask_size
        self._stride = draws * (number + 1)
        self._flat = torch.zeros(units * self._stride, dtype=torch.int64, device=device)
        self._whole = torch.zeros(draws, number, units, dtype=torch.int64, device=device)
        self.areas = torch.zeros(draws, units, len(concepts.categories), dtype=torch.float64, device=device)
        self._top = top_images
        self.regions = (
            None
            if top_images is None
            else torch.zeros(*top_images.shape, *self._size, dtype=torch.bool, device=device)
        )

    @property
    def intersections(self) -> Tensor:
        """I_kc, int64, (draws, units, concepts)."""
        draws, number, units = self._whole.shape
        by_pixel = self._flat.view(units, draws, number + 1)[:, :, 1:].transpose(0, 1)
        return by_pixel + self._whole.transpose(1, 2)

    def add(self, maps: Tensor, labels: BatchLabels, first_image: int) -> None:
        """Count one batch.

        Args:
            maps: (images, units, height, width).
            labels: those of the same images.
            first_image: the number of the batch's first image in the set.
        """
        images, units = maps.shape[:2]
        height, width = self._size
        pixels = height * width
        area = torch.zeros(images, units, dtype=torch.int64, device=maps.device)
        # An interpolated value lies between its neighbours: if no value of a map exceeds the threshold, no
        # pixel does. The pairs are listed unit by unit, so that a chunk fills a small part of the counts.
        active = (maps.amax((2, 3)) > self._thresholds).T.nonzero()
        chunk_bytes = _CHUNK_BYTES_GPU if maps.is_cuda else _CHUNK_BYTES
        for pairs in active.split(max(1, chunk_bytes // (4 * pixels))):
            if len(pairs) == 0:  # nothing exceeds its threshold: `split` gives one empty part
                continue
            unit, image = pairs[:, 0], pairs[:, 1]
            # The excess over the threshold is interpolated, not the value: rounding then cannot lift areas
            # above it that are exactly at the threshold (flat parts of an image, saturated units).
            excess = maps[image, unit] - self._thresholds[unit, None, None]
            mask = F.interpolate(excess[None], size=self._size, mode="bilinear", align_corners=False)[0] > 0
            area[image, unit] = mask.sum((1, 2))
            self._count_pixels(mask.flatten(), image * pixels, unit, pixels, labels)
            if self.regions is not None and self._top is not None:
                self._keep_regions(mask, image + first_image, unit)
        for draw, (positions, numbers) in enumerate(labels.whole):
            self._whole[draw].index_add_(0, numbers, area[positions])
        self.areas += area.T.double() @ labels.has_category

    def _count_pixels(
        self, mask: Tensor, start: Tensor, unit: Tensor, pixels: int, labels: BatchLabels
    ) -> None:
        if labels.table.shape[1] == 0:
            return
        hits = mask.nonzero()[:, 0]
        pair = hits // pixels
        rows = hits + (start - torch.arange(len(start), device=start.device) * pixels)[pair]
        first, last = int(unit[0]), int(unit[-1])
        keys = labels.table.index_select(0, rows) + ((unit - first) * self._stride)[pair][:, None]
        counted = torch.bincount(keys.flatten(), minlength=(last - first + 1) * self._stride)
        self._flat[first * self._stride : (last + 1) * self._stride] += counted

    def _keep_regions(self, mask: Tensor, image: Tensor, unit: Tensor) -> None:
        assert self._top is not None
        assert self.regions is not None
        pair, rank = (self._top[unit] == image[:, None]).nonzero(as_tuple=True)
        self.regions[unit[pair], rank] = mask[pair]
