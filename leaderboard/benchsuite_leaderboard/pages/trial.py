"""The page of one trial: a frame, into which a script writes the trial that the address names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchsuite_leaderboard.pages.environment import environment

if TYPE_CHECKING:
    from benchsuite_leaderboard.report import Report
    from benchsuite_leaderboard.trials import TrialFiles


def trial_page(report: Report, files: TrialFiles) -> str:
    """The page as HTML; it knows which shards there are, so that it asks for no file in vain."""
    return environment().get_template("trial.html.j2").render(report=report, files=files, root="", here="")
