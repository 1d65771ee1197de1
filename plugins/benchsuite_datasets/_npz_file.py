"""Reading `.npz` files with MedMNIST's keys."""

from __future__ import annotations

import zipfile
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

import benchsuite
from benchsuite_datasets._raw_splits import RawSplit, RawSplits

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

KEYS = "train_images, train_labels, test_images, test_labels and optionally val_images, val_labels"

UNREADABLE = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error)
"""Errors that NumPy raises for files that are damaged or need unpickling."""


def read_npz(path: Path) -> RawSplits:
    """Return the parts of an npz file with the keys `{train,val,test}_{images,labels}`; `val` is optional.

    Images are uint8 of shape (N, H, W), (N, H, W, 1) or (N, H, W, 3); floating-point arrays of shape
    (N, F) are features. Labels are integers of shape (N,) or (N, 1).

    Raises:
        DataError: the file is absent or malformed; the message names the key.
    """
    arrays = _arrays(path)
    validation = [key for key in ("val_images", "val_labels") if key in arrays]
    if len(validation) == 1:
        absent = {"val_images": "val_labels", "val_labels": "val_images"}[validation[0]]
        raise benchsuite.DataError(f"{path}: has {validation[0]} but no {absent}; give both or neither")
    return RawSplits(
        train=_part(path, arrays, "train"),
        test=_part(path, arrays, "test"),
        validation=_part(path, arrays, "val") if validation else None,
    )


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    if not path.is_file():
        raise benchsuite.DataError(f"there is no file {path}; put there an npz with the keys {KEYS}")
    with path.open("rb") as opened:
        try:
            file = np.load(opened, allow_pickle=False)
        except UNREADABLE as error:
            raise benchsuite.DataError(f"{path} is not an npz file: {error}") from error
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise benchsuite.DataError(f"{path} holds a single array; put there an npz with the keys {KEYS}")
        with file:
            return {key: _array(path, file, key) for key in _keys(path, file)}


def _keys(path: Path, file: np.lib.npyio.NpzFile) -> list[str]:
    """The keys to read; raises `DataError` if a required one is absent."""
    for key in ("train_images", "train_labels", "test_images", "test_labels"):
        if key not in file:
            raise benchsuite.DataError(
                f"{path}: there is no {key}, only {', '.join(sorted(file)) or 'nothing'}; needed are {KEYS}"
            )
    return [
        f"{part}_{what}"
        for part in ("train", "val", "test")
        for what in ("images", "labels")
        if f"{part}_{what}" in file
    ]


def _array(path: Path, file: np.lib.npyio.NpzFile, key: str) -> NDArray[Any]:
    try:
        array: NDArray[Any] = file[key]
    except UNREADABLE as error:
        raise benchsuite.DataError(f"{path}: {key} cannot be read: {error}") from error
    return array


def _part(path: Path, arrays: dict[str, NDArray[Any]], part: str) -> RawSplit:
    inputs = _inputs(f"{path}: {part}_images", arrays[f"{part}_images"])
    labels = _labels(f"{path}: {part}_labels", arrays[f"{part}_labels"])
    if len(inputs) != len(labels):
        raise benchsuite.DataError(
            f"{path}: {len(inputs)} {part}_images but {len(labels)} {part}_labels; give one label an image"
        )
    return RawSplit(inputs, labels, f"{path}: {part}_labels")


def _inputs(where: str, array: NDArray[Any]) -> NDArray[Any]:
    """Images with channels first, or float32 features."""
    if array.ndim == 2 and np.issubdtype(array.dtype, np.floating):
        if not np.isfinite(array).all():
            raise benchsuite.DataError(f"{where} has NaN or infinite values; every feature must be finite")
        return array.astype(np.float32)
    if array.dtype != np.uint8:
        raise benchsuite.DataError(
            f"{where} has dtype {array.dtype} and shape {array.shape}; images are uint8 (0..255) of shape"
            " (N, H, W), (N, H, W, 1) or (N, H, W, 3), features floating point of shape (N, F)"
        )
    if array.ndim == 3:
        return array[:, None]
    if array.ndim == 4 and array.shape[3] in (1, 3):
        return array.transpose(0, 3, 1, 2)
    raise benchsuite.DataError(
        f"{where} has shape {array.shape}; images have shape (N, H, W), (N, H, W, 1) or (N, H, W, 3)"
    )


def _labels(where: str, array: NDArray[Any]) -> NDArray[np.int64]:
    if not np.issubdtype(array.dtype, np.integer):
        raise benchsuite.DataError(f"{where} has dtype {array.dtype}; labels are integers, 0 the first class")
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise benchsuite.DataError(f"{where} has shape {array.shape}; labels have shape (N,) or (N, 1)")
    return array.astype(np.int64)
