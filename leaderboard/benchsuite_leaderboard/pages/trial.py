"""The page of one trial: an empty page that a script fills with the trial named by the address."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchsuite_leaderboard.pages.environment import environment

if TYPE_CHECKING:
    from benchsuite_leaderboard.report import Report


def trial_page(report: Report) -> str:
    """The page as HTML; it knows whether there are trials, so that it requests no missing file."""
    return environment().get_template("trial.html.j2").render(report=report, root="", here="")
