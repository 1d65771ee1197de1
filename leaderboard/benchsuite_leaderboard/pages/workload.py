"""The page of one data set and model on one board."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchsuite_leaderboard.pages.addresses import workload_address
from benchsuite_leaderboard.pages.answers import answers
from benchsuite_leaderboard.pages.environment import environment
from benchsuite_leaderboard.pages.measured import measured
from benchsuite_leaderboard.pages.rounds import by_round
from benchsuite_leaderboard.pages.small_charts import interpretability
from benchsuite_leaderboard.pages.sweeps import swept_charts
from benchsuite_leaderboard.pages.views import costs_of

if TYPE_CHECKING:
    from benchsuite_leaderboard.board import Workload
    from benchsuite_leaderboard.pages.views import Views
    from benchsuite_leaderboard.report import BoardReport, Report


def workload_page(report: Report, views: Views, pair: Workload, board: BoardReport) -> str:
    """Verdicts, curves, trade-offs and tables, with a switch to the other boards that have the workload."""
    swept, without_chart = swept_charts(views, board, pair)
    by_plugins = measured(views, board, pair)
    return (
        environment()
        .get_template("workload.html.j2")
        .render(
            report=report,
            views=views,
            answers=answers,
            swept=swept,
            without_chart=without_chart,
            pair=pair,
            board=board,
            boards=[each for each in report.boards if pair in each.board.workloads],
            workload_pages=lambda each: workload_address(report, pair, each),
            costs=costs_of([board]),
            by_round=by_round(board, pair, [chart for each in by_plugins for chart in each.charts]),
            dissected=interpretability(views, board, pair),
            measured=by_plugins,
            root="../",
            here="",
        )
    )
