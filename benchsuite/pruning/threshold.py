"""A threshold in place of a sparsity: what scores less goes, however much that is."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from benchsuite.errors import Collapsed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from benchsuite.pruning.graph import PruningGraph

_NAME = "threshold"
_WRITTEN = re.compile(rf"{_NAME}=(\S+)")


def named(threshold: float) -> str:
    """What stands in place of a sparsity in plans and records, such as `threshold=0.05`."""
    return f"{_NAME}={float(threshold) + 0.0!r}".removesuffix(".0")  # no sign on a zero


def threshold_of(sparsity: object) -> float | None:
    """The threshold that stands in place of a sparsity, or None where it is something else."""
    match = _WRITTEN.fullmatch(sparsity) if isinstance(sparsity, str) else None
    try:
        found = math.nan if match is None else float(match[1])
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def positions_below(
    graph: PruningGraph, scores: Mapping[str, Tensor], threshold: float
) -> dict[str, tuple[int, ...]]:
    """By group, the positions that score less than the threshold; groups that lose none are left out.

    Args:
        graph: the network's pruning graph.
        scores: by group name, one score per position (see `group_scores`).
        threshold: on the scale of the scores.

    Raises:
        Collapsed: a group has no position that scores as much.
    """
    below = {group.name: scores[group.name] < threshold for group in graph.groups}
    gone = [group.name for group in graph.groups if below[group.name].all()]
    if gone:
        raise Collapsed(f"no unit of {', '.join(gone)} scores {threshold:g} or more")
    return {name: tuple(which.nonzero().flatten().tolist()) for name, which in below.items() if which.any()}
