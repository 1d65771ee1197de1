"""Your own images with label maps."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

import benchsuite
from benchsuite_datasets._lazy import LazySamples

if TYPE_CHECKING:
    from pathlib import Path

LAYOUT = (
    "labels.csv with the columns value, name and optionally category, images in images/, and label maps of"
    " the same names as .png in masks/, or in several folders below masks/ where an image has several"
)
ENDINGS = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})


class MaskFolder(benchsuite.ConceptPlugin):
    """Images with label maps in a folder, resized to one size.

    `labels.csv` lists every value in the label maps, with the concept's name and its category (`object` if
    there is no such column); values without a name are ignored. The value 0 means none unless it is listed.
    Label maps are PNG files: grey or palette images with the value itself, or colour images with R + 256 G.
    Images are resized bilinearly to `size` x `size`, label maps to half of it by nearest neighbour.
    """

    name = "mask-folder"
    path: str = ""
    """The folder, absolute or relative to the data folder."""
    size: Annotated[int, Field(ge=8, le=1024)] = 224
    """Height and width of the images in pixels; label maps have half of this size."""
    images: str = "images"
    """The folder of images in `path`."""
    masks: str = "masks"
    """The folder of label maps in `path`."""
    labels: str = "labels.csv"
    """The list of labels, absolute or relative to `path`."""

    def concepts(self, folder: Path) -> benchsuite.ConceptSet:
        """Return the set; raises `DataError` that names the wrong file."""
        root = self._root(folder)
        for needed in (self.images, self.masks):
            if not (root / needed).is_dir():
                raise benchsuite.DataError(f"there is no folder {root / needed}; mask-folder needs {LAYOUT}")
        concepts, numbers = _labels(root / self.labels)
        images = sorted(f for f in (root / self.images).iterdir() if f.suffix.lower() in ENDINGS)
        if not images:
            raise benchsuite.DataError(f"{root / self.images} holds no image; mask-folder needs {LAYOUT}")
        layers = [root / self.masks, *sorted(f for f in (root / self.masks).iterdir() if f.is_dir())]
        pairs = []
        for image in images:
            maps = [layer / f"{image.stem}.png" for layer in layers]
            maps = [file for file in maps if file.is_file()]
            if not maps:
                raise benchsuite.DataError(
                    f"{image} has no label map; expected {layers[0] / image.stem}.png"
                    " or a file of that name in a folder below"
                )
            pairs.append((image, tuple(maps)))
        make = partial(_sample, numbers, self.size, root / self.labels)
        return benchsuite.ConceptSet(LazySamples(pairs, make), concepts)

    def fingerprint(self, folder: Path) -> str:
        """SHA-256 over the list of labels and every image's and label map's name and content."""
        from benchsuite_datasets._label_images import tree_fingerprint

        root = self._root(folder)
        return "/".join(
            [
                benchsuite.file_fingerprint(root / self.labels),
                tree_fingerprint(root / self.images),
                tree_fingerprint(root / self.masks),
            ]
        )

    def _root(self, folder: Path) -> Path:
        if not self.path:
            raise benchsuite.DataError(
                'mask-folder: no folder is named; set it as in { name = "mask-folder", path = "mine" },'
                f" relative to the data folder; it holds {LAYOUT}"
            )
        return folder / self.path


def _sample(
    numbers: dict[int, int], size: int, labels: Path, files: tuple[Path, tuple[Path, ...]]
) -> benchsuite.ConceptSample:
    import numpy as np

    from benchsuite_datasets._label_images import numbered, read_image, read_label_map

    image, maps = files
    half = (size // 2,) * 2
    values = [numbered(read_label_map(file, half), numbers, file, labels) for file in maps]
    return benchsuite.ConceptSample(read_image(image, (size, size)), np.stack(values))


def _labels(path: Path) -> tuple[tuple[benchsuite.Concept, ...], dict[int, int]]:
    """The concepts, and the concept number of every value; raises `DataError` naming the line."""
    from benchsuite_datasets._csv import Table

    table = Table(path, ("value", "name"))
    concepts: list[benchsuite.Concept] = []
    numbers: dict[int, int] = {}
    for row in table.rows:
        value, name = row.whole("value"), row.text("name")
        if value in numbers:
            raise benchsuite.DataError(f"{row.where}: the value {value} is listed twice")
        category = row.text("category") if "category" in table.header else "object"
        if name and not category:
            raise benchsuite.DataError(f"{row.where}: {name!r} has no category, such as object or part")
        if name:
            concepts.append(benchsuite.Concept(name, category))
        numbers[value] = len(concepts) if name else 0
    if not concepts:
        raise benchsuite.DataError(f"{path} names no concept; its columns are value, name and category")
    return tuple(concepts), {0: 0, **numbers}
