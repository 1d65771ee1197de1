"""The page of one data set and model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchsuite_leaderboard.pages.environment import environment
from benchsuite_leaderboard.pages.views import costs_of

if TYPE_CHECKING:
    from benchsuite_leaderboard.board import Workload
    from benchsuite_leaderboard.pages.views import Views
    from benchsuite_leaderboard.report import Report


def workload_page(report: Report, views: Views, pair: Workload) -> str:
    """Curves, trade-offs and tables of a workload on every board that has it."""
    return (
        environment()
        .get_template("workload.html.j2")
        .render(
            report=report,
            views=views,
            pair=pair,
            boards=[board for board in report.boards if pair in board.board.workloads],
            costs=costs_of(report.boards),
            root="../",
            here="",
        )
    )
