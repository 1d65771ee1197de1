"""The content of the dissection pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from benchsuite.drawing.dissection import TILE, outlined, write_pictures
from benchsuite.errors import BenchsuiteError
from benchsuite.metrics.dissection.measure import dissect
from benchsuite.metrics.dissection.packing import PackedConcepts, pack
from benchsuite.metrics.dissection.settings import DissectionSettings
from benchsuite_datasets.shapes import Shapes

if TYPE_CHECKING:
    from benchsuite.metrics.dissection.result import Dissection


@pytest.fixture(scope="module")
def shapes() -> PackedConcepts:
    return pack(Shapes(images=60).concepts(Path()))


def network(units: int) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, units, 3), nn.ReLU())


def run(units: int, concepts: PackedConcepts, *, pictures: bool = True, iou: float = 0.05) -> Dissection:
    settings = DissectionSettings(pictures=pictures, iou=iou)
    shape, mean, std = (3, 32, 32), (0.5,) * 3, (0.2,) * 3
    return dissect(network(units), concepts, settings, device="cpu", mean=mean, std=std, input_shape=shape)


def test_a_tile_is_bright_inside_its_outline_and_dark_outside() -> None:
    image = np.full((1, 16, 16), 200, np.uint8)
    region = np.zeros((8, 8), bool)
    region[2:6, 1:4] = True
    tile = outlined(image, region)
    assert tile.shape == (TILE, TILE, 3)
    cell = TILE // 8
    inside = tile[2 * cell + 1 : 6 * cell - 1, cell + 1 : 4 * cell - 1]
    assert (inside == 200).all()
    edge = np.concatenate([tile[2 * cell, cell : 4 * cell], tile[2 * cell : 6 * cell, 4 * cell - 1]])
    assert (edge == (255, 225, 0)).all()
    outside = np.ones((TILE, TILE), bool)
    outside[2 * cell : 6 * cell, cell : 4 * cell] = False
    assert (tile[outside] == 90).all()


def test_pictures_of_one_network_and_of_two_beside_each_other(shapes: PackedConcepts, tmp_path: Path) -> None:
    dense, pruned = run(6, shapes), run(3, shapes)
    sizes = {}
    for name, paths in {
        "one": write_pictures(tmp_path / "one", dense, shapes),
        "two": write_pictures(tmp_path / "two", pruned, shapes, dense, {"4": (1, 3, 5)}),
    }.items():
        assert [path.name for path in paths] == ["detectors.jpg", "concepts.png"]
        for path in paths:
            with Image.open(path) as picture:
                picture.load()
                sizes[name, path.name] = picture.size
    one, two = sizes["one", "detectors.jpg"], sizes["two", "detectors.jpg"]
    assert two[0] == pytest.approx(2 * one[0], abs=2)
    assert sizes["two", "concepts.png"][1] > sizes["one", "concepts.png"][1]


def test_a_network_without_detectors_has_pictures_too(shapes: PackedConcepts, tmp_path: Path) -> None:
    assert all(path.is_file() for path in write_pictures(tmp_path, run(3, shapes, iou=0.99), shapes))


def test_other_images_or_none_are_refused(shapes: PackedConcepts, tmp_path: Path) -> None:
    with pytest.raises(BenchsuiteError, match="without pictures"):
        write_pictures(tmp_path, run(3, shapes, pictures=False), shapes)
    other = pack(Shapes(images=61).concepts(Path()))
    object.__setattr__(other, "key", "other")
    with pytest.raises(BenchsuiteError, match="other images"):
        write_pictures(tmp_path, run(3, shapes), other)
