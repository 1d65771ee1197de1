"""What inputs by name must be before anything is computed from them; each fault has its own sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from benchsuite.contracts.inputs import TensorMap
from benchsuite.errors import DataError

if TYPE_CHECKING:
    from benchsuite.contracts.dataset import Dataset
    from benchsuite.contracts.named_inputs import Tokens

_TYPES = (torch.int64, torch.bool, torch.float32)


def by_name(split: str, inputs: object, tokens: Tokens | None) -> TensorMap:
    """The inputs of a split as a `TensorMap`; raises `DataError` if they are no mapping of tensors."""
    parts = inputs.parts if isinstance(inputs, TensorMap) else inputs
    if not isinstance(parts, Mapping) or not parts:
        raise DataError(f"{split} inputs are neither a tensor nor tensors by name")
    for name, part in parts.items():
        if not isinstance(name, str) or not name.isidentifier():
            raise DataError(
                f"{split} has an input named {name!r}; names are those of keyword arguments, as input_ids is"
            )
        if not isinstance(part, Tensor):
            raise DataError(f"{split} input {name} is a {type(part).__name__}, not a tensor")
        if part.dim() < 1:
            raise DataError(f"{split} input {name} has no dimension of samples")
    return TensorMap(parts, None if tokens is None else tokens.mask)


def check_named(dataset: Dataset) -> None:
    """Raise `DataError` where a data set with inputs by name is not as it must be."""
    if dataset.mean or dataset.std:
        raise DataError("inputs by name are not normalised: mean and std must be empty")
    if dataset.augmentation.pad_crop or dataset.augmentation.flip:
        raise DataError("only images can be augmented, not inputs by name")
    training = dataset.train.inputs
    splits = ("train", dataset.train), ("validation", dataset.validation), ("test", dataset.test)
    for split, samples in splits:
        inputs = samples.inputs
        if not isinstance(inputs, TensorMap):
            raise DataError(f"{split} inputs are one tensor, training inputs come by name")
        if _kinds(inputs) != _kinds(training):
            raise DataError(f"{split} inputs are {_kinds(inputs)}, training inputs are {_kinds(training)}")
        for name, part in inputs.parts.items():
            _check_part(f"{split} input {name}", part, len(samples))
        if dataset.tokens is not None and len(samples):
            _check_tokens(split, inputs, dataset.tokens)


def _kinds(inputs: object) -> str:
    assert isinstance(inputs, TensorMap)
    kinds = sorted((n, part.dtype, tuple(part.shape[1:])) for n, part in inputs.parts.items())
    return ", ".join(f"{name}: {dtype} of shape {shape}" for name, dtype, shape in kinds)


def _check_part(which: str, part: Tensor, samples: int) -> None:
    if len(part) != samples:
        raise DataError(f"{which} has {len(part)} samples but there are {samples} labels")
    if part.dtype not in _TYPES:
        raise DataError(f"{which} is {part.dtype}; inputs by name are int64, bool or float32")
    if any(size == 0 for size in part.shape[1:]):
        raise DataError(f"{which} has samples of shape {tuple(part.shape[1:])}: there is nothing in them")
    if part.is_floating_point() and not part.isfinite().all():
        raise DataError(f"{which} holds values that are not finite")


def _check_tokens(split: str, inputs: TensorMap, tokens: Tokens) -> None:
    for name in (tokens.ids, tokens.mask):
        if name not in inputs.parts:
            raise DataError(f"{split} has no input {name!r}, which tokens name")
    if tokens.words and len(tokens.words) != tokens.vocabulary:
        raise DataError(f"tokens have {len(tokens.words)} words for {tokens.vocabulary} ids")
    ids, mask = inputs.parts[tokens.ids], inputs.parts[tokens.mask]
    if ids.dtype != torch.int64 or ids.dim() != 2:
        raise DataError(
            f"{split} {tokens.ids} are {ids.dtype} of shape {tuple(ids.shape)}; token ids are int64, "
            "(samples, steps)"
        )
    if mask.shape != ids.shape or mask.is_floating_point():
        raise DataError(
            f"{split} {tokens.mask} is {mask.dtype} of shape {tuple(mask.shape)}; it is int64 or bool "
            f"and of the shape of {tokens.ids}, {tuple(ids.shape)}"
        )
    if int(ids.min()) < 0 or int(ids.max()) >= tokens.vocabulary:
        raise DataError(
            f"{split} {tokens.ids} run from {int(ids.min())} to {int(ids.max())}, but the vocabulary has "
            f"{tokens.vocabulary} tokens, numbered from 0"
        )
    if not bool(((mask == 0) | (mask == 1)).all()):
        raise DataError(f"{split} {tokens.mask} holds other values than 0 and 1")
    if empty := int((mask == 0).all(1).sum()):
        raise DataError(f"in {empty} {split} samples no position counts; an empty text needs one token")
    if wrong := int(((mask == 0) & (ids != tokens.padding)).any(1).sum()):
        raise DataError(
            f"{wrong} {split} samples hold other ids than that of padding, {tokens.padding}, at positions "
            f"that do not count by {tokens.mask}"
        )
