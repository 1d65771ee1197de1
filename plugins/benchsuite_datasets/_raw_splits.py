"""From arrays as they were read to a checked `benchsuite.Dataset`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import benchsuite
from benchsuite_datasets._splits import stratified_split

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from benchsuite_datasets._normalisation import Normalise, Statistics

VALIDATION_FRACTION = 0.1
"""Share of each class of the training part that becomes the validation split if none is published."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class RawSplit:
    """Samples as they were read.

    Attributes:
        inputs: uint8 images (samples, channels, height, width) or float32 features (samples, features).
        labels: int64, shape (samples,).
        origin: the file and key, or the folder, that the labels come from; for messages.
    """

    inputs: NDArray[Any]
    labels: NDArray[np.int64]
    origin: str

    def take(self, indices: NDArray[np.intp]) -> RawSplit:
        """The samples at these indices."""
        return RawSplit(self.inputs[indices], self.labels[indices], self.origin)


@dataclass(frozen=True)
class RawSplits:
    """The published parts of a data set; without a validation part, it is taken from the training part."""

    train: RawSplit
    test: RawSplit
    validation: RawSplit | None = None


def assemble(
    parts: RawSplits,
    classes: tuple[str, ...],
    *,
    normalise: Normalise = "own",
    published: Statistics | None = None,
    augmentation: benchsuite.Augmentation | None = None,
) -> benchsuite.Dataset:
    """Return the data set after checking labels, splitting off validation data and computing mean and std.

    Args:
        parts: what was read.
        classes: class names in label order.
        normalise: see `_normalisation.Normalise`.
        published: mean and standard deviation for "own"; without them, those of the training split.
        augmentation: what training may do to an image.

    Raises:
        DataError: a label is out of range, a class has no training sample, a part is empty, or shapes differ.
    """
    _check_part(parts.train, parts.train, classes)
    _check_training_classes(parts.train, classes)
    for part in (parts.validation, parts.test):
        if part is not None:
            _check_part(part, parts.train, classes)
    train, validation = parts.train, parts.validation
    if validation is None:
        kept, held = stratified_split(train.labels, VALIDATION_FRACTION)
        if not len(held):
            raise benchsuite.DataError(
                f"{train.origin}: one sample a class leaves none for validation; give at least two"
            )
        train, validation = train.take(kept), train.take(held)
    mean, std = _statistics(train, normalise, published)
    return benchsuite.Dataset(
        train=_split(train),
        validation=_split(validation),
        test=_split(parts.test),
        classes=classes,
        mean=mean,
        std=std,
        augmentation=augmentation or benchsuite.Augmentation(),
    )


def _check_part(part: RawSplit, train: RawSplit, classes: tuple[str, ...]) -> None:
    if not len(part.labels):
        raise benchsuite.DataError(f"{part.origin}: there is no sample; give at least one a class")
    if part.inputs.shape[1:] != train.inputs.shape[1:]:
        raise benchsuite.DataError(
            f"{part.origin}: samples have shape {part.inputs.shape[1:]}, but the training part's have"
            f" {train.inputs.shape[1:]}; all parts need the same shape"
        )
    wrong = (part.labels < 0) | (part.labels >= len(classes))
    if wrong.any():
        found = ", ".join(map(str, np.unique(part.labels[wrong])[:5]))
        raise benchsuite.DataError(
            f"{part.origin}: labels {found} are outside 0..{len(classes) - 1}, the {len(classes)} classes"
        )


def _check_training_classes(train: RawSplit, classes: tuple[str, ...]) -> None:
    if len(classes) < 2:
        raise benchsuite.DataError(f"{train.origin}: there is only one class; a classifier needs two or more")
    absent = np.setdiff1d(np.arange(len(classes)), train.labels)
    if len(absent):
        listed = ", ".join(map(str, absent[:5]))
        raise benchsuite.DataError(
            f"{train.origin}: no sample has label {listed}; labels must be 0..{len(classes) - 1} without gaps"
        )


def _statistics(train: RawSplit, normalise: Normalise, published: Statistics | None) -> Statistics:
    channels = train.inputs.shape[1]
    if normalise == "none":
        return (0.0,) * channels, (1.0,) * channels
    if normalise == "imagenet":
        if channels != 3:
            raise benchsuite.DataError(
                f'{train.origin}: normalise = "imagenet" is for images of 3 channels, these have {channels}'
            )
        return IMAGENET_MEAN, IMAGENET_STD
    if published is not None:
        return published
    return _image_statistics(train.inputs) if train.inputs.ndim == 4 else _feature_statistics(train.inputs)


def _image_statistics(images: NDArray[np.uint8]) -> Statistics:
    """Mean and standard deviation of each channel on the scale 0..1, exact, by counting the 256 values."""
    values = np.arange(256) / 255
    shares = [np.bincount(images[:, c].ravel(), minlength=256) for c in range(images.shape[1])]
    means = [float(np.average(values, weights=n)) for n in shares]
    deviations = [
        float(np.sqrt(np.average((values - mean) ** 2, weights=n)))
        for n, mean in zip(shares, means, strict=True)
    ]
    return tuple(means), tuple(_nonzero(d) for d in deviations)


def _feature_statistics(features: NDArray[np.float32]) -> Statistics:
    wide = features.astype(np.float64)
    return tuple(wide.mean(0).tolist()), tuple(_nonzero(d) for d in wide.std(0).tolist())


def _nonzero(deviation: float) -> float:
    """The deviation, or one for a constant channel or feature, which is then zero instead of undefined."""
    return deviation if deviation > 0 else 1.0


def _split(part: RawSplit) -> benchsuite.Split:
    return benchsuite.Split(
        torch.from_numpy(np.require(part.inputs, requirements=["C", "W"])),
        torch.from_numpy(np.require(part.labels, np.int64, ["C", "W"])),
    )
