"""A user's images with label maps as a concept set."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from csv_files import write_csv
from PIL import Image

import benchsuite
from benchsuite.metrics.dissection.packing import pack
from benchsuite_datasets.mask_folder import MaskFolder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    root = tmp_path / "mine"
    for name in ("images", "masks", "masks/parts"):
        (root / name).mkdir(parents=True)
    Image.new("RGB", (40, 30), (1, 2, 3)).save(root / "images" / "a.png")
    Image.new("L", (30, 30), 9).save(root / "images" / "b.jpg")
    (root / "images" / "notes.txt").write_text("no image")
    values = np.zeros((30, 40), np.uint8)
    values[:15] = 4
    values[15:, :20] = 255
    Image.fromarray(values).save(root / "masks" / "a.png")
    Image.new("RGB", (40, 30), (5, 1, 0)).save(root / "masks" / "parts" / "a.png")
    Image.new("L", (30, 30), 4).save(root / "masks" / "b.png")
    write_csv(root / "labels.csv", ("value", "name", "category"), (4, "sky", "object"), (255, "", ""))
    with (root / "labels.csv").open("a") as file:
        file.write("261,window,part\n")
    return tmp_path


@pytest.mark.parametrize("file", ["images/b.jpg", "masks/a.png", "masks/parts/a.png", "labels.csv"])
def test_the_fingerprint_sees_contents_behind_the_same_size(masks: Path, file: str) -> None:
    plugin = MaskFolder(path="mine", size=16)
    before = plugin.fingerprint(masks)
    content = bytearray((masks / "mine" / file).read_bytes())
    content[-3] ^= 1
    (masks / "mine" / file).write_bytes(content)
    assert plugin.fingerprint(masks) != before


def test_a_folder_of_masks_is_read(masks: Path) -> None:
    packed = pack(MaskFolder(path="mine", size=16).concepts(masks))
    assert [(c.name, c.category) for c in packed.concepts] == [("sky", "object"), ("window", "part")]
    assert packed.images.shape == (2, 3, 16, 16)
    assert packed.mask_size == (8, 8)
    first = packed.label_maps(torch.tensor([0]))[0]
    assert first[0].tolist() == [[1] * 8] * 4 + [[0] * 8] * 4
    assert (first[1] == 2).all()
    assert packed.pixels.tolist() == [32 + 64, 64]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda r: shutil.rmtree(r / "masks"), "there is no folder .*masks"),
        (lambda r: (r / "masks/b.png").unlink(), "b.jpg has no label map"),
        (lambda r: (r / "labels.csv").write_text("value,label\n"), "no column 'name'"),
        (lambda r: (r / "labels.csv").write_text("value,name\n1,\n"), "names no concept"),
        (
            lambda r: (r / "labels.csv").write_text("value,name\n1,a\n1,b\n"),
            "line 3: the value 1 is listed twice",
        ),
        (
            lambda r: (r / "labels.csv").write_text("value,name,category\n1,a,\n"),
            "line 2: 'a' has no category",
        ),
        (lambda r: [p.unlink() for p in (r / "images").iterdir()], "holds no image"),
        (
            lambda r: Image.new("L", (30, 30), 200).save(r / "masks/b.png"),
            "b.png has the label 200, .*labels.csv",
        ),
        (lambda r: (r / "masks/b.png").write_text("x"), "b.png cannot be read as a label map"),
    ],
)
def test_a_malformed_folder_of_masks_says_where(
    masks: Path, spoil: Callable[[Path], Any], message: str
) -> None:
    spoil(masks / "mine")
    with pytest.raises(benchsuite.DataError, match=message):
        pack(MaskFolder(path="mine", size=16).concepts(masks))


def test_a_folder_of_masks_must_be_named(tmp_path: Path) -> None:
    with pytest.raises(benchsuite.DataError, match="no folder is named"):
        MaskFolder().concepts(tmp_path)


@pytest.mark.data
def test_street_scenes_as_a_folder_of_masks(data_folder: Path, tmp_path: Path) -> None:
    names = [
        "sky",
        "building",
        "pole",
        "road",
        "pavement",
        "tree",
        "signsymbol",
        "fence",
        "car",
        "pedestrian",
        "bicyclist",
    ]
    rows = [(number, name) for number, name in enumerate(names)]
    write_csv(tmp_path / "labels.csv", ("value", "name"), *rows, (11, ""))
    plugin = MaskFolder(
        path="camvid_sample", images="val", masks="valannot", labels=str(tmp_path / "labels.csv"), size=96
    )
    packed = pack(plugin.concepts(data_folder), limit=6)
    share = (packed.pixels / (6 * 48 * 48)).tolist()
    assert 0.1 < share[names.index("road")] < 0.6
    assert 0.9 < sum(share) <= 1
    assert plugin.fingerprint(data_folder) == plugin.fingerprint(data_folder)
