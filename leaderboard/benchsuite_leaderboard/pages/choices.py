"""The cells of a table as choices between accuracy and cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchsuite_leaderboard.charts.trade_off import Choice
from benchsuite_leaderboard.protocol import is_shared

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchsuite_leaderboard.board import Criterion, Workload
    from benchsuite_leaderboard.pages.views import View
    from benchsuite_leaderboard.protocol import Sparsity
    from benchsuite_leaderboard.standings import Standings


def choices_of(
    standings: Standings, view: View, costs: Mapping[tuple[Criterion, Sparsity], float], pair: Workload | None
) -> list[Choice]:
    """The view's cells as choices: ranked criteria with their means over the cells that all of them have."""
    found = []
    # A criterion's choices one after the other: they become one mark of the drawing.
    for row in view.rows:
        for column, (sparsity, cell) in enumerate(zip(view.table.sparsities, row.cells, strict=True)):
            at = (row.criterion, sparsity)
            # A mean over fewer workloads than that of another sparsity is another quantity.
            is_part = bool(view.table.part(column)) or not cell.serves_all
            if cell.estimate is None or is_part or at not in costs:
                continue
            common = standings.common_mean(row.criterion, pair, sparsity)
            mean = cell.estimate.mean if common is None else common
            # At a sparsity that a criterion chose itself there is nothing in common.
            is_compared = common is not None or (not is_shared(sparsity) and cell.is_complete)
            found.append(Choice(row.criterion, sparsity, costs[at], mean, is_compared))
    return found
