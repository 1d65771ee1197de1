"""Handwritten digits, 8 x 8, which are part of scikit-learn."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

import benchsuite
from benchsuite_datasets._normalisation import Normalise

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TEST_FRACTION = 0.2


class Digits(benchsuite.DatasetPlugin):
    """1797 handwritten digits in grey, 8 x 8 or resized; needs no download (Alpaydin and Kaynak 1998).

    The values 0..16 are scaled to 0..255. A fixed fifth of each digit is the test split; a tenth of the rest
    of each digit is the validation split: 1295 training, 143 validation and 359 test images.
    """

    name = "digits"
    size: Annotated[int, Field(ge=8, le=256)] = 8
    """Height and width; for other sizes than 8, images are resized bilinearly."""
    normalise: Normalise = "own"

    def load(self, folder: Path) -> benchsuite.Dataset:  # noqa: ARG002 - the images come with scikit-learn
        """Return the splits; the data folder is not used."""
        import numpy as np

        from benchsuite_datasets._raw_splits import RawSplit, RawSplits, assemble
        from benchsuite_datasets._splits import stratified_split

        table = _table()
        images = np.rint(table[:, :64] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8)
        if self.size != 8:
            images = _resized(images, self.size)
        digits = RawSplit(images[:, None], table[:, 64].astype(np.int64), "scikit-learn's digits")
        kept, held = stratified_split(digits.labels, TEST_FRACTION)
        classes = tuple(str(digit) for digit in range(10))
        return assemble(RawSplits(digits.take(kept), digits.take(held)), classes, normalise=self.normalise)


def _table() -> NDArray[Any]:
    """The 64 pixel values 0..16 and the label of each digit, shape (1797, 65)."""
    import numpy as np

    # Reading the file takes 20 ms; importing scikit-learn takes more than a second in every worker.
    spec = importlib.util.find_spec("sklearn")
    assert spec is not None
    assert spec.origin is not None
    packed = Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"
    if packed.is_file():
        return np.loadtxt(packed, delimiter=",")
    from sklearn.datasets import load_digits

    digits = load_digits()
    return np.column_stack([digits.data, digits.target])


def _resized(images: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    import numpy as np
    from PIL import Image

    bilinear = Image.Resampling.BILINEAR
    return np.stack([np.asarray(Image.fromarray(i).resize((size, size), bilinear)) for i in images])
