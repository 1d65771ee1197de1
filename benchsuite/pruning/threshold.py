"""A threshold in place of a sparsity: what scores less goes, however much that is."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from benchsuite.errors import Collapsed
from benchsuite.pruning.collapse import how_much, nearly_empty

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
        Collapsed: less than `LEAST_LEFT` of a layer's weights score as much.
    """
    keep = {name: score.cpu().double() >= threshold for name, score in scores.items()}
    _refuse_too_high("weight", keep, scores, threshold)
    return keep


def _refuse_too_high(
    what: str, keep: Mapping[str, Tensor], scores: Mapping[str, Tensor], threshold: float
) -> None:
    if lost := nearly_empty(keep):
        left = how_much({name: keep[name] for name in lost}, what)
        verb = "scores" if left.startswith("no ") else "score"
        best = max(float(scores[name].max()) for name in lost)
        raise Collapsed(f"{left} {verb} {threshold:g} or more; the highest there is {best:.3g}")


def positions_below(
    graph: PruningGraph, scores: Mapping[str, Tensor], threshold: float
) -> dict[str, tuple[int, ...]]:
    """By group, the positions that score less than the threshold; groups that lose none are left out.

    Args:
        graph: the network's pruning graph.
        scores: by group name, one score per position (see `group_scores`).
        threshold: on the scale of the scores.

    Raises:
        Collapsed: less than `LEAST_LEFT` of a group's positions score as much.
    """
    below = {group.name: scores[group.name] < threshold for group in graph.groups}
    _refuse_too_high("unit", {name: ~which for name, which in below.items()}, scores, threshold)
    return {name: tuple(which.nonzero().flatten().tolist()) for name, which in below.items() if which.any()}
