"""The page that shows how similarly the criteria rank the units of a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchsuite_leaderboard.charts.heat import agreement_heat_map
from benchsuite_leaderboard.pages.criterion import distinct_criteria
from benchsuite_leaderboard.pages.environment import environment
from benchsuite_leaderboard.pages.formats import workload

if TYPE_CHECKING:
    from benchsuite_leaderboard.agreement import WorkloadAgreement
    from benchsuite_leaderboard.report import Report


def agreement_page(report: Report) -> str:
    """A heat map and tables of Kendall's tau and of the overlap of the top units for each workload."""
    return (
        environment()
        .get_template("agreement.html.j2")
        .render(
            report=report,
            maps=[(each, agreement_heat_map(each, label=described(each))) for each in report.agreements],
            criteria={criterion.label: criterion for criterion in distinct_criteria(report)},
            root="",
            here="agreement",
        )
    )


def described(found: WorkloadAgreement) -> str:
    """The heat map's text alternative, for readers who cannot see it."""
    parts = [
        f"Heat map: how alike {len(found.criteria)} criteria rank the units of {workload(found.pair)}, "
        "by Kendall's tau."
    ]
    if found.mean_tau is not None:
        parts.append(f"Its mean over all pairs is {found.mean_tau:.2f}.")
    rows = enumerate(found.criteria)
    pairs = [(other.tau, label, other.label) for row, label in rows for other in found.neighbours(row)]
    if pairs:
        (high, one, other), (low, first, second) = max(pairs), min(pairs)
        parts.append(f"Most alike are {one} and {other} with {high:.2f}.")
        parts.append(f"Least alike are {first} and {second} with {low:.2f}.")
    parts.append("The tables below have every number.")
    return " ".join(parts)
