"""Concept sets packed into arrays that every trial maps into memory instead of decoding the files again."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchsuite.contracts.concepts import CATEGORIES, Concept, ConceptPlugin, ConceptSample, ConceptSet
from benchsuite.contracts.covered_imports import covered_imports
from benchsuite.contracts.digests import code_digest, code_libraries, source_digest, source_libraries
from benchsuite.errors import PluginError
from benchsuite.store.files import reserve, storing
from benchsuite.store.keys import content_key
from benchsuite.store.stages import Facts, Stage
from benchsuite.store.texts import read_json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


_logger = logging.getLogger(__name__)
_FILES = ("images.npy", "masks.i16", "index.npz", "concepts.json")
_MOST_CONCEPTS = int(np.iinfo(np.int16).max)


@dataclass(frozen=True, eq=False)
class PackedConcepts:
    """A concept set as arrays; the large arrays may be files mapped into memory.

    A concept counts once per pixel: where several label maps of an image repeat it, or the whole image has
    it, the packed maps hold it once.

    Attributes:
        images: uint8, (images, channels, height, width).
        masks: label maps, int16, (maps, h, w): concept `i` is stored as `i + 1`, and 0 means no concept.
        first_mask: int64, (images + 1,): image `n` has the maps from `first_mask[n]` up to `first_mask[n +
            1]`.
        labelled: int64, (labels, 2): pairs of an image and a concept (from 0) that holds for all of it, in
            the images' order.
        concepts: the concept of each number.
        pixels: int64, (concepts,): label-map pixels of each concept, T_c.
        images_with: int64, (concepts,): in how many images each concept occurs.
        has_category: bool, (images, categories): whether the image has a concept of that category.
        key: identifies the content; it is stored with pictures and caches.
    """

    images: Tensor
    masks: Tensor
    first_mask: Tensor
    labelled: Tensor
    concepts: tuple[Concept, ...]
    pixels: Tensor
    images_with: Tensor
    has_category: Tensor
    key: str = ""

    def __len__(self) -> int:
        return int(self.images.shape[0])

    @property
    def mask_size(self) -> tuple[int, int]:
        """Height and width of the label maps."""
        return int(self.masks.shape[1]), int(self.masks.shape[2])

    @property
    def categories(self) -> tuple[str, ...]:
        """Categories that occur, in Broden's order."""
        return categories_of(self.concepts)

    def label_maps(self, images: Tensor) -> Tensor:
        """The label maps of some images, int16, (images, maps, h, w), padded with empty maps."""
        first, counts = self.first_mask[images], self.first_mask[images + 1] - self.first_mask[images]
        most = int(counts.max()) if len(images) else 0
        steps = torch.arange(most)
        absent = steps[None, :] >= counts[:, None]
        rows = (first[:, None] + steps[None, :]).masked_fill(absent, 0)
        maps = self.masks.index_select(0, rows.flatten()).reshape(len(images), most, *self.mask_size)
        if bool(absent.any()):
            maps[absent] = 0
        return maps

    def image_labels(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Whole-image labels of some images: their positions in `images` and the concepts (from 0)."""
        owner = self.labelled[:, 0].contiguous()
        first, last = torch.searchsorted(owner, images), torch.searchsorted(owner, images, right=True)
        positions = torch.repeat_interleave(torch.arange(len(images)), last - first)
        rows = [torch.arange(int(a), int(b)) for a, b in zip(first, last, strict=True) if b > a]
        return positions, self.labelled[torch.cat(rows), 1] if rows else positions


def categories_of(concepts: Sequence[Concept]) -> tuple[str, ...]:
    """Categories that occur among concepts: Broden's in their order, then others sorted."""
    found = {concept.category for concept in concepts}
    return (*(c for c in CATEGORIES if c in found), *sorted(found.difference(CATEGORIES)))


def chosen_samples(available: int, limit: int | None) -> list[int]:
    """Indices of at most `limit` samples, evenly spaced, so that sorted sets are covered evenly."""
    if limit is None or limit >= available:
        return list(range(available))
    return [i * available // limit for i in range(limit)]


def pack(concept_set: ConceptSet, limit: int | None = None, folder: Path | None = None) -> PackedConcepts:
    """Read a concept set into arrays.

    Args:
        concept_set: read once, one sample at a time.
        limit: take at most this many samples, evenly spaced.
        folder: where the images and label maps are written as they are read, so that they need not fit into
            memory; without it they are kept in memory.

    Raises:
        PluginError: samples disagree in shape, or have a number that no concept has.
    """
    concepts = concept_set.concepts
    chosen = chosen_samples(len(concept_set.samples), limit)
    if not chosen or not concepts:
        raise PluginError(
            f"the concept set has {len(chosen)} images and {len(concepts)} concepts; it needs both"
        )
    if len(concepts) > _MOST_CONCEPTS:
        raise PluginError(f"the concept set has {len(concepts)} concepts; {_MOST_CONCEPTS} is the most")
    category_of = np.array([categories_of(concepts).index(c.category) for c in concepts])
    pixels = np.zeros(len(concepts), np.int64)
    images_with = np.zeros(len(concepts), np.int64)
    has_category = np.zeros((len(chosen), len(categories_of(concepts))), bool)
    first_mask, labelled = [0], list[tuple[int, int]]()
    first = concept_set.samples[chosen[0]]
    shape = tuple(first.image.shape)
    images = _array(folder, "images", (len(chosen), *shape), np.uint8)
    masks = _GrowingMaps(folder, tuple(first.masks.shape[1:]))
    for position, index in enumerate(chosen):
        sample = first if position == 0 else concept_set.samples[index]
        where = f"image {index} of the concept set"
        maps, labels = _checked(sample, where, shape, masks.size, len(concepts))
        images[position] = sample.image
        masks.extend(maps)
        first_mask.append(first_mask[-1] + len(maps))
        labelled += [(position, label - 1) for label in labels]
        counts = np.bincount(maps.ravel(), minlength=len(concepts) + 1)[1:]
        counts[[label - 1 for label in labels]] = masks.size[0] * masks.size[1]
        pixels += counts
        images_with += counts > 0
        has_category[position, category_of[counts > 0]] = True
    return PackedConcepts(
        images=torch.from_numpy(images),
        masks=torch.from_numpy(masks.finish()),
        first_mask=torch.tensor(first_mask),
        labelled=torch.tensor(labelled, dtype=torch.int64).reshape(-1, 2),
        concepts=concepts,
        pixels=torch.from_numpy(pixels),
        images_with=torch.from_numpy(images_with),
        has_category=torch.from_numpy(has_category),
    )


def open_concepts(
    plugin: ConceptPlugin,
    data_folder: Path,
    cache_folder: Path,
    limit: int | None = None,
    tell: Callable[[str], None] = _logger.warning,
) -> PackedConcepts:
    """Return a plugin's concept set, packed once per content into `cache_folder` and mapped from there.

    The files take the bytes of the raw images and of two bytes per label-map pixel: 0.2 MB per image of
    Broden at 224 pixels. Several processes may ask for the same set at once. Damaged files are written again,
    and `tell` gets a message about it.

    Raises:
        DataError: the plugin's data are absent or malformed.
        PluginError: what it returned breaks the contract.
    """
    cls = type(plugin)
    key = content_key(
        {
            "code": [code_digest(__name__), code_libraries(__name__)],
            "plugin": [plugin.name, plugin.version, plugin.parameters],
            "source": [source_digest(cls), source_libraries(cls)],
            "limit": limit,
            "content": plugin.fingerprint(data_folder),
        }
    )
    home = cache_folder / f"concepts-{key}"

    def make() -> Facts:
        # What an interrupted run left here is overwritten.
        with covered_imports("concepts", plugin):
            _write(pack(plugin.concepts(data_folder), limit, home), home)
        return Facts()

    Stage(home, Facts, _FILES).get(make, tell)
    return _read(home, key)


class _GrowingMaps:
    """Label maps, appended one image at a time to a file or in memory."""

    def __init__(self, folder: Path | None, size: tuple[int, ...]) -> None:
        if len(size) != 2:
            raise PluginError(
                f"label maps have shape (maps, {', '.join(map(str, size))}); expected (maps, h, w)"
            )
        self.size = size
        self._count = 0
        self._kept: list[npt.NDArray[np.int16]] = []
        self._path = folder / "masks.i16" if folder is not None else None
        if self._path is not None:
            with storing(self._path):
                self._path.write_bytes(b"")

    def extend(self, maps: npt.NDArray[np.int16]) -> None:
        self._count += len(maps)
        if self._path is None:
            self._kept.append(maps)
        else:
            with storing(self._path), self._path.open("ab") as file:
                file.write(maps.tobytes())

    def finish(self) -> npt.NDArray[np.int16]:
        # One empty map at the end is used for images without label maps; it belongs to no image.
        self.extend(np.zeros((1, *self.size), np.int16))
        if self._path is None:
            return np.concatenate(self._kept)
        return np.memmap(self._path, np.int16, "c", shape=(self._count, *self.size))


def _array(folder: Path | None, name: str, shape: tuple[int, ...], dtype: Any) -> npt.NDArray[Any]:
    if folder is None:
        return np.empty(shape, dtype)
    path = folder / f"{name}.npy"
    with storing(path):
        array: npt.NDArray[Any] = np.lib.format.open_memmap(path, "w+", dtype, shape)
    reserve(path)
    return array


def _checked(
    sample: ConceptSample, where: str, shape: tuple[int, ...], size: tuple[int, ...], concepts: int
) -> tuple[npt.NDArray[np.int16], list[int]]:
    """The sample's maps and labels with every concept at most once per pixel; raises `PluginError`."""
    if sample.image.dtype != np.uint8 or tuple(sample.image.shape) != shape or len(shape) != 3:
        raise PluginError(
            f"{where} is {sample.image.dtype} of shape {tuple(sample.image.shape)}; "
            f"the first is of shape {shape}, and all must be uint8 (channels, height, width)"
        )
    if sample.masks.ndim != 3 or tuple(sample.masks.shape[1:]) != size:
        raise PluginError(
            f"{where} has label maps of shape {sample.masks.shape}; the first has (maps, {size})"
        )
    labels = sorted(set(sample.labels))
    numbers = [*labels, int(sample.masks.min()), int(sample.masks.max())] if sample.masks.size else labels
    if numbers and (min(numbers) < 0 or max(numbers) > concepts or 0 in labels):
        raise PluginError(f"{where} has a number outside 1..{concepts}, the concepts of the set (0: none)")
    maps = sample.masks.astype(np.int16)
    for label in labels:
        maps[maps == label] = 0
    for later in range(1, len(maps)):
        for earlier in range(later):
            maps[later][maps[later] == maps[earlier]] = 0
    return maps, labels


def _write(packed: PackedConcepts, folder: Path) -> None:
    small = {
        name: getattr(packed, name).numpy()
        for name in ("first_mask", "labelled", "pixels", "images_with", "has_category")
    }
    described = {"mask_size": packed.mask_size, "concepts": [asdict(c) for c in packed.concepts]}
    with storing(folder):
        np.savez(folder / "index.npz", **small)
        (folder / "concepts.json").write_text(json.dumps(described, ensure_ascii=False), encoding="utf-8")


def _read(home: Path, key: str) -> PackedConcepts:
    described = read_json((home / "concepts.json").read_text(encoding="utf-8"))
    with np.load(home / "index.npz") as index:
        small = {name: torch.from_numpy(index[name]) for name in index.files}
    # Copy-on-write: the tensors are writable, but the files are not changed.
    masks = np.memmap(home / "masks.i16", np.int16, "c").reshape(-1, *described["mask_size"])
    return PackedConcepts(
        images=torch.from_numpy(np.load(home / "images.npy", mmap_mode="c")),
        masks=torch.from_numpy(masks),
        concepts=tuple(Concept(**concept) for concept in described["concepts"]),
        key=key,
        **small,
    )
