"""What a data set plugin is, and what it returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from benchsuite.contracts.plugin import Plugin

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

    from benchsuite.contracts.inputs import Inputs
    from benchsuite.contracts.named_inputs import NamedInputs, Tokens


@dataclass(frozen=True)
class Split:
    """Samples and their labels.

    Attributes:
        inputs: uint8 images (samples, channels, height, width), or float32 features (samples, features); or
            by name several tensors of the same samples, int64, bool or float32, which a network gets as
            keyword arguments. The host makes a `TensorMap` of such a mapping.
        labels: class numbers, int64, shape (samples,).
    """

    inputs: Inputs | Mapping[str, Tensor]
    labels: Tensor

    def __len__(self) -> int:
        return int(self.labels.shape[0])


@dataclass(frozen=True)
class Augmentation:
    """What training may do to an image, applied per sample on the device."""

    pad_crop: int = 0
    """Pad by this many pixels (reflected) and crop back at a random offset."""
    flip: bool = False
    """Mirror left-right with probability one half."""


@dataclass(frozen=True)
class Dataset:
    """Fixed splits with what is needed to feed them to a network.

    Attributes:
        train: the only split that training, scoring and recovery see.
        validation: for choices; disjoint from `train`, taken from the published training part.
        test: the published test part; read once per trial, at the end.
        classes: class names in label order.
        mean: per channel (images, on the scale 0..1) or per feature; subtracted from inputs. Empty for inputs
            by name, which are not normalised.
        std: likewise; inputs are divided by it.
        augmentation: what a recipe with `augment = true` does to training images.
        tokens: what a data set of texts says of its inputs.
    """

    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...]
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    augmentation: Augmentation = Augmentation()
    tokens: Tokens | None = None

    @property
    def input_shape(self) -> tuple[int, ...] | NamedInputs:
        """One sample's shape, or what inputs by name are like."""
        from benchsuite.contracts.inputs import shape_of

        return shape_of(self.train.inputs, self.tokens)


class DatasetPlugin(Plugin):
    """Gives the train, validation and test splits of one data set, always the same.

    Import torch inside `load` where you can: listing and planning then need not load it.
    """

    downloadable: ClassVar[bool] = False
    """Whether `load` can fetch the data itself where there is a network."""

    def load(self, folder: Path) -> Dataset:
        """Return the splits, reading from or downloading into the data folder.

        Args:
            folder: the user's data folder (`--data`, `BENCHSUITE_DATA`, or the cache folder).

        Raises:
            DataError: data is absent or malformed; the message says what to put where.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define load()")

    def fingerprint(self, folder: Path) -> str:  # noqa: ARG002 - the folder is for overrides
        """Identify the content of data that is not fixed by the plugin's source, such as a user's own file.

        It is part of the content key of every trial, so that changed data are never taken for cached
        ones. Published data sets, the same everywhere, keep the empty default.
        """
        return ""
