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


def weights_from(scores: Mapping[str, Tensor], threshold: float) -> dict[str, Tensor]:
    """By layer, True where a weight scores the threshold or more, on the CPU.

    Args:
        scores: by layer, one score per weight.
        threshold: on the scale of the scores.

    Raises:
        Collapsed: a layer has no weight that scores as much.
    """
    keep = {name: score.cpu().double() >= threshold for name, score in scores.items()}
    gone = {name: scores[name] for name, mask in keep.items() if not mask.any()}
    if gone:
        raise Collapsed(_too_high("weight", gone, threshold))
    return keep


def _too_high(what: str, scores: Mapping[str, Tensor], threshold: float) -> str:
    best = max(float(score.max()) for score in scores.values())
    return f"no {what} of {', '.join(scores)} scores {threshold:g} or more; the highest there is {best:.3g}"


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
        raise Collapsed(_too_high("unit", {name: scores[name] for name in gone}, threshold))
    return {name: tuple(which.nonzero().flatten().tolist()) for name, which in below.items() if which.any()}
