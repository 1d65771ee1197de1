"""Drawing objects with coloured, textured parts on backgrounds, many images at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

BACKGROUND_COLORS = ("black", "grey", "white")
COLORS = {
    "red": (0.85, 0.10, 0.10),
    "orange": (0.95, 0.50, 0.05),
    "yellow": (0.95, 0.90, 0.10),
    "green": (0.10, 0.65, 0.15),
    "blue": (0.10, 0.25, 0.85),
    "purple": (0.50, 0.10, 0.65),
    "pink": (1.00, 0.60, 0.75),
    "brown": (0.45, 0.25, 0.10),
}
TEXTURES = ("striped", "banded", "chequered", "dotted")
"""Vertical stripes, horizontal bands, squares, dots; half of the objects have no texture."""
CHUNK = 128
"""Images drawn at once, so that intermediate arrays stay small."""


@dataclass(frozen=True)
class Box:
    """A part with straight edges, in the object's frame: -1..1 in both directions, y downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def covers(self, x: NDArray[Any], y: NDArray[Any]) -> NDArray[np.bool_]:
        """Whether points belong to it; x and y broadcast against each other."""
        inside: NDArray[np.bool_] = (
            (x >= self.left) & (x < self.right) & ((y >= self.top) & (y < self.bottom))
        )
        return inside


@dataclass(frozen=True)
class Ellipse:
    """A round part, cut off below `bottom` and above `top`."""

    x: float
    y: float
    width: float
    height: float
    top: float = -2.0
    bottom: float = 2.0

    def covers(self, x: NDArray[Any], y: NDArray[Any]) -> NDArray[np.bool_]:
        """Whether points belong to it."""
        round_: NDArray[np.bool_] = ((x - self.x) / self.width) ** 2 + ((y - self.y) / self.height) ** 2 < 1
        return round_ & (y >= self.top) & (y < self.bottom)


@dataclass(frozen=True)
class Triangle:
    """A part with three corners, listed clockwise in the image."""

    corners: tuple[tuple[float, float], tuple[float, float], tuple[float, float]]

    def covers(self, x: NDArray[Any], y: NDArray[Any]) -> NDArray[np.bool_]:
        """Whether points belong to it."""
        inside: NDArray[np.bool_] = np.ones(np.broadcast_shapes(x.shape, y.shape), bool)
        for (ax, ay), (bx, by) in zip(self.corners, self.corners[1:] + self.corners[:1], strict=True):
            inside &= (bx - ax) * (y - ay) - (by - ay) * (x - ax) >= 0
        return inside


OBJECTS: dict[str, tuple[tuple[str, Box | Ellipse | Triangle], ...]] = {
    "house": (
        ("wall", Box(-0.75, 0.0, 0.75, 1.0)),
        ("roof", Triangle(((0.0, -1.0), (1.0, 0.0), (-1.0, 0.0)))),
        ("door", Box(-0.5, 0.35, -0.05, 1.0)),
        ("window", Box(0.2, 0.25, 0.6, 0.65)),
    ),
    "tree": (("trunk", Box(-0.2, 0.2, 0.2, 1.0)), ("crown", Ellipse(0.0, -0.3, 0.75, 0.7))),
    "car": (
        ("body", Box(-1.0, -0.15, 1.0, 0.5)),
        ("window", Box(-0.55, -0.6, 0.45, -0.15)),
        ("wheel", Ellipse(-0.55, 0.5, 0.3, 0.3)),
        ("wheel", Ellipse(0.55, 0.5, 0.3, 0.3)),
    ),
    "boat": (
        ("hull", Ellipse(0.0, 0.3, 1.0, 0.7, top=0.3)),
        ("sail", Triangle(((0.0, -1.0), (0.75, 0.2), (0.0, 0.2)))),
        ("mast", Box(-0.14, -1.0, 0.0, 0.3)),
    ),
    "flower": (
        ("stem", Box(-0.12, 0.1, 0.12, 1.0)),
        ("petal", Ellipse(-0.42, -0.35, 0.4, 0.28)),
        ("petal", Ellipse(0.42, -0.35, 0.4, 0.28)),
        ("petal", Ellipse(0.0, -0.75, 0.28, 0.35)),
        ("petal", Ellipse(0.0, 0.05, 0.28, 0.35)),
        ("heart", Ellipse(0.0, -0.35, 0.25, 0.25)),
    ),
    "fish": (
        ("tail", Triangle(((0.3, 0.0), (1.0, -0.6), (1.0, 0.6)))),
        ("belly", Ellipse(-0.2, 0.0, 0.8, 0.5)),
        ("eye", Ellipse(-0.6, -0.1, 0.16, 0.16)),
    ),
    "mushroom": (("stem", Box(-0.25, -0.1, 0.25, 1.0)), ("cap", Ellipse(0.0, 0.0, 1.0, 0.9, bottom=0.0))),
    "person": (
        ("head", Ellipse(0.0, -0.7, 0.3, 0.3)),
        ("shirt", Box(-0.5, -0.4, 0.5, 0.3)),
        ("leg", Box(-0.45, 0.3, -0.1, 1.0)),
        ("leg", Box(0.1, 0.3, 0.45, 1.0)),
    ),
}
PARTS = tuple(sorted({name for parts in OBJECTS.values() for name, _ in parts}))
_SLOTS = 1 + max(len(parts) for parts in OBJECTS.values())

