"""A confusion matrix as files that a person can open: a table and a picture."""

from __future__ import annotations

import csv
import io
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

_CELL = 30
_MARGIN = 110


def confusion_csv(confusion: Tensor, classes: Sequence[str]) -> str:
    """The counts with a row for each true class and a column for each predicted one."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["true \\ predicted", *classes])
    for name, row in zip(classes, confusion.tolist(), strict=True):
        writer.writerow([name, *row])
    return text.getvalue()


def confusion_svg(confusion: Tensor, classes: Sequence[str]) -> str:
    """The matrix as a picture: the darker a cell, the larger its share of the true class."""
    size = _MARGIN + _CELL * len(classes) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{size}" height="{size}" font-family="sans-serif" '
        f'font-size="11"><rect width="100%" height="100%" fill="white"/>'
        f'<text x="{_MARGIN}" y="14">predicted</text><text x="4" y="{_MARGIN - 8}">true</text>'
    ]
    for row, (name, counts) in enumerate(zip(classes, confusion.tolist(), strict=True)):
        y, total = _MARGIN + _CELL * row, sum(counts)
        label = escape(name[:14])
        place = _MARGIN + _CELL * row + 20
        parts.append(f'<text x="{_MARGIN - 6}" y="{y + 19}" text-anchor="end">{label}</text>')
        parts.append(f'<text transform="translate({place},{_MARGIN - 6}) rotate(-90)">{label}</text>')
        for column, count in enumerate(counts):
            share = count / total if total else 0.0
            x, ink = _MARGIN + _CELL * column, "white" if share > 0.5 else "black"
            parts.append(
                f'<rect x="{x}" y="{y}" width="{_CELL}" height="{_CELL}" fill="#08519c" '
                f'fill-opacity="{share:.3f}" stroke="#ddd"/>'
            )
            if count:
                parts.append(
                    f'<text x="{x + _CELL / 2}" y="{y + 19}" text-anchor="middle" fill="{ink}">{count}</text>'
                )
    return "".join([*parts, "</svg>"])
