"""CIFAR-10 and CIFAR-100."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import benchsuite
from benchsuite_datasets._published import PublishedImages

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchsuite_datasets._raw_splits import RawSplit, RawSplits

FINE_LABELS = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly
camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup
dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower
leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid
otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray
road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
wardrobe whale willow_tree wolf woman worm
"""


class _Cifar(PublishedImages):
    """The common part of both sets: the published files are pickles of rows of 3072 values."""

    shape = (3, 32, 32)
    augmentation = benchsuite.Augmentation(pad_crop=4, flip=True)
    label_key: ClassVar[str]

    def read(self, folder: Path) -> RawSplits:
        """Return the two published parts."""
        from benchsuite_datasets._raw_splits import RawSplits

        *train, test = [folder / file for file in self.files]
        return RawSplits(train=self._part(train), test=self._part([test]))

    def _part(self, files: Sequence[Path]) -> RawSplit:
        import pickle

        import numpy as np

        from benchsuite_datasets._raw_splits import RawSplit

        batches = [
            pickle.loads(file.read_bytes(), encoding="latin1")  # noqa: S301 - its MD5 is the published one
            for file in files
        ]
        images = np.concatenate([batch["data"] for batch in batches]).reshape(-1, *self.shape)
        labels = np.concatenate([batch[self.label_key] for batch in batches])
        return RawSplit(images, labels.astype(np.int64), str(files[0].parent))


class Cifar10(_Cifar):
    """CIFAR-10: 60,000 photographs in 10 classes, 32 x 32, colour (Krizhevsky 2009).

    45,000 training, 5,000 validation and 10,000 test images. Read from `cifar-10-batches-py/` or
    `cifar10.npz` in the data folder, or downloaded.
    """

    name = "cifar10"
    files: ClassVar = {
        "cifar-10-batches-py/data_batch_1": "c99cafc152244af753f735de768cd75f",
        "cifar-10-batches-py/data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "cifar-10-batches-py/data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "cifar-10-batches-py/data_batch_4": "634d18415352ddfa80567beed471001a",
        "cifar-10-batches-py/data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "cifar-10-batches-py/test_batch": "40351d587109b95175f43aff81a1287e",
    }
    classes = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    statistics = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
    torchvision_class = "CIFAR10"
    label_key = "labels"


class Cifar100(_Cifar):
    """CIFAR-100: 60,000 photographs in 100 classes, 32 x 32, colour (Krizhevsky 2009).

    45,000 training, 5,000 validation and 10,000 test images with the fine labels. Read from
    `cifar-100-python/` or `cifar100.npz` in the data folder, or downloaded.
    """

    name = "cifar100"
    files: ClassVar = {
        "cifar-100-python/train": "16019d7e3df5f24257cddd939b257f8d",
        "cifar-100-python/test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
    }
    classes = tuple(FINE_LABELS.split())
    statistics = ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762))
    torchvision_class = "CIFAR100"
    label_key = "fine_labels"
