"""A second implementation of network dissection from its definition, as loops over pixels."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from benchsuite.contracts.concepts import ConceptSet


def interpolated(field, height, width):
    """Bilinear interpolation with pixel centres at half integers, in exact rational arithmetic."""
    rows, columns = len(field), len(field[0])

    def neighbours(position, source, target):
        centre = Fraction(2 * position + 1, 2) * Fraction(source, target) - Fraction(1, 2)
        centre = max(centre, Fraction(0))
        low = min(int(centre), source - 1)
        return low, min(low + 1, source - 1), centre - low

    out = [[Fraction(0)] * width for _ in range(height)]
    for y in range(height):
        y0, y1, dy = neighbours(y, rows, height)
        for x in range(width):
            x0, x1, dx = neighbours(x, columns, width)
            top = field[y0][x0] * (1 - dx) + field[y0][x1] * dx
            bottom = field[y1][x0] * (1 - dx) + field[y1][x1] * dx
            out[y][x] = top * (1 - dy) + bottom * dy
    return out


def dissect(maps, concept_set: ConceptSet, quantile=0.005):
    """Thresholds, I_kc, A_k,cat and T_c of maps (images, units, height, width) by loops over pixels.

    Returns them with categories as a dictionary, keyed by their names.
    """
    images, units = maps.shape[:2]
    concepts = concept_set.concepts
    height, width = concept_set.samples[0].masks.shape[1:]
    on_pixel = [[[set() for _ in range(width)] for _ in range(height)] for _ in range(images)]
    for n in range(images):
        for y in range(height):
            for x in range(width):
                for layer in concept_set.samples[n].masks:
                    if layer[y, x]:
                        on_pixel[n][y][x].add(int(layer[y, x]) - 1)
                on_pixel[n][y][x].update(label - 1 for label in concept_set.samples[n].labels)
    categories_in = [
        {concepts[c].category for row in on_pixel[n] for pixel in row for c in pixel} for n in range(images)
    ]
    thresholds = [
        float(np.float32(np.quantile(maps[:, k].astype(np.float64), 1 - quantile))) for k in range(units)
    ]
    total = [0] * len(concepts)
    shared = [[0] * len(concepts) for _ in range(units)]
    area = [dict.fromkeys((c.category for c in concepts), 0) for _ in range(units)]
    for n in range(images):
        for y in range(height):
            for x in range(width):
                for c in on_pixel[n][y][x]:
                    total[c] += 1
        for k in range(units):
            field = [[Fraction(float(value)) for value in row] for row in maps[n, k]]
            values = interpolated(field, height, width)
            for y in range(height):
                for x in range(width):
                    if values[y][x] > Fraction(thresholds[k]):
                        for c in on_pixel[n][y][x]:
                            shared[k][c] += 1
                        for category in categories_in[n]:
                            area[k][category] += 1
    return thresholds, shared, area, total