CONCEPTS: tuple[tuple[str, str], ...] = (
    *((f"{name}-c", "color") for name in (*BACKGROUND_COLORS, *COLORS)),
    *((name, "texture") for name in TEXTURES),
    *((name, "part") for name in PARTS),
    *((name, "object") for name in OBJECTS),
)
"""Name and category of every concept; concept `i` has the number `i + 1` in label maps."""
_NUMBER = {concept: index + 1 for index, concept in enumerate(CONCEPTS)}


def draw(
    classes: NDArray[np.int64], size: int, label_size: int | None, seed: tuple[int, ...]
) -> tuple[NDArray[np.uint8], NDArray[np.int16]]:
    """Draw one image per class number.

    An object has a random place and size and may be mirrored; every kind of part has a random colour; half of
    the objects have a random texture; the background is grey and shaded. Only the outline depends on the
    class.

    Args:
        classes: index into `OBJECTS`, (images,).
        size: height and width of the images.
        label_size: height and width of the label maps; none are drawn if None.
        seed: images with the same seed are the same.

    Returns:
        Images, uint8 (images, 3, size, size), and label maps of color, texture, part and object,
        (images, 4, label_size, label_size).
    """
    images = np.empty((len(classes), 3, size, size), np.uint8)
    maps = np.zeros((len(classes), 4, label_size or 0, label_size or 0), np.int16)
    for start in range(0, len(classes), CHUNK):
        part = slice(start, start + CHUNK)
        scenes = _Scenes(classes[part], np.random.default_rng((*seed, start)))
        images[part] = scenes.images(size)
        if label_size is not None:
            maps[part] = scenes.maps(label_size)
    return images, maps


