"""Reading images and label maps from files, with errors that name the file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

import benchsuite

if TYPE_CHECKING:
    from numpy.typing import NDArray

_READ_ERRORS = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)


def read_image(path: Path, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """Return an image as RGB, uint8 (3, height, width), resized bilinearly to (height, width) if given.

    Raises:
        DataError: the file is absent or not an image.
    """
    with _opened(path, "image") as image:
        found = image.convert("RGB")
    if size is not None and found.size != size[::-1]:
        found = found.resize(size[::-1], Image.Resampling.BILINEAR)
    return np.ascontiguousarray(np.asarray(found).transpose(2, 0, 1))


def read_label_map(path: Path, size: tuple[int, int] | None = None) -> NDArray[np.int64]:
    """Return a label map as numbers, (height, width); nearest values if it is resized.

    Grey and palette images hold the number itself; colour images hold R + 256 G, as Broden's do.

    Raises:
        DataError: the file is absent or not an image.
    """
    with _opened(path, "label map") as image:
        if size is not None and image.size != size[::-1]:
            found: Image.Image = image.resize(size[::-1], Image.Resampling.NEAREST)
        else:
            found = image.copy()
    if found.mode in ("RGB", "RGBA"):
        channels = np.asarray(found).astype(np.int64)  # a wider type first: 256 G overflows a byte
        numbers: NDArray[np.int64] = channels[..., 0] + 256 * channels[..., 1]
        return numbers
    if found.mode == "1":
        found = found.convert("L")
    return np.asarray(found).astype(np.int64)


def numbered(
    values: NDArray[np.int64], numbers: dict[int, int], path: Path, known_from: Path
) -> NDArray[np.int16]:
    """Replace a label map's values by concept numbers.

    Args:
        values: (height, width).
        numbers: concept number of each value.
        path: the label map, for the message.
        known_from: the file that lists the values, for the message.

    Raises:
        DataError: a value is not listed.
    """
    found, inverse = np.unique(values, return_inverse=True)
    unknown = [int(value) for value in found if int(value) not in numbers]
    if unknown:
        raise benchsuite.DataError(
            f"{path} has the label {', '.join(map(str, unknown[:5]))}, which {known_from} does not list"
        )
    table = np.array([numbers[int(value)] for value in found], np.int16)
    mapped: NDArray[np.int16] = table[inverse].reshape(values.shape)
    return mapped


def tree_fingerprint(root: Path) -> str:
    """SHA-256 over the relative path and the content of every file in a folder."""
    files = [Path(folder) / name for folder, _, names in os.walk(root) for name in names]
    return benchsuite.files_fingerprint(root, files)


def _opened(path: Path, what: str) -> Any:
    try:
        image = Image.open(path)
        image.load()
    except FileNotFoundError as error:
        raise benchsuite.DataError(f"there is no {what} {path}") from error
    except _READ_ERRORS as error:
        raise benchsuite.DataError(f"{path} cannot be read as a {what}: {error}") from error
    return image
