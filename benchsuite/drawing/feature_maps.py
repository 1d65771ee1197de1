"""Feature maps of units as one small picture: a row of tiles for each layer, a column for each unit."""

from __future__ import annotations

import base64
import struct
import zlib
from html import escape
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence

    Grey = npt.NDArray[np.uint8]
    Maps = npt.NDArray[np.floating]

TILE = 40
"""Height and width of one map in the picture, in pixels."""
_HEAD, _NUMBER = 16, 12


def tile(maps: Maps) -> Grey:
    """The maps of one unit for several images, one below the other.

    Black is the unit's least value in all of them, white its largest; one that says the same everywhere is
    black.

    Args:
        maps: (images, height, width), finite.

    Returns:
        (images * TILE, TILE); what is not square has black edges.
    """
    least, most = float(maps.min()), float(maps.max())
    scaled = (maps - least) * (255 / (most - least)) if most > least else np.zeros_like(maps)
    _, height, width = maps.shape
    side = TILE / max(height, width)
    rows, columns = max(1, round(height * side)), max(1, round(width * side))
    down = np.arange(rows) * height // rows
    right = np.arange(columns) * width // columns
    found = np.zeros((len(maps), TILE, TILE), np.uint8)
    top, left = (TILE - rows) // 2, (TILE - columns) // 2
    found[:, top : top + rows, left : left + columns] = scaled[:, down][:, :, right].round()
    return found.reshape(-1, TILE)


def sheet(rows: Sequence[Sequence[Grey]]) -> Grey:
    """Tiles of equal height as one picture, in rows that begin at the left; what is left over is white."""
    height = rows[0][0].shape[0]
    found = np.full((height * len(rows), TILE * max(map(len, rows))), 255, np.uint8)
    for place, tiles in enumerate(rows):
        found[place * height : (place + 1) * height, : TILE * len(tiles)] = np.concatenate(tiles, axis=1)
    return found


def png(picture: Grey) -> bytes:
    """A picture of shades of grey, (height, width), as a PNG file."""
    height, width = picture.shape
    lines = np.concatenate([np.zeros((height, 1), np.uint8), picture], axis=1)  # each begins with "no filter"
    parts = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0),
        b"IDAT": zlib.compress(lines.tobytes(), 9),
        b"IEND": b"",
    }
    chunks = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts.items()
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def labelled_svg(picture: bytes, height: int, rows: Sequence[tuple[str, Sequence[str]]]) -> str:
    """A sheet with the name of each row above it and a text above each tile, as a picture of its own.

    Args:
        picture: the sheet as PNG.
        height: of one row of it, in pixels.
        rows: the names of its rows, with the texts of their tiles.
    """
    band, columns = _HEAD + _NUMBER + height, max(len(texts) for _, texts in rows)
    width, whole = max(TILE * columns, 480), band * len(rows)
    data = base64.b64encode(picture).decode()
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="{width}" '
        f'height="{whole}" font-family="sans-serif" font-size="10"><rect width="100%" height="100%" '
        f'fill="white"/><defs><image id="sheet" width="{TILE * columns}" height="{height * len(rows)}" '
        f'xlink:href="data:image/png;base64,{data}"/></defs>'
    ]
    for place, (name, texts) in enumerate(rows):
        top = band * place
        parts.append(f'<text x="2" y="{top + 12}" font-size="12" font-weight="bold">{escape(name)}</text>')
        for column, text in enumerate(texts):
            x = TILE * column + TILE // 2
            parts.append(f'<text x="{x}" y="{top + _HEAD + 9}" text-anchor="middle">{escape(text)}</text>')
        parts.append(
            f'<svg x="0" y="{top + _HEAD + _NUMBER}" width="{TILE * columns}" height="{height}" '
            f'viewBox="0 {height * place} {TILE * columns} {height}"><use xlink:href="#sheet"/></svg>'
        )
    return "".join([*parts, "</svg>"])