class _Scenes:
    """What some images show, ready to be drawn at any resolution."""

    def __init__(self, classes: NDArray[np.int64], rng: np.random.Generator) -> None:
        count = len(classes)
        self._classes, self._rng, self._count = classes, rng, count
        self._radius = _column(rng.uniform(0.2, 0.36, count))
        self._x = _column(rng.uniform(0.0, 1.0, count)) * (1 - 2 * self._radius) + self._radius
        self._y = _column(rng.uniform(0.0, 1.0, count)) * (1 - 2 * self._radius) + self._radius
        self._mirror = _column(rng.choice([-1.0, 1.0], count))
        # 0 is none: half of the objects.
        self._texture = rng.integers(1, len(TEXTURES) + 1, count) * (rng.random(count) < 0.5)
        self._phase = rng.uniform(0.0, 1.0, (2, count, 1, 1)).astype(np.float32)
        self._level = _column(rng.uniform(0.05, 0.95, count))
        self._slope = rng.uniform(-0.2, 0.2, (2, count, 1, 1)).astype(np.float32)
        # One colour per kind of part: parts of the same name in one object look alike.
        self._color = np.zeros((count, _SLOTS), np.int64)
        drawn = rng.integers(0, len(COLORS), (count, _SLOTS))
        for index, parts in enumerate(OBJECTS.values()):
            names = [name for name, _ in parts]
            for slot, name in enumerate(names, start=1):
                of_class = classes == index
                self._color[of_class, slot] = drawn[of_class, 1 + names.index(name)]
        jitter = rng.uniform(-0.06, 0.06, (count, _SLOTS, 3))
        self._tone = np.clip(np.array(list(COLORS.values()))[self._color] + jitter, 0, 1).astype(np.float32)

    def images(self, size: int) -> NDArray[np.uint8]:
        x, y = _grid(size)
        slots = self._slots(x, y)
        tone = self._tone.copy()
        color = tone[np.arange(self._count)[:, None, None], slots] * 255
        color[self._pattern(x, y) & (slots > 0)] *= 0.45
        plain = slots == 0
        color[plain] = (self._background(x, y) * 255)[plain, None]
        noise = self._rng.integers(-10, 11, color.shape, np.int8)
        noisy: NDArray[np.uint8] = np.clip(color + noise, 0, 255).astype(np.uint8)
        return noisy.transpose(0, 3, 1, 2)

    def maps(self, size: int) -> NDArray[np.int16]:
        """Label maps of color, texture, part and object."""
        x, y = _grid(size)
        slots = self._slots(x, y)
        image = np.arange(self._count)[:, None, None]
        level = self._background(x, y)
        grey = np.digitize(level, (0.3, 0.7)) + _NUMBER["black-c", "color"]
        chromatic = np.array([_NUMBER[f"{name}-c", "color"] for name in COLORS])
        textures = np.array([0, *(_NUMBER[name, "texture"] for name in TEXTURES)])
        objects = np.array([_NUMBER[name, "object"] for name in OBJECTS])
        parts = np.zeros((len(OBJECTS), _SLOTS), np.int64)
        for index, members in enumerate(OBJECTS.values()):
            parts[index, 1 : 1 + len(members)] = [_NUMBER[name, "part"] for name, _ in members]
        inside = slots > 0
        return np.stack(
            [
                np.where(inside, chromatic[self._color[image, slots]], grey),
                np.where(inside, textures[self._texture][:, None, None], 0),
                parts[self._classes[:, None, None], slots],
                np.where(inside, objects[self._classes][:, None, None], 0),
            ],
            axis=1,
        ).astype(np.int16)

    def _slots(self, x: NDArray[Any], y: NDArray[Any]) -> NDArray[np.uint8]:
        """Which part of its object every pixel shows, from 1; 0 is the background."""
        u = (x - self._x) / self._radius * self._mirror
        v = (y - self._y) / self._radius
        slots = np.zeros((self._count, y.shape[1], x.shape[2]), np.uint8)
        for index, parts in enumerate(OBJECTS.values()):
            chosen = np.flatnonzero(self._classes == index)
            drawn = slots[chosen]
            for slot, (_, part) in enumerate(parts, start=1):
                drawn[part.covers(u[chosen], v[chosen])] = slot
            slots[chosen] = drawn
        return slots

    def _background(self, x: NDArray[Any], y: NDArray[Any]) -> NDArray[np.float32]:
        level = self._level + self._slope[0] * (x - 0.5) + self._slope[1] * (y - 0.5)
        clipped: NDArray[np.float32] = np.clip(level, 0.0, 1.0).astype(np.float32)
        return clipped

    def _pattern(self, x: NDArray[Any], y: NDArray[Any]) -> NDArray[np.bool_]:
        """Where the texture darkens its object, with eight periods per image."""
        across, down = (8 * x + self._phase[0]) % 1, (8 * y + self._phase[1]) % 1
        right, low = across < 0.5, down < 0.5
        patterns = np.zeros((self._count, y.shape[1], x.shape[2]), bool)
        for number, texture in enumerate(TEXTURES, start=1):
            of = self._texture == number
            if texture == "striped":
                patterns[of] = right[of]
            elif texture == "banded":
                patterns[of] = low[of]
            elif texture == "chequered":
                patterns[of] = right[of] ^ low[of]
            else:
                patterns[of] = (across[of] - 0.5) ** 2 + (down[of] - 0.5) ** 2 < 0.3**2
        return patterns


def _grid(size: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Pixel centres on 0..1, as a row and as a column, ready to broadcast against images."""
    centres = ((np.arange(size) + 0.5) / size).astype(np.float32)
    return centres[None, None, :], centres[None, :, None]


def _column(values: NDArray[Any]) -> NDArray[np.float32]:
    return values.astype(np.float32)[:, None, None]
