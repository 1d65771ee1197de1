"""Data sets that are not what they must be: each fault has its sentence, and nothing else is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchsuite.contracts.dataset import Augmentation, Dataset, Split
from benchsuite.errors import DataError
from benchsuite.training.data_checks import checked, overlap

if TYPE_CHECKING:
    from collections.abc import Callable


def split(count: int, seed: int = 0) -> Split:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 1, 6, 6), generator=generator, dtype=torch.uint8)
    return Split(images, torch.arange(count) % 3)


GOOD = Dataset(split(30, 1), split(9, 2), split(12, 3), ("a", "b", "c"), (0.5,), (0.2,))


def inputs(change: Callable[[torch.Tensor], torch.Tensor], name: str = "train") -> Dataset:
    before = getattr(GOOD, name)
    return replace(GOOD, **{name: replace(before, inputs=change(before.inputs))})


def labels(change: Callable[[torch.Tensor], torch.Tensor], name: str = "train") -> Dataset:
    before = getattr(GOOD, name)
    return replace(GOOD, **{name: replace(before, labels=change(before.labels))})


def features(wrong: float, name: str) -> Dataset:
    """Features of which one is that value."""
    found = {}
    for each in ("train", "validation", "test"):
        values = getattr(GOOD, each).inputs.float().flatten(1) / 255
        if each == name:
            values[2, 5] = wrong
        found[each] = replace(getattr(GOOD, each), inputs=values)
    return replace(GOOD, **found)


FAULTS: dict[str, tuple[Dataset, str]] = {
    "int8": (inputs(lambda x: x.to(torch.int8)), r"train inputs are torch.int8; images are uint8"),
    "half": (inputs(torch.Tensor.half), "train inputs are torch.float16"),
    "double": (inputs(torch.Tensor.double), "train inputs are torch.float64"),
    "one test type": (inputs(torch.Tensor.float, "test"), "test inputs are torch.float32 of shape"),
    "other shape": (
        inputs(lambda x: x[:, :, :5], "test"),
        r"test inputs are torch.uint8 of shape \(1, 5, 6\)",
    ),
    "nothing inside": (inputs(lambda x: x[:, :0]), r"a sample has the shape \(0, 6, 6\)"),
    "too few labels": (labels(lambda y: y[:-1]), "train: 30 inputs but 29 labels"),
    "empty train": (replace(GOOD, train=split(0)), "the training split is empty"),
    "empty test": (replace(GOOD, test=split(0)), "the test split is empty"),
    "one-hot": (
        labels(lambda y: torch.nn.functional.one_hot(y, 3)),
        r"train has one-hot labels of shape \(30, 3\)",
    ),
    "float labels": (labels(torch.Tensor.float, "validation"), "validation labels are torch.float32"),
    "true and false": (labels(lambda y: y > 0), "train labels are torch.bool"),
    "negative": (labels(lambda y: y - 1, "test"), "test labels run from -1 to 1, but there are 3 classes"),
    "too high": (labels(lambda y: y + 1), "train labels run from 1 to 3, but there are 3 classes"),
    "names twice": (replace(GOOD, classes=("a", "b", "a")), "two classes have the name 'a'"),
    "empty name": (replace(GOOD, classes=("a", " ", "c")), "the class name ' ' is empty"),
    "half a character": (replace(GOOD, classes=("a", "\ud800", "c")), r"the class name '\\ud800'"),
    "escape": (replace(GOOD, classes=("a", "\x1b[31m", "c")), r"the class name '\\x1b\[31m'"),
    "long name": (replace(GOOD, classes=("a", "b" * 10**6, "c")), "too long"),
    "numbers as names": (replace(GOOD, classes=(0, 1, 2)), "classes is not a tuple of texts"),
    "list of names": (replace(GOOD, classes=["a", "b", "c"]), "classes is not a tuple of texts"),
    "one class": (replace(GOOD, classes=("a",)), "there is 1 class"),
    "nan": (features(float("nan"), "train"), "1 train samples hold values that are not finite"),
    "inf": (features(float("inf"), "test"), "1 test samples hold values that are not finite"),
    "nan validation": (features(float("nan"), "validation"), "1 validation samples hold"),
    "mean": (replace(GOOD, mean=(float("nan"),)), "mean is not a tuple of finite numbers"),
    "std": (replace(GOOD, std=(float("inf"),)), "std is not a tuple of finite numbers"),
    "text": (replace(GOOD, mean=("0.5",)), "mean is not a tuple of finite numbers"),
    "many means": (replace(GOOD, mean=(0.5, 0.5)), "want 1 or 1 values of mean and std, got 2 and 1"),
    "zero std": (replace(GOOD, std=(0.0,)), "every std must be above zero"),
    "no split": (replace(GOOD, test=None), "test is not a Split of two tensors"),
    "no tensor": (
        replace(GOOD, train=Split(np.zeros(3), np.zeros(3))),
        "train is not a Split of two tensors",
    ),
    "augmented features": (
        replace(features(0.5, "train"), augmentation=Augmentation(flip=True)),
        "only images can be augmented",
    ),
    "pad": (replace(GOOD, augmentation=Augmentation(pad_crop=6)), "cannot pad images"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_has_its_sentence(name: str) -> None:
    dataset, message = FAULTS[name]
    with pytest.raises(DataError, match=message):
        checked(dataset)


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64])
def test_labels_of_other_whole_types_are_converted(dtype: torch.dtype) -> None:
    found = checked(labels(lambda y: y.to(dtype)))
    assert found.train.labels.dtype == torch.int64
    assert torch.equal(found.train.labels, GOOD.train.labels)


def test_what_is_right_stays_as_it_is() -> None:
    found = checked(replace(GOOD, mean=(np.float32(0.5),), validation=split(0)))
    assert found.train.inputs is GOOD.train.inputs
    assert (found.mean, found.std, found.classes) == ((0.5,), (0.2,), GOOD.classes)
    assert type(found.mean[0]) is float


@given(st.lists(st.integers(0, 29), max_size=12), st.booleans())
@settings(max_examples=30, deadline=None)
def test_test_samples_that_are_training_samples_are_counted(shared: list[int], floats: bool) -> None:
    test = GOOD.test.inputs.clone()
    for place, sample in enumerate(shared):
        test[place] = GOOD.train.inputs[sample]
    kind = torch.float32 if floats else torch.uint8
    dataset = replace(
        GOOD,
        train=replace(GOOD.train, inputs=GOOD.train.inputs.to(kind)),
        test=replace(GOOD.test, inputs=test.to(kind)),
    )
    same = (dataset.test.inputs[:, None] == dataset.train.inputs[None]).flatten(2).all(2).any(1)
    assert overlap(dataset) == int(same.sum()) >= len(shared)
