"""Pictures of what units detect, for people to look at."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from benchsuite.contracts.concepts import CATEGORIES
from benchsuite.errors import BenchsuiteError
from benchsuite.metrics.dissection.report import detectors, dissection_metrics, kept_units
from benchsuite.store import metric_names
from benchsuite.store.files import storing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from benchsuite.metrics.dissection.packing import PackedConcepts
    from benchsuite.metrics.dissection.result import Dissection, LayerDissection

ROWS_PER_LAYER = 4
TILE = 128
"""Height and width of an image in the sheet, in pixels."""
_GAP = 4
_DPI = 100
_OUTLINE = (255, 225, 0)
_COLORS = ("#4c78a8", "#f58518", "#b279a2", "#72b7b2", "#54a24b", "#e45756")
"""One per category of `CATEGORIES`; others are grey."""


def write_pictures(
    folder: Path,
    dissection: Dissection,
    concepts: PackedConcepts,
    dense: Dissection | None = None,
    kept: Mapping[str, Sequence[int]] | None = None,
) -> list[Path]:
    """Write `detectors.jpg` and `concepts.png` and return their paths.

    The first shows the best units of every layer: concept, IoU, and the images that activate the unit most
    with its mask outlined; the second counts the detectors of each concept. With a dense network, the first
    shows what each unit detected in it on the right, and the second has its bars too.

    Args:
        folder: created if absent.
        dissection: made with `pictures = true`.
        concepts: the set it was made with.
        dense: the dissection of the dense network.
        kept: as in `compare`.

    Raises:
        BenchsuiteError: the dissection is of another concept set, or was made without pictures.
    """
    folder.mkdir(parents=True, exist_ok=True)
    figures = {
        "detectors.jpg": _detectors_figure(dissection, concepts, dense, kept or {}),
        "concepts.png": _concepts_figure(
            {"dense": dense, "pruned": dissection} if dense else {"": dissection}
        ),
    }
    for name, figure in figures.items():
        options = {"quality": 88} if name.endswith(".jpg") else None
        with storing(folder / name):
            figure.savefig(folder / name, dpi=_DPI, pil_kwargs=options)
    return [folder / name for name in figures]


@dataclass(frozen=True)
class _Shown:
    """One unit of one network in the sheet."""

    dissection: Dissection
    layer: LayerDissection
    unit: int

    @property
    def caption(self) -> str:
        concepts, values = self.dissection.best(self.layer)
        concept, value = int(concepts[self.unit]), float(values[self.unit])
        if concept < 0:
            return f"{self.layer.name}, unit {self.unit}: agrees with no concept"
        named = self.dissection.concepts[concept]
        weak = "" if value > self.dissection.iou else ", no detector"
        rarity = f"in {self.dissection.images_with[concept]} images"
        where = f"{self.layer.name}, unit {self.unit}"
        return f"{where}: {named.name} ({named.category}) {value:.3f}{weak}, {rarity}"

    def strip(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The unit's top images side by side, with its mask bright and outlined."""
        tiles = [
            outlined(images[number], _region(self.dissection, self.layer, self.unit, rank))
            for rank, number in enumerate(self.layer.top_images[self.unit])
        ]
        gap = np.full((tiles[0].shape[0], _GAP, 3), 255, np.uint8)
        return np.concatenate([part for tile in tiles for part in (tile, gap)], axis=1)


