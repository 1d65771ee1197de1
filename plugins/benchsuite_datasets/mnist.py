"""MNIST and its drop-in replacement, Fashion-MNIST."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import benchsuite
from benchsuite_datasets._published import PublishedImages

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from benchsuite_datasets._raw_splits import RawSplit, RawSplits


class _IdxImages(PublishedImages):
    """The common part of both sets: four idx files."""

    shape = (1, 28, 28)

    def read(self, folder: Path) -> RawSplits:
        """Return the two published parts."""
        from benchsuite_datasets._raw_splits import RawSplits

        train_images, train_labels, test_images, test_labels = (folder / file for file in self.files)
        return RawSplits(train=_part(train_images, train_labels), test=_part(test_images, test_labels))


class Mnist(_IdxImages):
    """MNIST: 70,000 handwritten digits, 28 x 28, grey (LeCun et al. 1998).

    54,001 training, 5,999 validation and 10,000 test images. Read from `MNIST/raw/` or `mnist.npz` in the
    data folder, or downloaded.
    """

    name = "mnist"
    files: ClassVar = {
        "MNIST/raw/train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "MNIST/raw/train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "MNIST/raw/t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "MNIST/raw/t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    }
    classes = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
    statistics = ((0.1307,), (0.3081,))
    augmentation = benchsuite.Augmentation(pad_crop=2)
    torchvision_class = "MNIST"


class FashionMnist(_IdxImages):
    """Fashion-MNIST: 70,000 articles of clothing, 28 x 28, grey (Xiao et al. 2017).

    54,000 training, 6,000 validation and 10,000 test images. Read from `FashionMNIST/raw/` or
    `fashion-mnist.npz` in the data folder, or downloaded.
    """

    name = "fashion-mnist"
    files: ClassVar = {
        "FashionMNIST/raw/train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "FashionMNIST/raw/train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "FashionMNIST/raw/t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "FashionMNIST/raw/t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    }
    classes = (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    )
    statistics = ((0.2860,), (0.3530,))
    augmentation = benchsuite.Augmentation(pad_crop=2, flip=True)
    torchvision_class = "FashionMNIST"


def _part(images: Path, labels: Path) -> RawSplit:
    import numpy as np

    from benchsuite_datasets._raw_splits import RawSplit

    return RawSplit(_idx(images)[:, None], _idx(labels).astype(np.int64), str(labels))


def _idx(path: Path) -> NDArray[np.uint8]:
    """The array of an idx file: 0, 0, 8 (uint8), number of dimensions; big-endian sizes; data."""
    import numpy as np

    content = path.read_bytes()
    dimensions = content[3]
    sizes: NDArray[Any] = np.frombuffer(content, ">u4", count=dimensions, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(sizes.astype(int))
