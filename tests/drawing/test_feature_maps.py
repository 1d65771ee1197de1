"""Sheets of feature maps, read back with Pillow."""

from __future__ import annotations

import base64
import io
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from benchsuite.drawing.feature_maps import TILE, labelled_svg, png, sheet, tile


def test_a_tile_shows_each_value_as_a_square_between_the_least_and_the_largest() -> None:
    maps = np.array([[[0.0, 1.0], [2.0, 3.0]], [[3.0, 3.0], [-1.0, 0.0]]])
    found = tile(maps).reshape(2, TILE, TILE)
    half = TILE // 2
    for image, shades in zip(found, (maps + 1) / 4 * 255, strict=True):
        for row in range(2):
            for column in range(2):
                part = image[row * half : (row + 1) * half, column * half : (column + 1) * half]
                assert (part == round(shades[row, column])).all()


def test_what_is_not_square_has_black_edges_and_what_is_the_same_everywhere_is_black() -> None:
    assert not tile(np.full((2, 3, 3), 7.0)).any()
    found = tile(np.array([[[0.5] * 4, [1.0] * 4]]))
    lit = np.flatnonzero(found.any(axis=1))
    assert (lit[0], lit[-1]) == (TILE // 2, 3 * TILE // 4 - 1)


@pytest.mark.parametrize("size", [(1, 1), (1, 100), (97, 3), (224, 224)])
def test_every_size_of_map_gives_a_tile(size: tuple[int, int]) -> None:
    assert tile(np.random.default_rng(0).normal(size=(2, *size))).shape == (2 * TILE, TILE)


def test_the_file_is_the_sheet() -> None:
    rng = np.random.default_rng(0)
    tiles = [rng.integers(0, 256, (2 * TILE, TILE)).astype(np.uint8) for _ in range(4)]
    found = np.asarray(Image.open(io.BytesIO(png(sheet([tiles[:1], tiles[1:]])))))
    assert found.shape == (4 * TILE, 3 * TILE)
    assert (found[: 2 * TILE, :TILE] == tiles[0]).all()
    assert (found[: 2 * TILE, TILE:] == 255).all()
    assert (found[2 * TILE :, TILE : 2 * TILE] == tiles[2]).all()


def test_names_in_the_labelled_picture_are_text() -> None:
    name = '<script>alert("x")</script>&'
    picture = png(np.zeros((2 * TILE, TILE), np.uint8))
    svg = labelled_svg(picture, TILE, [(name, [""]), ("conv1", ["3"])])
    texts = [each.text for each in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
    assert texts == [name, None, "conv1", "3"]
    (data,) = re.findall(r"base64,([^\"]*)", svg)
    assert base64.b64decode(data) == picture
