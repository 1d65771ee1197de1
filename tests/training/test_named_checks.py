"""Inputs by name: every fault has its own sentence, and what is right passes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from benchsuite import Augmentation, Dataset, Split, TensorMap, Tokens
from benchsuite.errors import DataError
from benchsuite.training import on_device
from benchsuite.training.data_checks import checked, overlap

if TYPE_CHECKING:
    from collections.abc import Callable

IDS = torch.tensor([[2, 5, 0, 0], [2, 3, 4, 0], [2, 6, 3, 7], [2, 4, 4, 4]])
MASK = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1], [1, 1, 1, 1]])
LABELS = torch.tensor([0, 1, 0, 1])


def good() -> Dataset:
    split = Split({"input_ids": IDS, "attention_mask": MASK}, LABELS)
    return Dataset(split, split, split, ("a", "b"), tokens=Tokens(8))


def with_train(**parts: Any) -> Dataset:
    data = good()
    inputs: Any = data.train.inputs
    kept = {name: part for name, part in {**inputs, **parts}.items() if part is not None}
    return replace(data, train=Split(kept, LABELS))


def test_what_is_right_becomes_a_tensor_map_with_its_mask() -> None:
    data = checked(good())
    assert isinstance(data.train.inputs, TensorMap)
    assert data.train.inputs.mask == "attention_mask"
    assert checked(data).train.inputs.parts == data.train.inputs.parts  # type: ignore[union-attr]
    split = on_device(data, "cpu").train
    normalised = split.normalise(split.inputs[:2])
    assert torch.equal(normalised["input_ids"], IDS[:2])
    normalised["input_ids"].zero_()
    assert torch.equal(split.inputs["input_ids"], IDS)  # a copy was changed


def test_without_tokens_other_inputs_pass() -> None:
    parts = {"left": torch.randn(4, 3), "right": torch.randn(4, 2, 2), "which": torch.tensor([True] * 4)}
    split = Split(parts, LABELS)
    data = checked(Dataset(split, split, split, ("a", "b")))
    assert data.train.inputs.kept is None  # type: ignore[union-attr]


def test_samples_are_equal_where_all_their_inputs_are() -> None:
    assert overlap(good()) == 4
    other = {"input_ids": IDS, "attention_mask": torch.ones_like(MASK)}
    assert overlap(replace(good(), test=Split(other, LABELS))) == 2  # the mask of two samples is another


FAULTS: dict[str, Callable[[], Dataset]] = {
    "train inputs are neither a tensor nor tensors by name": lambda: replace(good(), train=Split({}, LABELS)),
    "train has an input named 'input ids'; names are those of keyword": lambda: with_train(
        **{"input ids": IDS}
    ),
    "train has an input named 3": lambda: replace(good(), train=Split({3: IDS}, LABELS)),  # type: ignore[dict-item]
    "train input extra is a ndarray, not a tensor": lambda: with_train(extra=np.zeros(4)),
    "train input extra has no dimension of samples": lambda: with_train(extra=torch.tensor(1.0)),
    "not normalised: mean and std must be empty": lambda: replace(good(), mean=(0.0,), std=(1.0,)),
    "only images can be augmented": lambda: replace(good(), augmentation=Augmentation(flip=True)),
    "validation inputs are .*training inputs are .*extra": lambda: with_train(extra=torch.zeros(4, 1)),
    "test inputs are one tensor, training inputs come by name": lambda: replace(
        good(), test=Split(torch.randn(4, 4), LABELS)
    ),
    "train input input_ids has 3 samples but there are 4 labels": lambda: with_train(
        input_ids=IDS[:3], attention_mask=MASK[:3]
    ),
    "is torch.float64; inputs by name are int64, bool or float32": lambda: _everywhere(
        extra=torch.zeros(4, 1, dtype=torch.float64)
    ),
    r"has samples of shape \(0,\): there is nothing in them": lambda: _everywhere(extra=torch.zeros(4, 0)),
    "extra holds values that are not finite": lambda: _everywhere(extra=torch.full((4, 1), float("nan"))),
    "train has no input 'attention_mask', which tokens name": lambda: _everywhere(attention_mask=None),
    r"train input_ids are torch.int64 of shape \(4, 2, 2\); token ids are int64": lambda: _everywhere(
        input_ids=IDS.view(4, 2, 2)
    ),
    "it is int64 or bool and of the shape of input_ids": lambda: _everywhere(attention_mask=MASK.float()),
    r"attention_mask is torch.int64 of shape \(4, 3\)": lambda: _everywhere(attention_mask=MASK[:, :3]),
    "run from -1 to 7, but the vocabulary has 8": lambda: with_train(input_ids=IDS - (IDS == 5) * 6),
    "run from 0 to 8, but the vocabulary has 8": lambda: with_train(input_ids=IDS + (IDS == 7) * 1),
    "attention_mask holds other values than 0 and 1": lambda: with_train(attention_mask=MASK * 2),
    "in 1 train samples no position counts": lambda: with_train(
        attention_mask=MASK * (torch.arange(4) > 0)[:, None]
    ),
    "2 train samples hold other ids than that of padding, 0, at": lambda: with_train(
        input_ids=IDS + (MASK == 0) * 1
    ),
    "tokens are of inputs by name; these are one tensor": lambda: Dataset(
        *[Split(torch.randn(4, 3), LABELS)] * 3, ("a", "b"), (0.0,), (1.0,), tokens=Tokens(8)
    ),
}


def _everywhere(**parts: Any) -> Dataset:
    split = with_train(**parts).train
    return replace(good(), train=split, validation=split, test=split)


@pytest.mark.parametrize("message", FAULTS)
def test_every_fault_is_said(message: str) -> None:
    with pytest.raises(DataError, match=message):
        checked(FAULTS[message]())


def test_a_mask_upside_down_is_found() -> None:
    with pytest.raises(DataError, match=r"no position counts|other ids than that of padding"):
        checked(with_train(attention_mask=1 - MASK))
