"""What a concept plugin is, and what it returns: images in which people have labelled concepts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchsuite.contracts.plugin import Plugin

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

CATEGORIES = ("color", "texture", "material", "part", "object", "scene")
"""Broden's categories, from low to high level (Bau et al. 2017); others may be used and are listed behind."""


@dataclass(frozen=True)
class Concept:
    """A human concept.

    Attributes:
        name: what people call it.
        category: the one category in which it is counted; for a concept that is labelled in several, the one
            in which it covers most.
    """

    name: str
    category: str


@dataclass(frozen=True, eq=False)
class ConceptSample:
    """One image and where its concepts are.

    Concepts are written as numbers: concept `i` of the set (from 0) has the number `i + 1`; 0 is none.

    Attributes:
        image: uint8, (channels, height, width); the same shape in the whole set.
        masks: label maps, integers, (maps, h, w) with any number of maps, also none. A pixel has every
            concept that one of the maps gives it. `h` and `w` are the same in the whole set; in Broden half
            the image's.
        labels: numbers of the concepts that hold for the whole image.
    """

    image: npt.NDArray[np.uint8]
    masks: npt.NDArray[Any]
    labels: tuple[int, ...] = ()


@dataclass(frozen=True)
class ConceptSet:
    """Images with labelled concepts.

    Attributes:
        samples: read one after the other, once; a class that reads files in `__getitem__` serves as well as
            a list.
        concepts: concept `i` has the number `i + 1` in masks and labels.
    """

    samples: Sequence[ConceptSample]
    concepts: tuple[Concept, ...]


class ConceptPlugin(Plugin):
    """Gives a set of images with labelled concepts, always the same; the data of network dissection.

    It is registered like a data set. A class can be both: a classification task and its concepts.
    """

    def concepts(self, folder: Path) -> ConceptSet:
        """Return the concept set, reading from or downloading into the data folder.

        Args:
            folder: the user's data folder (`--data`, `BENCHSUITE_DATA`, or the cache folder).

        Raises:
            DataError: data is absent or malformed; the message says what to put where.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define concepts()")

    def fingerprint(self, folder: Path) -> str:  # noqa: ARG002 - the folder is for overrides
        """Identify the content of data that the plugin's source does not fix, such as a user's own files."""
        return ""
