"""Your own photographs in folders, one per class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

import benchsuite
from benchsuite_datasets._normalisation import Normalise

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from benchsuite_datasets._raw_splits import RawSplit

ENDINGS = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
LAYOUT = "train/<class>/, test/<class>/ and optionally val/<class>/ with images in them"


class ImageFolder(benchsuite.DatasetPlugin):
    """Photographs in `train/<class>/`, `test/<class>/` and optionally `val/<class>/`, resized to one size.

    Images are converted to RGB, cropped centrally to a square and resized bilinearly. The classes are the
    folders of `train/`, in alphabetical order. Files without the extension of an image are ignored. Without
    `val/` a fixed tenth of each class of `train/` is the validation split.
    """

    name = "image-folder"
    path: str = ""
    """The folder, absolute or relative to the data folder."""
    size: Annotated[int, Field(ge=8, le=1024)] = 64
    """Height and width in pixels."""
    normalise: Normalise = "own"

    def load(self, folder: Path) -> benchsuite.Dataset:
        """Return the splits; raises `DataError` that names the wrong folder or image."""
        from benchsuite_datasets._raw_splits import RawSplits, assemble

        root = self._root(folder)
        classes = tuple(sorted(_subfolders(root / "train")))
        parts = RawSplits(
            train=self._part(root / "train", classes),
            test=self._part(root / "test", classes),
            validation=self._part(root / "val", classes) if (root / "val").is_dir() else None,
        )
        # Up to an eighth, like the usual 4 of 32 pixels.
        augmentation = benchsuite.Augmentation(pad_crop=self.size // 8, flip=True)
        return assemble(parts, classes, normalise=self.normalise, augmentation=augmentation)

    def fingerprint(self, folder: Path) -> str:
        """SHA-256 over the relative path and the content of every image."""
        root = self._root(folder)
        parts = [part for part in ("train", "val", "test") if part != "val" or (root / part).is_dir()]
        images = [
            image
            for part in parts
            for name in sorted(_subfolders(root / part))
            for image in _images(root / part / name)
        ]
        return benchsuite.files_fingerprint(root, images)

    def _root(self, folder: Path) -> Path:
        if not self.path:
            raise benchsuite.DataError(
                'image-folder: no folder is named; set it as in { name = "image-folder", path = "mine" },'
                f" relative to the data folder; it holds {LAYOUT}"
            )
        return folder / self.path

    def _part(self, folder: Path, classes: tuple[str, ...]) -> RawSplit:
        from concurrent.futures import ThreadPoolExecutor

        import numpy as np

        from benchsuite_datasets._raw_splits import RawSplit

        unknown = sorted(set(_subfolders(folder)) - set(classes))
        if unknown:
            raise benchsuite.DataError(
                f"{folder}: classes {', '.join(unknown[:5])} have no folder in {folder.parent / 'train'}"
            )
        labelled = [
            (image, label)
            for label, name in enumerate(classes)
            if (folder / name).is_dir()
            for image in _images(folder / name)
        ]
        images = np.empty((len(labelled), 3, self.size, self.size), np.uint8)
        with ThreadPoolExecutor() as pool:  # Pillow releases the interpreter's lock while it decodes
            for index, pixels in enumerate(pool.map(self._read, (image for image, _ in labelled))):
                images[index] = pixels
        labels = np.array([label for _, label in labelled], np.int64)
        return RawSplit(images, labels, str(folder))

    def _read(self, path: Path) -> NDArray[np.uint8]:
        """The image as (3, size, size)."""
        import numpy as np
        from PIL import Image, ImageOps

        try:
            with Image.open(path) as image:
                upright = ImageOps.exif_transpose(image).convert("RGB")
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise benchsuite.DataError(f"{path} cannot be read as an image: {error}") from error
        square = ImageOps.fit(upright, (self.size, self.size), Image.Resampling.BILINEAR)
        return np.asarray(square).transpose(2, 0, 1)


def _subfolders(folder: Path) -> list[str]:
    """Names of the class folders."""
    if not folder.is_dir():
        raise benchsuite.DataError(f"there is no folder {folder}; image-folder needs {LAYOUT}")
    names = [entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    if not names:
        raise benchsuite.DataError(f"{folder} holds no class folder; image-folder needs {LAYOUT}")
    return names


def _images(folder: Path) -> list[Path]:
    """The images of one class, in alphabetical order."""
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in ENDINGS and file.is_file())
