"""Pages of the suites with published values: all of a paper's numbers beside ours."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from benchsuite_leaderboard.pages.addresses import slug
from benchsuite_leaderboard.pages.environment import environment
from benchsuite_leaderboard.pages.ranking import workload_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchsuite_leaderboard.pages.views import Views
    from benchsuite_leaderboard.published import Comparison
    from benchsuite_leaderboard.report import Report
    from benchsuite_leaderboard.suites import PublishedSuite


def published_pages(report: Report, views: Views, index: str) -> Iterator[tuple[str, Callable[[], str]]]:
    """A page for each suite with published values, and before them one that lists them.

    Args:
        report: the site's content.
        views: makes the tables.
        index: address of the page that lists them.
    """
    if not report.published:
        return
    names = [suite.name for suite in report.published]
    pages = [
        (suite, f"published/{slug(suite.name)}{_number(names[:place].count(suite.name))}.html")
        for place, suite in enumerate(report.published)
    ]
    yield index, partial(_index_page, report, views, pages)
    for suite, address in pages:
        yield address, partial(_suite_page, report, views, suite)


def _number(before: int) -> str:
    """What tells the page of a suite from those of others with its name."""
    return f"-{before + 1}" if before else ""


def _index_page(report: Report, views: Views, pages: list[tuple[PublishedSuite, str]]) -> str:
    rows = [(suite, address, comparisons_of(report, views, suite)) for suite, address in pages]
    return (
        environment()
        .get_template("published_index.html.j2")
        .render(report=report, rows=rows, root="", here="published")
    )


def _suite_page(report: Report, views: Views, suite: PublishedSuite) -> str:
    compared = comparisons_of(report, views, suite)
    pairs = dict.fromkeys(each.pair for each in compared)
    networks = [each for each in report.rankings.networks if workload_of(each) in pairs]
    return (
        environment()
        .get_template("published_suite.html.j2")
        .render(
            report=report,
            suite=suite,
            compared=compared,
            pairs=pairs,
            networks=networks,
            pair_of=workload_of,
            board=None,
            root="../",
            here="published",
        )
    )


def comparisons_of(report: Report, views: Views, suite: PublishedSuite) -> list[Comparison]:
    """A suite's published values beside ours, in the order of its file; what several boards share once."""
    mine = {repr(value): number for number, value in enumerate(suite.values)}
    found: dict[str, tuple[int, Comparison]] = {}
    for _, each in views.every_published(report):
        number = mine.get(repr(each.reference))
        if number is not None:
            shared = repr((each.reference, each.pair, each.criterion, each.sparsity, each.ours))
            found.setdefault(shared, (number, each))
    return [each for _, each in sorted(found.values(), key=lambda numbered: numbered[0])]
