"""Photographs in folders."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import torch
from PIL import Image

import benchsuite
from benchsuite_datasets.image_folder import ImageFolder

if TYPE_CHECKING:
    from pathlib import Path


def write_image(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (20, 10)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for part, count in (("train", 10), ("test", 2)):
        for index in range(count):
            write_image(tmp_path / "pets" / part / "cat" / f"{index}.png", (200, index, 0))
            write_image(tmp_path / "pets" / part / "ant" / f"{index}.png", (0, index, 100))
    return tmp_path


def test_image_folder(folder: Path) -> None:
    (folder / "pets/train/cat/notes.txt").write_text("no image")
    (folder / "pets/train/.hidden").mkdir()
    data = ImageFolder(path="pets", size=16).load(folder)
    assert data.classes == ("ant", "cat")
    assert data.input_shape == (3, 16, 16)
    assert [len(s) for s in (data.train, data.validation, data.test)] == [18, 2, 4]
    assert data.test.labels.tolist() == [0, 0, 1, 1]
    assert data.test.inputs[:, :, 8, 8].tolist() == [[0, 0, 100], [0, 1, 100], [200, 0, 0], [200, 1, 0]]
    assert data.augmentation == benchsuite.Augmentation(pad_crop=2, flip=True)


def test_image_folder_crops_centrally(folder: Path) -> None:
    image = Image.new("RGB", (30, 10), (255, 255, 255))
    image.paste((10, 20, 30), (10, 0, 20, 10))
    image.save(folder / "pets/test/ant/0.png")
    data = ImageFolder(path="pets", size=8).load(folder)
    assert (data.test.inputs[0, :, 1:7, 1:7] == torch.tensor([10, 20, 30])[:, None, None]).all()


def test_image_folder_with_validation_folder(folder: Path) -> None:
    write_image(folder / "pets/val/cat/a.jpg", (1, 2, 3))
    data = ImageFolder(path="pets").load(folder)
    assert (len(data.train), len(data.validation)) == (20, 1)


def test_image_folder_errors(folder: Path) -> None:
    with pytest.raises(benchsuite.DataError, match="no folder is named"):
        ImageFolder().load(folder)
    with pytest.raises(
        benchsuite.DataError, match=r"there is no folder .*dogs/train; image-folder needs train/"
    ):
        ImageFolder(path="dogs").load(folder)
    (folder / "pets/test/cat/broken.jpg").write_bytes(b"\xff\xd8 torn")
    with pytest.raises(benchsuite.DataError, match=r"test/cat/broken\.jpg cannot be read as an image"):
        ImageFolder(path="pets").load(folder)
    (folder / "pets/test/cat/broken.jpg").unlink()
    (folder / "pets/test/dog").mkdir()
    with pytest.raises(benchsuite.DataError, match=r"classes dog have no folder in .*train"):
        ImageFolder(path="pets").load(folder)
    (folder / "pets/test/dog").rmdir()
    (folder / "pets/train/dog").mkdir()
    with pytest.raises(benchsuite.DataError, match="no sample has label 2"):
        ImageFolder(path="pets").load(folder)
    (folder / "empty/train").mkdir(parents=True)
    with pytest.raises(benchsuite.DataError, match="holds no class folder"):
        ImageFolder(path="empty").load(folder)


def test_image_folder_fingerprint_follows_names_and_contents(folder: Path) -> None:
    plugin = ImageFolder(path="pets")
    first = plugin.fingerprint(folder)
    assert first == plugin.fingerprint(folder)
    (folder / "pets/train/cat/0.png").rename(folder / "pets/train/cat/zero.png")
    second = plugin.fingerprint(folder)
    write_image(folder / "pets/test/ant/0.png", (0, 0, 100), size=(64, 64))
    assert len({first, second, plugin.fingerprint(folder)}) == 3


def test_image_folder_fingerprint_sees_pixels_behind_the_same_size_and_time(folder: Path) -> None:
    plugin = ImageFolder(path="pets")
    file = folder / "pets/train/cat/9.bmp"
    write_image(file, (10, 20, 30), size=(16, 16))
    before, status = plugin.fingerprint(folder), file.stat()
    write_image(file, (245, 235, 225), size=(16, 16))
    assert file.stat().st_size == status.st_size
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert plugin.fingerprint(folder) != before
