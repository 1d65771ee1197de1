"""The first page with its picker, and the pages of the other boards: what wins at which budget."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from benchsuite_leaderboard.pages.addresses import board_address
from benchsuite_leaderboard.pages.answers import answers
from benchsuite_leaderboard.pages.environment import ASSETS, environment
from benchsuite_leaderboard.pages.picker import picker_data
from benchsuite_leaderboard.pages.views import costs_of

if TYPE_CHECKING:
    from benchsuite_leaderboard.downloads import Download
    from benchsuite_leaderboard.pages.views import Views
    from benchsuite_leaderboard.report import BoardReport, Report


def overview(report: Report, views: Views, downloads: list[Download], *, digest: str) -> str:
    """The page as HTML, with its style and scripts inside, so that the file works alone."""
    scripts = [(ASSETS / name).read_text("utf-8") for name in ("site.js", "figures.js", "picker.js")]
    return (
        environment()
        .get_template("overview.html.j2")
        .render(
            **_shared(report, views, report.boards[:1]),
            downloads=downloads,
            answers_data=picker_data(report, views),
            digest=digest,
            style=Markup((ASSETS / "style.css").read_text("utf-8")),  # noqa: S704 - our own file
            script=Markup("\n".join(scripts)),  # noqa: S704 - our own files
            root="",
            here="overview",
        )
    )


def board_page(report: Report, views: Views, board: BoardReport) -> str:
    """The page of a board that is not the first."""
    return (
        environment()
        .get_template("board.html.j2")
        .render(**_shared(report, views, [board]), board=board, root="../", here="board")
    )


def _shared(report: Report, views: Views, boards: Any) -> dict[str, Any]:
    return {
        "report": report,
        "views": views,
        "answers": answers,
        "board_pages": lambda each: board_address(report, each),
        "costs": costs_of(boards),
    }
