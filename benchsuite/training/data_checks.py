"""What a data set must be before anything is computed from it; each fault has its own sentence."""

from __future__ import annotations

import hashlib
import math
import numbers
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from benchsuite.contracts.dataset import Split
from benchsuite.contracts.inputs import TensorMap, tensors_of
from benchsuite.errors import DataError
from benchsuite.training.named_checks import by_name, check_named

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchsuite.contracts.dataset import Dataset
    from benchsuite.contracts.inputs import Inputs

_LONGEST_NAME = 200


def checked(dataset: Dataset) -> Dataset:
    """The data set with labels of type int64, numbers of Python, and inputs by name as a `TensorMap`.

    Raises:
        DataError: anything is not as it must be.
    """
    train, validation, test = (
        replace(split, labels=_labels(name, split), inputs=_inputs(name, split, dataset))
        for name, split in _splits(dataset)
    )
    mean, std = _numbers("mean", dataset.mean), _numbers("std", dataset.std)
    dataset = replace(dataset, train=train, validation=validation, test=test, mean=mean, std=std)
    _check_classes(dataset.classes)
    if len(dataset.train) == 0:
        raise DataError("the training split is empty")
    if len(dataset.test) == 0:
        raise DataError("the test split is empty: there is nothing to measure accuracy on")
    for name, split in _splits(dataset):
        _check_labels(name, split, len(dataset.classes))
    if isinstance(dataset.train.inputs, Tensor):
        _check_tensors(dataset, dataset.train.inputs)
    else:
        check_named(dataset)
    return dataset


def _check_tensors(dataset: Dataset, training: Tensor) -> None:
    """Check a data set whose inputs are one tensor."""
    shape, dtype = tuple(training.shape[1:]), training.dtype
    if dataset.tokens is not None:
        raise DataError("tokens are of inputs by name; these are one tensor")
    _check_normalisation(dataset, shape)
    for name, split in _splits(dataset):
        inputs = split.inputs
        if not isinstance(inputs, Tensor):
            raise DataError(f"{name} inputs come by name, training inputs are one tensor")
        if tuple(inputs.shape[1:]) != shape or inputs.dtype != dtype:
            raise DataError(
                f"{name} inputs are {inputs.dtype} of shape {tuple(inputs.shape[1:])}, "
                f"training inputs are {dtype} of shape {shape}"
            )
        if inputs.shape[0] != len(split):
            raise DataError(f"{name}: {inputs.shape[0]} inputs but {len(split)} labels")
        _check_values(name, inputs)
    augmentation = dataset.augmentation
    if (augmentation.pad_crop or augmentation.flip) and len(shape) != 3:
        raise DataError(f"only images can be augmented, not samples of shape {shape}")
    if augmentation.pad_crop and augmentation.pad_crop >= min(shape[1:]):
        raise DataError(f"cannot pad images of shape {shape} by {augmentation.pad_crop} reflected pixels")


def overlap(dataset: Dataset) -> int:
    """How many samples of the test split have inputs that a training sample has too."""
    train, test = (
        _inputs(name, split, dataset) for name, split in (_splits(dataset)[0], _splits(dataset)[2])
    )
    known = set(_digests(train))
    return sum(digest in known for digest in _digests(test))


def _splits(dataset: Dataset) -> tuple[tuple[str, Split], ...]:
    return ("train", dataset.train), ("validation", dataset.validation), ("test", dataset.test)


def _inputs(name: str, split: Split, dataset: Dataset) -> Inputs:
    if isinstance(split.inputs, Tensor):
        return split.inputs
    return by_name(name, split.inputs, dataset.tokens)


def _labels(name: str, split: object) -> Tensor:
    if (
        not isinstance(split, Split)
        or not isinstance(split.inputs, Tensor | Mapping | TensorMap)
        or not isinstance(split.labels, Tensor)
    ):
        raise DataError(f"{name} is not a Split of two tensors")
    labels = split.labels
    if labels.dim() != 1:
        what = "one-hot labels" if labels.dim() == 2 else "labels"
        raise DataError(
            f"{name} has {what} of shape {tuple(labels.shape)}; labels are class numbers, shape (samples,)"
        )
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise DataError(f"{name} labels are {labels.dtype}; they are whole numbers, int64")
    return labels.to(torch.int64)


def _numbers(name: str, values: object) -> tuple[float, ...]:
    if isinstance(values, tuple | list) and all(isinstance(value, numbers.Real) for value in values):
        found = tuple(float(value) for value in values)
        if all(map(math.isfinite, found)):
            return found
    raise DataError(f"{name} is not a tuple of finite numbers: {str(values)[:100]}")


def _check_classes(classes: object) -> None:
    if not isinstance(classes, tuple) or not all(isinstance(name, str) for name in classes):
        raise DataError("classes is not a tuple of texts")
    if len(classes) < 2:
        raise DataError(f"there is {len(classes)} class: accuracy needs two and more")
    for number, name in enumerate(classes):
        if not name.strip() or not name.isprintable() or len(name) > _LONGEST_NAME:
            shown = repr(name[:_LONGEST_NAME])
            raise DataError(f"the class name {shown} is empty, too long or holds what cannot be shown")
        if name in classes[:number]:
            raise DataError(f"two classes have the name {name!r}")


def _check_normalisation(dataset: Dataset, shape: tuple[int, ...]) -> None:
    if not shape or any(size == 0 for size in shape):
        raise DataError(f"a sample has the shape {shape}: there is nothing in it")
    if len(dataset.mean) not in (1, shape[0]) or len(dataset.std) != len(dataset.mean):
        raise DataError(
            f"inputs of shape {shape} want 1 or {shape[0]} values of mean and std, "
            f"got {len(dataset.mean)} and {len(dataset.std)}"
        )
    if not all(std > 0 for std in dataset.std):
        raise DataError("every std must be above zero: a constant feature cannot be normalised by its own")


def _check_labels(name: str, split: Split, classes: int) -> None:
    if len(split) == 0:
        return
    lowest, highest = int(split.labels.min()), int(split.labels.max())
    if lowest < 0 or highest >= classes:
        raise DataError(
            f"{name} labels run from {lowest} to {highest}, but there are {classes} classes, numbered from 0"
        )


def _check_values(name: str, inputs: Tensor) -> None:
    if inputs.dtype not in (torch.uint8, torch.float32):
        raise DataError(
            f"{name} inputs are {inputs.dtype}; images are uint8 (samples, channels, height, width), "
            "features float32"
        )
    if inputs.is_floating_point() and not inputs.isfinite().all():
        wrong = int((~inputs.flatten(1).isfinite().all(1)).sum())
        raise DataError(f"{wrong} {name} samples hold values that are not finite")


def _digests(inputs: Inputs) -> Iterator[bytes]:
    """A digest of each sample."""
    parts = [part.contiguous().flatten(1).view(torch.uint8).numpy() for part in tensors_of(inputs)]
    for rows in zip(*parts, strict=True):
        digest = hashlib.blake2b(digest_size=16)
        for row in rows:
            digest.update(row.data)
        yield digest.digest()
