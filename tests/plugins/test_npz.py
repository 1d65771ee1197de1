"""A user's data in one npz file: how they are read, and the error messages."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

import benchsuite
from benchsuite_datasets.npz import Npz

if TYPE_CHECKING:
    from conftest import NpzContent

NOWHERE = Path("/nonexistent")


@pytest.mark.parametrize(
    ("stored", "loaded"), [((6, 5), (1, 6, 5)), ((6, 5, 1), (1, 6, 5)), ((6, 5, 3), (3, 6, 5))]
)
def test_npz_images_get_channels_first(
    tmp_path: Path, npz_content: NpzContent, stored: tuple[int, ...], loaded: tuple[int, ...]
) -> None:
    content = npz_content(*stored)
    np.savez(tmp_path / "mine.npz", **content)
    data = Npz(file="mine.npz").load(tmp_path)
    assert data.input_shape == loaded
    assert [len(s) for s in (data.train, data.validation, data.test)] == [54, 6, 12]
    assert data.classes == ("0", "1", "2")
    pixel = content["test_images"].reshape(12, 6, 5, -1)[3, 4, 2, -1]
    assert data.test.inputs[3, -1, 4, 2].item() == pixel
    assert data.augmentation == benchsuite.Augmentation()
    assert data.train.inputs.is_contiguous()


def test_npz_reads_features_and_medmnists_label_columns(
    tmp_path: Path, generator: np.random.Generator, npz_content: NpzContent
) -> None:
    content = npz_content()
    for part, count in (("train", 60), ("test", 12)):
        content[f"{part}_images"] = np.column_stack([generator.normal(2, 3, (count, 4)), np.full(count, 5.0)])
        content[f"{part}_labels"] = content[f"{part}_labels"][:, None].astype(np.uint8)
    np.savez(tmp_path / "mine.npz", **content)
    data = Npz(file=str(tmp_path / "mine.npz")).load(NOWHERE)
    assert data.train.inputs.dtype == torch.float32
    assert data.train.labels.dtype == torch.int64
    assert data.train.labels.shape == (54,)
    assert data.mean == pytest.approx(data.train.inputs.double().mean(0).tolist())
    # The constant last feature is divided by one, not by zero.
    deviations = data.train.inputs.double().std(0, unbiased=False)[:4].tolist()
    assert data.std == pytest.approx([*deviations, 1.0])


def test_npz_uses_a_given_validation_part(tmp_path: Path, npz_content: NpzContent) -> None:
    content = npz_content(4, 4)
    content["val_images"], content["val_labels"] = content["test_images"] // 2, content["test_labels"]
    np.savez(tmp_path / "mine.npz", **content)
    data = Npz(file="mine.npz").load(tmp_path)
    assert len(data.train) == 60
    assert torch.equal(data.validation.inputs[:, 0], torch.from_numpy(content["val_images"]))


def _without(key: str) -> Any:
    return lambda content: content.pop(key)


def _with(key: str, change: Any) -> Any:
    return lambda content: content.__setitem__(key, change(content[key]))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_without("train_labels"), "there is no train_labels, only test_images, test_labels, train_images"),
        (_with("train_images", lambda a: a.astype(np.int16)), "train_images has dtype int16"),
        (_with("train_images", lambda a: a / 255), r"train_images has dtype float64 and shape \(60, 4, 4\)"),
        (
            _with("test_images", lambda a: a[..., None].repeat(4, -1)),
            r"test_images has shape \(12, 4, 4, 4\)",
        ),
        (_with("test_images", lambda a: a[:, :2]), r"test_labels: samples have shape \(1, 2, 4\)"),
        (_with("train_labels", lambda a: a[:-1]), "60 train_images but 59 train_labels"),
        (_with("train_labels", lambda a: a.astype(float)), "train_labels has dtype float64"),
        (_with("train_labels", lambda a: np.stack([a, a], 1)), r"train_labels has shape \(60, 2\)"),
        (_with("train_labels", lambda a: a - 1), r"train_labels: labels -1 are outside 0\.\.1"),
        (
            _with("train_labels", lambda a: a * 2),
            "no sample has label 1, 3; labels must be 0..4 without gaps",
        ),
        (_with("train_labels", lambda a: a * 0), "only one class"),
        (_with("test_labels", lambda a: a + 1), r"test_labels: labels 3 are outside 0\.\.2"),
        (
            lambda c: c.update(train_images=c["train_images"][:0], train_labels=c["train_labels"][:0]),
            "no sample",
        ),
        (lambda c: c.update(test_images=c["test_images"][:0], test_labels=c["test_labels"][:0]), "no sample"),
        (lambda c: c.update(val_images=c["test_images"]), "has val_images but no val_labels"),
        (_with("train_labels", lambda a: a.astype(object)), "train_labels cannot be read"),
        (
            lambda c: c.update(train_images=c["train_images"][::20], train_labels=c["train_labels"][::20]),
            "one sample a class leaves none for validation",
        ),
    ],
)
def test_npz_errors_name_file_and_key(
    tmp_path: Path, npz_content: NpzContent, spoil: Any, message: str
) -> None:
    content = npz_content(4, 4)
    spoil(content)
    np.savez(tmp_path / "mine.npz", **content)
    with pytest.raises(benchsuite.DataError, match=message) as caught:
        Npz(file="mine.npz").load(tmp_path)
    assert "mine.npz" in str(caught.value)


def test_npz_features_must_be_finite(tmp_path: Path, npz_content: NpzContent) -> None:
    content = npz_content(4)
    content["train_images"] = np.where(content["train_images"] > 200, np.nan, 1.0)
    np.savez(tmp_path / "mine.npz", **content)
    with pytest.raises(benchsuite.DataError, match="train_images has NaN"):
        Npz(file="mine.npz").load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04torn"])
def test_npz_that_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "mine.npz").write_bytes(content)
    with pytest.raises(benchsuite.DataError, match=r"mine\.npz is not an npz file"):
        Npz(file="mine.npz").load(tmp_path)


def test_npz_that_is_one_array(tmp_path: Path) -> None:
    np.save(tmp_path / "mine.npy", np.zeros(3))
    with pytest.raises(benchsuite.DataError, match="holds a single array"):
        Npz(file="mine.npy").load(tmp_path)


def test_npz_absent_or_unnamed(tmp_path: Path) -> None:
    with pytest.raises(benchsuite.DataError, match=r"no file .*mine\.npz; put there"):
        Npz(file="mine.npz").load(tmp_path)
    with pytest.raises(benchsuite.DataError, match=r"mine\.npz"):
        Npz(file="mine.npz").fingerprint(tmp_path)
    with pytest.raises(benchsuite.DataError, match="no file is named"):
        Npz().load(tmp_path)


def test_npz_fingerprint_follows_the_content(tmp_path: Path, generator: np.random.Generator) -> None:
    file = tmp_path / "mine.npz"
    file.write_bytes(b"one")
    first = Npz(file="mine.npz").fingerprint(tmp_path)
    assert first == hashlib.sha256(b"one").hexdigest()
    file.write_bytes(b"another")
    assert Npz(file="mine.npz").fingerprint(tmp_path) == hashlib.sha256(b"another").hexdigest()
