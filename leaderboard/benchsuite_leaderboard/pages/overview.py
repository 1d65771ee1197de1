"""The first page: what wins at which budget, how certain that is, and what was run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from markupsafe import Markup

from benchsuite_leaderboard.pages.environment import ASSETS, environment
from benchsuite_leaderboard.pages.views import costs_of

if TYPE_CHECKING:
    from benchsuite_leaderboard.downloads import Download
    from benchsuite_leaderboard.pages.views import Views
    from benchsuite_leaderboard.report import Report

CHARTS_ON_OVERVIEW = 4
"""With more workloads than this, they are only shown on their own pages, to keep the first page small."""


def overview(report: Report, views: Views, downloads: list[Download], *, digest: str) -> str:
    """The page as HTML, with its style and script inside, so that the file works alone."""
    return (
        environment()
        .get_template("overview.html.j2")
        .render(
            report=report,
            views=views,
            downloads=downloads,
            costs=costs_of(report.boards),
            digest=digest,
            style=Markup((ASSETS / "style.css").read_text("utf-8")),  # noqa: S704 - our own file
            script=Markup((ASSETS / "site.js").read_text("utf-8")),  # noqa: S704 - our own file
            root="",
            here="overview",
            has_workloads=sum(len(b.board.workloads) for b in report.boards) <= CHARTS_ON_OVERVIEW,
        )
    )
