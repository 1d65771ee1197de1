"""The page with every cell, for filtering and sorting, and the page that compares pairs of criteria."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from benchsuite_leaderboard.pages.addresses import board_address, slug, trial_id
from benchsuite_leaderboard.pages.by_workload import lines
from benchsuite_leaderboard.pages.environment import environment
from benchsuite_leaderboard.pages.formats import sparsity
from benchsuite_leaderboard.pages.picker import cited
from benchsuite_leaderboard.pages.views import costs_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchsuite_leaderboard.board import BoardTrial, Criterion, Workload
    from benchsuite_leaderboard.pages.views import Views
    from benchsuite_leaderboard.protocol import Protocol, Sparsity
    from benchsuite_leaderboard.report import BoardReport, Report
    from benchsuite_leaderboard.standings import Cell
    from benchsuite_leaderboard.statistics.intervals import Estimate


@dataclass(frozen=True)
class Filter:
    """A filter for the rows of the table.

    Attributes:
        values: the choices, in the order of their numbers in the rows.
    """

    key: str
    title: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Line:
    """One criterion on one workload at one sparsity.

    Attributes:
        costs: what is left of MACs, parameters and of each measured time.
        uncertain: names of the costs that are less certain than they look.
        address: the address of its trials.
        facets: the number of each filter's value that this line has.
    """

    board: BoardReport
    pair: Workload
    criterion: Criterion
    sparsity: Sparsity
    cell: Cell
    before: Estimate | None
    costs: Mapping[str, float]
    uncertain: frozenset[str]
    address: str
    facets: tuple[int, ...]


def cells_page(report: Report, views: Views) -> str:
    """Every cell of every board in one table."""
    filters, lines = _lines(report, views)
    return (
        environment()
        .get_template("cells.html.j2")
        .render(
            report=report,
            filters=filters,
            lines=lines,
            costs=[key for key, _, _ in costs_of(report.boards)],
            root="",
            here="cells",
        )
    )


def comparison_page(report: Report, views: Views, board: BoardReport | None) -> str:
    """A board's win rates of all pairs, critical differences and gains; None if there is no board."""
    return (
        environment()
        .get_template("comparison.html.j2")
        .render(
            report=report,
            views=views,
            board=board,
            by_workload=lines,
            board_pages=lambda each: board_address(report, each, "comparison"),
            root="" if board is None or board is report.boards[0] else "../",
            here="comparison",
        )
    )


def method_page(report: Report) -> str:
    """How the numbers were computed, and their limits."""
    return (
        environment()
        .get_template("method.html.j2")
        .render(report=report, cited=cited, root="", here="method")
    )


def _lines(report: Report, views: Views) -> tuple[list[Filter], list[Line]]:
    found: list[tuple[tuple[str, ...], Line]] = []
    for board in report.boards:
        protocol = board.board.protocol
        trials: dict[tuple[Workload, Criterion, Sparsity], list[BoardTrial]] = defaultdict(list)
        for trial in board.board.trials:
            block = trial.block
            trials[block.dense_model.workload, trial.criterion, block.sparsity].append(trial)
        for pair in board.board.workloads:
            table = views.workload(board, board.after, pair).table
            before = None if board.before is None else views.workload(board, board.before, pair).table
            costs = {name: board.board.remaining_cost(pair, name) for name, _, _ in costs_of([board])}
            uncertain = {name: board.board.uncertain_costs(pair, name) for name in costs}
            for criterion, cells in table.rows.items():
                for column, (value, cell) in enumerate(zip(table.sparsities, cells, strict=True)):
                    if cell.estimate is None and not cell.troubles:
                        continue
                    at = (criterion, value)
                    line = Line(
                        board,
                        pair,
                        criterion,
                        value,
                        cell,
                        None if before is None else before.rows[criterion][column].estimate,
                        {name: left[at] for name, left in costs.items() if at in left},
                        frozenset(name for name, cells_ in uncertain.items() if at in cells_),
                        _address(board, pair, trials[pair, criterion, value]),
                        (),
                    )
                    found.append((_facets(protocol, line), line))
    filters = []
    kept = []
    for i, (key, title) in enumerate(_FILTERS):
        values = tuple(dict.fromkeys(facets[i] for facets, _ in found))
        if len(values) > 1:
            kept.append(i)
            # Numbers keep the order of the tables; names are sorted alphabetically, so that they are easy to
            # find.
            ordered = values if key == "sparsity" else tuple(sorted(values))
            filters.append(Filter(key, title, ordered))
    numbers = [{value: n for n, value in enumerate(each.values)} for each in filters]
    return filters, [
        replace(line, facets=tuple(numbers[n][facets[i]] for n, i in enumerate(kept)))
        for facets, line in found
    ]


def _address(board: BoardReport, pair: Workload, trials: Sequence[BoardTrial]) -> str:
    """The only trial's page, or the list of them on the criterion's page."""
    if len(trials) == 1:
        return f"trial.html#{trial_id(trials[0].record.key)}"
    return f"criteria/{slug(trials[0].criterion.label)}.html#{board.anchor}-{slug(*pair)}"


_FILTERS = (
    ("dataset", "Data set"),
    ("model", "Model"),
    ("sparsity", "Removed"),
    ("kind", "Kind"),
    ("granularity", "Granularity"),
    ("scope", "Scope"),
    ("budget", "Budget"),
    ("schedule", "Schedule"),
    ("recovery", "Recovery"),
)


def _facets(protocol: Protocol, line: Line) -> tuple[str, ...]:
    return (
        line.pair.dataset,
        line.pair.model,
        sparsity(line.sparsity),
        "control" if line.criterion.is_control else "criterion",
        protocol.granularity,
        protocol.scope,
        protocol.budget,
        protocol.schedule,
        protocol.recovery,
    )
