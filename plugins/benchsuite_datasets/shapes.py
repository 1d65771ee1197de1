"""Generated images of objects with parts: a classification task and its own concept set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

import benchsuite

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

TRAIN, VALIDATION, TEST, CONCEPTS = range(4)
"""First number of each part's seed, so that no image is in two parts."""


class Shapes(benchsuite.DatasetPlugin, benchsuite.ConceptPlugin):
    """Drawings of eight objects with coloured, textured parts; needs no download.

    The class is the object: house, tree, car, boat, flower, fish, mushroom or person. Colours, texture,
    place, size and background do not depend on it. As a concept set, the same drawings have label maps of
    color, texture, part and object at half the images' size, like Broden's.
    """

    name = "shapes"
    size: Annotated[int, Field(ge=16, le=512)] = 32
    """Height and width of the images."""
    samples: Annotated[int, Field(ge=64)] = 4000
    """Number of training images; validation has an eighth as many, test a quarter."""
    images: Annotated[int, Field(ge=16)] = 500
    """Number of images of the concept set."""

    def load(self, folder: Path) -> benchsuite.Dataset:  # noqa: ARG002 - the images are drawn
        """Return the splits of the classification task; the data folder is not used."""
        from benchsuite_datasets._raw_splits import RawSplits, assemble
        from benchsuite_datasets._shapes_drawing import OBJECTS

        parts = RawSplits(
            train=self._part(self.samples, TRAIN),
            validation=self._part(self.samples // 8, VALIDATION),
            test=self._part(self.samples // 4, TEST),
        )
        augmentation = benchsuite.Augmentation(pad_crop=self.size // 8, flip=True)
        return assemble(parts, tuple(OBJECTS), augmentation=augmentation)

    def concepts(self, folder: Path) -> benchsuite.ConceptSet:  # noqa: ARG002 - the images are drawn
        """Return the concept set; the data folder is not used."""
        from benchsuite_datasets._shapes_drawing import CONCEPTS as NAMED
        from benchsuite_datasets._shapes_drawing import draw

        images, maps = draw(_classes(self.images, CONCEPTS), self.size, self.size // 2, (CONCEPTS,))
        named = tuple(benchsuite.Concept(name, category) for name, category in NAMED)
        samples = [
            benchsuite.ConceptSample(image, labels) for image, labels in zip(images, maps, strict=True)
        ]
        return benchsuite.ConceptSet(samples, named)

    def _part(self, count: int, which: int) -> Any:
        from benchsuite_datasets._raw_splits import RawSplit
        from benchsuite_datasets._shapes_drawing import draw

        labels = _classes(count, which)
        return RawSplit(draw(labels, self.size, None, (which,))[0], labels, "shapes")


def _classes(count: int, which: int) -> NDArray[Any]:
    """Class numbers, equally many of each, in a random order."""
    import numpy as np

    from benchsuite_datasets._shapes_drawing import OBJECTS

    return np.random.default_rng((which, count)).permutation(np.arange(count, dtype=np.int64) % len(OBJECTS))
