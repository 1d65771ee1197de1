"""The result of dissecting one network: counts, and what is computed from them."""

from __future__ import annotations

import json
import zipfile
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from benchsuite.contracts.concepts import Concept
from benchsuite.errors import DataError
from benchsuite.metrics.dissection.packing import categories_of
from benchsuite.store.files import storing
from benchsuite.store.texts import read_json

if TYPE_CHECKING:
    from pathlib import Path

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
FORMAT = 1
"""Increase it when the file's format changes."""


@dataclass(frozen=True, eq=False)
class LayerDissection:
    """One layer's counts.

    Attributes:
        name: the layer.
        thresholds: T_k, float32, (units,).
        intersections: I_kc, (units, concepts).
        areas: A_k,cat, (units, categories).
        null_ious: each unit's best IoU with reassigned labels, (draws, units).
        null_concepts: the concept of that IoU, (draws, units).
        map_size: height and width of the layer's own maps.
        top_images: numbers of the images that activate a unit most, best first, (units, top).
        regions: the unit's mask in each of them, packed by `numpy.packbits` along the pixels, (units, top,
            bytes).
    """

    name: str
    thresholds: npt.NDArray[np.float32]
    intersections: Integers
    areas: Integers
    null_ious: Floats
    null_concepts: Integers
    map_size: tuple[int, int]
    top_images: Integers
    regions: npt.NDArray[np.uint8]

    @property
    def units(self) -> int:
        """Number of units."""
        return len(self.thresholds)


@dataclass(frozen=True, eq=False)
class Dissection:
    """The dissection of one network with one concept set.

    Attributes:
        concepts: the set's concepts.
        pixels: T_c, (concepts,).
        images_with: in how many images each concept occurs, (concepts,).
        images: number of images.
        mask_size: height and width of the label maps.
        iou: threshold; a unit whose best IoU is above it is a detector.
        concepts_key: identifies the packed concept set, and with it the images that `top_images` names.
        layers: in the network's order.
    """

    concepts: tuple[Concept, ...]
    pixels: Integers
    images_with: Integers
    images: int
    mask_size: tuple[int, int]
    iou: float
    concepts_key: str
    layers: tuple[LayerDissection, ...]

    @cached_property
    def categories(self) -> tuple[str, ...]:
        """Categories of the concepts, in Broden's order."""
        return categories_of(self.concepts)

    @cached_property
    def category_of(self) -> Integers:
        """The category's index of each concept."""
        return np.array([self.categories.index(c.category) for c in self.concepts], dtype=np.int64)

    def ious(self, layer: LayerDissection) -> Floats:
        """IoU of every unit with every concept, (units, concepts); see `ious_from_counts`."""
        return ious_from_counts(layer.intersections, layer.areas, self.pixels, self.category_of)

    def best(self, layer: LayerDissection) -> tuple[Integers, Floats]:
        """Each unit's best concept and its IoU; the first of equal ones counts, -1 if all are zero."""
        ious = self.ious(layer)
        concept = ious.argmax(1)
        value = ious[np.arange(len(ious)), concept]
        return np.where(value > 0, concept, -1), value

    def save(self, path: Path) -> None:
        """Write a compressed `.npz` file: the arrays, and everything else as JSON."""
        described = {
            "format": FORMAT,
            "concepts": [asdict(concept) for concept in self.concepts],
            "images": self.images,
            "mask_size": self.mask_size,
            "iou": self.iou,
            "concepts_key": self.concepts_key,
            "layers": [{"name": layer.name, "map_size": layer.map_size} for layer in self.layers],
        }
        arrays: dict[str, npt.NDArray[Any]] = {
            "dissection": np.array(json.dumps(described, ensure_ascii=False)),
            "pixels": self.pixels,
            "images_with": self.images_with,
        }
        for index, layer in enumerate(self.layers):
            arrays |= {f"{index}.{name}": getattr(layer, name) for name in _ARRAYS}
        with storing(path), path.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # its stub takes a keyword for an array

    @classmethod
    def load(cls, path: Path) -> Dissection:
        """Read what `save` wrote; raises `DataError` for any other file."""
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            described = read_json(str(arrays["dissection"]))
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise DataError(f"{path} is no dissection; remove it to dissect again ({error})") from error
        if described["format"] != FORMAT:
            raise DataError(f"{path} is a dissection of another version; remove it to dissect again")
        return cls(
            concepts=tuple(Concept(**concept) for concept in described["concepts"]),
            pixels=arrays["pixels"],
            images_with=arrays["images_with"],
            images=described["images"],
            mask_size=tuple(described["mask_size"]),
            iou=described["iou"],
            concepts_key=described["concepts_key"],
            layers=tuple(
                LayerDissection(
                    name=layer["name"],
                    map_size=tuple(layer["map_size"]),
                    **{name: arrays[f"{index}.{name}"] for name in _ARRAYS},
                )
                for index, layer in enumerate(described["layers"])
            ),
        )


_ARRAYS = (
    "thresholds",
    "intersections",
    "areas",
    "null_ious",
    "null_concepts",
    "top_images",
    "regions",
)


def ious_from_counts(
    intersections: Integers, areas: Integers, pixels: Integers, category_of: Integers
) -> Floats:
    """IoU = I_kc / (A_k,cat + T_c - I_kc), cat being the concept's category (Bau et al. 2017); 0 for 0 / 0.

    Args:
        intersections: I_kc, (..., units, concepts).
        areas: A_k,cat, (..., units, categories).
        pixels: T_c, (concepts,).
        category_of: each concept's category, (concepts,).
    """
    union = areas[..., category_of] + pixels - intersections
    ious: Floats = intersections / np.maximum(union, 1)
    return ious
