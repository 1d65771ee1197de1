"""Common code of the criteria that fit decision trees."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


def tree_depth(units: int) -> int:
    """Return log2 of the number of units, rounded, and at least 1 (Du Toit 2024)."""
    return max(1, round(math.log2(units)))


def table_name(reduction: str, k: int) -> str:
    """Return the context's name of the reduction "mean", "max" or "top-k-mean"."""
    return f"top-{k}-mean" if reduction == "top-k-mean" else reduction


def column_order(table: npt.NDArray[np.float32]) -> npt.NDArray[np.intp]:
    """Return an order of the columns that depends only on their contents.

    Splits of equal gain are common in small nodes, and the one chosen depends on the columns' order. With
    columns in this order, importances do not depend on how a layer's units are numbered.
    """
    import numpy as np

    return np.lexsort(table[::-1])
