"""Reading a folder in Broden's published format."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

import numpy as np

import benchsuite
from benchsuite_datasets._csv import Table
from benchsuite_datasets._label_images import numbered, read_image, read_label_map
from benchsuite_datasets._lazy import LazySamples

if TYPE_CHECKING:
    from pathlib import Path

    from benchsuite_datasets._csv import Row

INDEX_COLUMNS = ("image", "split", "ih", "iw", "sh", "sw")
LABEL_COLUMNS = ("number", "name", "category")
CATEGORY_COLUMNS = ("name",)
COVERAGE_COLUMNS = ("code", "number", "name", "frequency", "coverage")


def read_broden(root: Path, size: int) -> benchsuite.ConceptSet:
    """Return the concept set in a folder of Broden's format; images are read when they are needed.

    Raises:
        DataError: a table is absent or malformed, or an image is not of this size; when samples are read,
            also for an image or label map that is absent, has another size, or has an unknown number.
    """
    if not root.is_dir():
        raise benchsuite.DataError(
            f"there is no folder {root};"
            " it must hold index.csv, label.csv, category.csv, c_<category>.csv and images/"
        )
    categories = [row.text("name") for row in Table(root / "category.csv", CATEGORY_COLUMNS).rows]
    index = Table(root / "index.csv", (*INDEX_COLUMNS, *categories))
    if not categories or not index.rows:
        raise benchsuite.DataError(
            f"{root}: category.csv lists {len(categories)} categories and index.csv {len(index.rows)} images;"
            " it needs at least one of each"
        )
    labels = _labels(root, categories)
    entries = [_entry(row, categories, labels.numbers, root) for row in index.rows]
    for row, entry in zip(index.rows, entries, strict=True):
        if entry.image_size != (size, size):
            height, width = entry.image_size
            raise benchsuite.DataError(
                f"{row.where}: the image is {height} x {width}; size = {size} needs a folder of such images"
            )
        if entry.mask_size != entries[0].mask_size:
            raise benchsuite.DataError(
                f"{row.where}: sh, sw are {entry.mask_size}; the first image has {entries[0].mask_size},"
                " and all label maps must have the same size"
            )
    samples = LazySamples(entries, partial(_sample, root, labels.numbers))
    return benchsuite.ConceptSet(samples, labels.concepts)


@dataclass(frozen=True)
class _Labels:
    concepts: tuple[benchsuite.Concept, ...]
    numbers: dict[int, int]
    """Concept number of each label number; 0 is 0."""


@dataclass(frozen=True)
class _Entry:
    image: str
    image_size: tuple[int, int]
    mask_size: tuple[int, int]
    masks: tuple[str, ...]
    labels: tuple[int, ...]


def _sample(root: Path, numbers: dict[int, int], entry: _Entry) -> benchsuite.ConceptSample:
    images = root / "images"
    image = read_image(images / entry.image)
    _check_size(images / entry.image, image.shape[1:], entry.image_size, "ih, iw")
    masks = np.zeros((len(entry.masks), *entry.mask_size), np.int16)
    for position, name in enumerate(entry.masks):
        values = read_label_map(images / name)
        _check_size(images / name, values.shape, entry.mask_size, "sh, sw")
        masks[position] = numbered(values, numbers, images / name, root / "label.csv")
    return benchsuite.ConceptSample(image, masks, entry.labels)


def _check_size(path: Path, found: tuple[int, ...], stated: tuple[int, int], columns: str) -> None:
    if tuple(found) != stated:
        raise benchsuite.DataError(
            f"{path} is {found[0]} x {found[1]} (height x width);"
            f" index.csv says {stated[0]} x {stated[1]} ({columns})"
        )


def _labels(root: Path, categories: list[str]) -> _Labels:
    """Every label with the category in which it covers most; for equal coverage the earlier category."""
    rows = Table(root / "label.csv", LABEL_COLUMNS).rows
    coverage: dict[int, dict[str, float]] = {}
    for category in categories:
        for row in Table(root / f"c_{category}.csv", COVERAGE_COLUMNS).rows:
            coverage.setdefault(row.whole("number"), {})[category] = row.number("coverage")
    concepts, numbers = [], {0: 0}
    for row in rows:
        number = row.whole("number")
        if number in numbers:
            raise benchsuite.DataError(
                f"{row.where}: label {number} is listed twice, or is 0, which means none"
            )
        covered = coverage.get(number)
        if not covered:
            raise benchsuite.DataError(
                f"{row.where}: label {number} ({row.text('name')}) stands in none of"
                f" {', '.join(f'c_{category}.csv' for category in categories)}"
            )
        concepts.append(
            benchsuite.Concept(row.text("name"), max(covered, key=lambda category: covered[category]))
        )
        numbers[number] = len(concepts)
    return _Labels(tuple(concepts), numbers)


def _entry(row: Row, categories: list[str], numbers: dict[int, int], root: Path) -> _Entry:
    masks, labels = list[str](), list[int]()
    for category in categories:
        for item in filter(None, (part.strip() for part in row.text(category).split(";"))):
            if not re.fullmatch(r"\d+", item):
                masks.append(_inside(row, item))
            elif int(item) in numbers and int(item) != 0:
                labels.append(numbers[int(item)])
            else:
                raise benchsuite.DataError(
                    f"{row.where}: {category} has the label {item}, which {root / 'label.csv'} does not list"
                )
    return _Entry(
        image=_inside(row, row.text("image")),
        image_size=(row.whole("ih"), row.whole("iw")),
        mask_size=(row.whole("sh"), row.whole("sw")),
        masks=tuple(masks),
        labels=tuple(labels),
    )


def _inside(row: Row, name: str) -> str:
    """The name of a file below images/; raises `DataError` for a file in another folder."""
    path = PurePosixPath(name.replace("\\", "/"))
    if not name or path.is_absolute() or ".." in path.parts or PureWindowsPath(name).drive:
        raise benchsuite.DataError(f"{row.where}: {name!r} is no file below images/")
    return name
