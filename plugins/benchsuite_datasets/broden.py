"""Broden, the broadly and densely labelled images of network dissection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import benchsuite

if TYPE_CHECKING:
    from pathlib import Path

PUBLISHED_IMAGES = 63_305


class Broden(benchsuite.ConceptPlugin):
    """Broden's 63,305 images with 1,197 concepts in six categories, or any folder in its format.

    Published by Bau et al. (2017); the archive has 1 GB.
    Concepts keep their names in Broden: colours end in `-c`, scenes in `-s`. A concept that occurs in several
    categories is counted in the category in which it covers most pixels.
    """

    name = "broden"
    downloadable = True
    size: Literal[224, 227, 384] = 224
    """Height and width of the images; label maps have half of this size."""
    path: str = ""
    """The folder, absolute or relative to the data folder; empty: `broden1_<size>`, the published one."""

    def concepts(self, folder: Path) -> benchsuite.ConceptSet:
        """Return the set, downloaded if it is absent; raises `DataError` that names the wrong file."""
        from benchsuite_datasets._broden_folder import read_broden

        root = self._root(folder)
        if not self.path and not (root / "index.csv").is_file():
            from benchsuite_datasets._broden_download import download_broden

            download_broden(self.size, folder)
        return read_broden(root, self.size)

    def fingerprint(self, folder: Path) -> str:
        """Empty for the published set; otherwise SHA-256 over every file's name and content."""
        from benchsuite_datasets._label_images import tree_fingerprint

        root = self._root(folder)
        index = root / "index.csv"
        if not index.is_file():
            return ""
        with index.open(encoding="utf-8", errors="replace") as lines:
            published = sum(1 for _ in lines) == 1 + PUBLISHED_IMAGES
        return "" if published else tree_fingerprint(root)

    def _root(self, folder: Path) -> Path:
        return folder / (self.path or f"broden1_{self.size}")
