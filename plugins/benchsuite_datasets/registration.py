"""The data sets shipped with benchsuite."""

from __future__ import annotations

from typing import TYPE_CHECKING

import benchsuite
from benchsuite_datasets.broden import Broden
from benchsuite_datasets.cifar import Cifar10, Cifar100
from benchsuite_datasets.digits import Digits
from benchsuite_datasets.image_folder import ImageFolder
from benchsuite_datasets.mask_folder import MaskFolder
from benchsuite_datasets.mnist import FashionMnist, Mnist
from benchsuite_datasets.npz import Npz
from benchsuite_datasets.shapes import Shapes
from benchsuite_datasets.text_folder import TextFolder
from benchsuite_datasets.waveform import Waveform
from benchsuite_datasets.word_order import WordOrder

if TYPE_CHECKING:
    from benchsuite import RegisterDataset


@benchsuite.hookimpl
def benchsuite_register_datasets(register: RegisterDataset) -> None:
    """Register every data set and concept set of this package."""
    for dataset in (
        Digits,
        Mnist,
        FashionMnist,
        Cifar10,
        Cifar100,
        Npz,
        Waveform,
        ImageFolder,
        WordOrder,
        TextFolder,
    ):
        register(dataset)
    for concepts in (Shapes, Broden, MaskFolder):
        register(concepts)
