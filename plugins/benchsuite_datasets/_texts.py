"""From token ids as they were made or read to a `benchsuite.Dataset`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

import benchsuite
from benchsuite_datasets._raw_splits import VALIDATION_FRACTION
from benchsuite_datasets._splits import stratified_split

if TYPE_CHECKING:
    from numpy.typing import NDArray

PADDING, UNKNOWN, START = 0, 1, 2
SPECIAL_NAMES = ("<padding>", "<unknown>", "<start>")
SPECIAL = len(SPECIAL_NAMES)
"""How many ids are those of no word."""


@dataclass(frozen=True)
class RawTexts:
    """Texts as token ids.

    Attributes:
        ids: int64 (samples, steps), `PADDING` behind the end of a text.
        mask: int64 (samples, steps), 1 in a text and 0 behind its end.
        labels: int64 (samples,).
        origin: where they come from; for messages.
    """

    ids: NDArray[np.int64]
    mask: NDArray[np.int64]
    labels: NDArray[np.int64]
    origin: str

    def take(self, indices: NDArray[np.intp]) -> RawTexts:
        """The texts at these indices."""
        return RawTexts(self.ids[indices], self.mask[indices], self.labels[indices], self.origin)


def assemble(
    train: RawTexts,
    test: RawTexts,
    classes: tuple[str, ...],
    vocabulary: int,
    validation: RawTexts | None = None,
    words: tuple[str, ...] = (),
) -> benchsuite.Dataset:
    """Return the data set; without a validation part a fixed tenth of each class of `train` is it.

    Args:
        train: the training texts.
        test: the test texts.
        classes: the names of the classes.
        vocabulary: how many ids there are.
        validation: the validation texts.
        words: what each id stands for, if anybody needs to know.

    Raises:
        DataError: a class has no training text, or one alone where the validation part is taken from it.
    """
    counts = np.bincount(train.labels, minlength=len(classes))
    least = 1 if validation is not None else 2
    if int(counts.min()) < least:
        raise benchsuite.DataError(
            f"{train.origin}: class {classes[int(counts.argmin())]!r} has {int(counts.min())} texts; "
            f"it needs {least} or more"
        )
    if validation is None:
        kept, held = stratified_split(train.labels, VALIDATION_FRACTION)
        train, validation = train.take(kept), train.take(held)
    return benchsuite.Dataset(
        train=_split(train),
        validation=_split(validation),
        test=_split(test),
        classes=classes,
        tokens=benchsuite.Tokens(vocabulary, PADDING, words=words),
    )


def _split(part: RawTexts) -> benchsuite.Split:
    inputs = {"input_ids": torch.from_numpy(part.ids), "attention_mask": torch.from_numpy(part.mask)}
    return benchsuite.Split(inputs, torch.from_numpy(part.labels))