def outlined(image: npt.NDArray[np.uint8], region: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Return an image (channels, h, w) as a tile (TILE, TILE, 3), dark outside a region, with its outline."""
    picture = np.broadcast_to(image, (3, *image.shape[1:])).transpose(1, 2, 0)
    picture = picture[_sampled(picture.shape[0])][:, _sampled(picture.shape[1])]
    inside = region[_sampled(region.shape[0])][:, _sampled(region.shape[1])]
    inner = np.pad(inside, 1)
    inner = inner[:-2, 1:-1] & inner[2:, 1:-1] & inner[1:-1, :-2] & inner[1:-1, 2:] & inside
    found: npt.NDArray[np.uint8] = np.where(inside[..., None], picture, (picture * 0.45).astype(np.uint8))
    found[inside & ~inner] = _OUTLINE
    return found


def _sampled(length: int) -> npt.NDArray[np.int64]:
    """Which of `length` pixels each of a tile's pixels shows."""
    pixels: npt.NDArray[np.int64] = (2 * np.arange(TILE) + 1) * length // (2 * TILE)
    return pixels


def _region(dissection: Dissection, layer: LayerDissection, unit: int, rank: int) -> npt.NDArray[np.bool_]:
    height, width = dissection.mask_size
    bits = np.unpackbits(layer.regions[unit, rank], count=height * width)
    return bits.reshape(height, width).astype(bool)


def _detectors_figure(
    dissection: Dissection,
    concepts: PackedConcepts,
    dense: Dissection | None,
    kept: Mapping[str, Sequence[int]],
) -> Figure:
    rows: list[list[_Shown]] = []
    for index, layer in enumerate(dissection.layers):
        best = dissection.best(layer)[1]
        for unit in np.argsort(-best, kind="stable")[:ROWS_PER_LAYER]:
            row = [_Shown(dissection, layer, int(unit))]
            if dense is not None:
                before = dense.layers[index]
                row.append(_Shown(dense, before, int(kept_units(before, layer, kept)[unit])))
            rows.append(row)
    for shown in (shown for row in rows for shown in row):
        if shown.dissection.concepts_key != concepts.key or shown.layer.top_images.shape[1] == 0:
            raise BenchsuiteError(
                f"the dissection of {shown.layer.name} was made with other images, or without pictures"
            )
    images = concepts.images.numpy()
    strips = [[shown.strip(images) for shown in row] for row in rows]
    height, width = strips[0][0].shape[:2]
    line = 22  # pixels of a caption
    column_width, row_height = width + _GAP, height + line
    total_width, total_height = len(rows[0]) * column_width, len(rows) * row_height + line
    figure = Figure(figsize=(total_width / _DPI, total_height / _DPI), dpi=_DPI)

    def write(text: str, column: int, bottom: int, size: float, weight: str) -> None:
        place = ((column * column_width + 2 * _GAP) / total_width, (bottom + line / 2) / total_height)
        figure.text(*place, text, fontsize=size, weight=weight, va="center", parse_math=False)

    for column, title in enumerate(_titles(dissection, dense)):
        write(title, column, total_height - line, 9, "bold")
        for index, row in enumerate(rows):
            bottom = total_height - line - (index + 1) * row_height
            figure.figimage(strips[index][column], column * column_width, bottom, origin="upper")
            write(row[column].caption, column, bottom + height, 7.5, "normal")
    return figure


def _titles(dissection: Dissection, dense: Dissection | None) -> list[str]:
    titles = []
    for name, shown in (("pruned" if dense else "", dissection), ("the same units, dense", dense)):
        if shown is not None:
            numbers = dissection_metrics(shown)
            found, units = numbers[metric_names.DETECTORS], numbers[metric_names.UNITS]
            chance = numbers[metric_names.NULL_DETECTORS]
            label = f"{name}: " if name else ""
            titles.append(f"{label}{found:.0f} detectors among {units:.0f} units ({chance:.1f} by chance)")
    return titles


def _concepts_figure(networks: Mapping[str, Dissection]) -> Figure:
    counts = {name: Counter(d.concept for d in detectors(shown)) for name, shown in networks.items()}
    first = next(iter(networks.values()))
    found = sorted(
        {concept for counted in counts.values() for concept in counted},
        key=lambda c: (first.category_of[c], -max(counted[c] for counted in counts.values()), c),
    )
    width = max(6.0, 2.0 + 0.22 * len(found))
    figure = Figure(figsize=(width, 1.0 + 2.2 * len(networks)), layout="constrained")
    grid: Any = figure.subplots(len(networks), 1, sharex=True, sharey=True, squeeze=False)
    for axes, (name, counted) in zip(grid[:, 0], counts.items(), strict=True):
        _bars(axes, counted, found, first)
        label = f"{name}: " if name else ""
        title = f"{label}{counted.total()} detectors of {len(counted)} concepts"
        axes.set_title(title, fontsize=9, loc="left")
    last: Axes = grid[-1, 0]
    names = [first.concepts[c].name for c in found]
    last.set_xticks(range(len(found)), names, rotation=90, fontsize=7, parse_math=False)
    return figure


def _bars(axes: Axes, counted: Counter[int], found: list[int], dissection: Dissection) -> None:
    known = dict(zip(CATEGORIES, _COLORS, strict=True))
    for category in dissection.categories:
        places = [i for i, c in enumerate(found) if dissection.concepts[c].category == category]
        heights = [counted[found[i]] for i in places]
        if places:
            label = f"{category}: {sum(heights)} of {sum(h > 0 for h in heights)}"
            axes.bar(places, heights, color=known.get(category, "#888888"), label=label)
    if found:
        axes.legend(fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    axes.set_ylabel("detectors")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
