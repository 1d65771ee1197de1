"""Your own data in one `.npz` file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import benchsuite
from benchsuite_datasets._normalisation import Normalise

if TYPE_CHECKING:
    from pathlib import Path


class Npz(benchsuite.DatasetPlugin):
    """Images or features from an npz file with MedMNIST's keys.

    The keys are `train_images`, `train_labels`, `test_images`, `test_labels` and optionally `val_images`,
    `val_labels`; without these a fixed tenth of each class of the training part is the validation split.
    Images are uint8 of shape (N, H, W), (N, H, W, 1) or (N, H, W, 3); floating-point arrays of shape (N, F)
    are features. Labels are 0..C-1 without gaps. Images are not augmented: some augmentations that suit
    photographs would change digits.
    """

    name = "npz"
    file: str = ""
    """The file, absolute or relative to the data folder."""
    normalise: Normalise = "own"

    def load(self, folder: Path) -> benchsuite.Dataset:
        """Return the splits; raises `DataError` that names the wrong file and key."""
        from benchsuite_datasets._npz_file import read_npz
        from benchsuite_datasets._raw_splits import assemble

        parts = read_npz(self._path(folder))
        classes = tuple(str(label) for label in range(int(parts.train.labels.max(initial=-1)) + 1))
        return assemble(parts, classes, normalise=self.normalise)

    def fingerprint(self, folder: Path) -> str:
        """SHA-256 of the file's content."""
        return benchsuite.file_fingerprint(self._path(folder))

    def _path(self, folder: Path) -> Path:
        if not self.file:
            raise benchsuite.DataError(
                'npz: no file is named; set it as in { name = "npz", file = "mine.npz" },'
                " relative to the data folder"
            )
        return folder / self.file
