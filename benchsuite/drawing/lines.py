"""Lines over one axis as a picture."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_MARKED = 40
"""Of so many places at most each has a mark."""


def lines_png(x: Sequence[float], y: Mapping[str, Sequence[float | None]], axes: tuple[str, str]) -> bytes:
    """Draw lines as a PNG file.

    Args:
        x: places on the horizontal axis.
        y: by the name of a line, as many values; None where there is none.
        axes: titles of the horizontal and the vertical axis.
    """
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    plot = figure.subplots()
    for name, values in y.items():
        known = [float("nan") if value is None else value for value in values]
        # Dollar signs would begin a formula, and an underscore would hide the name.
        label = "\u200b" + name.replace("$", r"\$")
        plot.plot(
            x, known, label=label, marker="o" if len(x) <= _MARKED else None, markersize=3, linewidth=1.5
        )
    plot.set_xlabel(axes[0].replace("$", r"\$"))
    plot.set_ylabel(axes[1].replace("$", r"\$"))
    plot.grid(alpha=0.3)
    if len(y) > 1:
        plot.legend(fontsize=8)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110, metadata={"Software": None})
    return file.getvalue()
