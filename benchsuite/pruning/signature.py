"""What must be equal for two pruned networks of one model to have the same architecture."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchsuite.pruning.graph import PruningGraph


def architecture_signature(
    graph: PruningGraph, removed: Mapping[str, Sequence[int]]
) -> tuple[tuple[str, int], ...]:
    """By group, how many positions are left. Equal signatures of one model mean tensors of equal shapes.

    Masked networks keep the dense architecture: pass no removals.
    """
    return tuple((group.name, group.size - len(removed.get(group.name, ()))) for group in graph.groups)
