"""Published image sets: the sources of their files, and the order in which they are tried."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import benchsuite
from benchsuite_datasets._normalisation import Normalise, Statistics

if TYPE_CHECKING:
    from pathlib import Path

    from benchsuite_datasets._raw_splits import RawSplits


class PublishedImages(benchsuite.DatasetPlugin):
    """Base class of published image sets.

    The first of these sources that exists is used: the published files in torchvision's layout, whose content
    is checked against the published MD5; `<name>.npz` in the data folder with MedMNIST's keys (see `npz`),
    whose content is part of the content keys; a download of the published files by torchvision.

    The published test part is the test split; a fixed tenth of each class of the training part is the
    validation split, unless the npz file has one.
    """

    downloadable = True
    files: ClassVar[Mapping[str, str]]
    """The MD5 of each published file, by its path in the data folder."""
    classes: ClassVar[tuple[str, ...]]
    shape: ClassVar[tuple[int, int, int]]
    statistics: ClassVar[Statistics]
    """Published mean and standard deviation of the training part."""
    augmentation: ClassVar[benchsuite.Augmentation]
    torchvision_class: ClassVar[str]
    """Name of the class in `torchvision.datasets` that downloads it."""

    normalise: Normalise = "own"

    def read(self, folder: Path) -> RawSplits:
        """Return the parts from the published files."""
        raise NotImplementedError(f"{type(self).__name__} does not define read()")

    def load(self, folder: Path) -> benchsuite.Dataset:
        """Return the splits; raises `DataError`, which says which files to put where."""
        from benchsuite_datasets._download import download
        from benchsuite_datasets._npz_file import KEYS, read_npz
        from benchsuite_datasets._raw_splits import assemble

        npz = self._npz(folder)
        if not self._is_published(folder) and npz.is_file():
            parts = read_npz(npz)
            self._check_shape(parts, npz)
        else:
            download(
                self.torchvision_class,
                folder,
                done=self._is_published,
                otherwise=f"put there {', '.join(self.files)} (as published),"
                f" or {npz.name} with the keys {KEYS}",
            )
            self._check_content(folder)
            parts = self.read(folder)
        return assemble(
            parts,
            self.classes,
            normalise=self.normalise,
            published=self.statistics,
            augmentation=self.augmentation,
        )

    def fingerprint(self, folder: Path) -> str:
        """Empty for the published files, downloaded or not; SHA-256 of the content for an npz file."""
        npz = self._npz(folder)
        return benchsuite.file_fingerprint(npz) if not self._is_published(folder) and npz.is_file() else ""

    def _npz(self, folder: Path) -> Path:
        return folder / f"{self.name}.npz"

    def _is_published(self, folder: Path) -> bool:
        return all((folder / file).is_file() for file in self.files)

    def _check_content(self, folder: Path) -> None:
        import hashlib

        for file, expected in self.files.items():
            with (folder / file).open("rb") as opened:
                found = hashlib.file_digest(opened, "md5").hexdigest()
            if found != expected:
                raise benchsuite.DataError(
                    f"{folder / file} is not the published file (MD5 {found}, published {expected});"
                    f" delete it to have it fetched anew, or give data of your own as {self.name}.npz"
                )

    def _check_shape(self, parts: RawSplits, npz: Path) -> None:
        if parts.train.inputs.shape[1:] != self.shape:
            channels, height, width = self.shape
            colour = f", {channels}" if channels > 1 else ""
            raise benchsuite.DataError(
                f"{npz}: train_images hold samples of shape {parts.train.inputs.shape[1:]} (channels first),"
                f" but {self.name} has images of shape (N, {height}, {width}{colour});"
                " use the data set npz for others"
            )
