"""What networks came to after each round of a schedule: small charts on the page of a workload."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchsuite.store import metric_names
from benchsuite_leaderboard.charts.curves import ACCURACY
from benchsuite_leaderboard.pages.small_charts import (
    INTERPRETABILITY,
    Drawings,
    Drawn,
    dense_mean,
    drawings_of,
)
from benchsuite_leaderboard.rounds import after_each_round

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchsuite_leaderboard.board import Workload
    from benchsuite_leaderboard.charts.lines import Scale
    from benchsuite_leaderboard.report import BoardReport

_DRAWN = (
    (metric_names.TOP1, ACCURACY),
    *((f"{metric_names.INTERPRETABILITY}{name}", scale) for name, scale in INTERPRETABILITY),
)


def by_round(
    board: BoardReport, pair: Workload, measured: Iterable[tuple[str, Scale]] = ()
) -> Drawings | None:
    """Accuracy, dissection and what metric plugins measure after each round; None without any.

    Args:
        board: the board.
        pair: the workload.
        measured: names of metric plugins' numbers, and how each is written.
    """
    drawn = (*_DRAWN, *measured)
    tables = ((after_each_round(board.board, pair, metric), metric, scale) for metric, scale in drawn)
    found = (
        Drawn(table, scale, dense_mean(board, pair, f"{metric}_dense"))
        for table, metric, scale in tables
        if table is not None
    )
    return drawings_of(board, pair, found, "after each round")
