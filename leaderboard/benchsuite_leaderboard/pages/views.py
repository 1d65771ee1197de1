"""Tables and charts of one board, ready to be written into a page."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from benchsuite.pruning.targets import holds_masks
from benchsuite.store import metric_names
from benchsuite_leaderboard.board import LATENCY, threads_of
from benchsuite_leaderboard.charts.curves import banded, curves
from benchsuite_leaderboard.charts.ranks import critical_difference_diagram
from benchsuite_leaderboard.charts.trade_off import Choice, front, hidden, trade_off
from benchsuite_leaderboard.pages.choices import choices_of
from benchsuite_leaderboard.pages.formats import described, in_words, percent, sparsity, workload
from benchsuite_leaderboard.published import comparisons
from benchsuite_leaderboard.standings import Standings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from markupsafe import Markup

    from benchsuite_leaderboard.board import Criterion, Workload
    from benchsuite_leaderboard.protocol import Sparsity
    from benchsuite_leaderboard.published import Comparison
    from benchsuite_leaderboard.report import BoardReport, Report
    from benchsuite_leaderboard.standings import Cell, Table
    from benchsuite_leaderboard.statistics.intervals import Estimate

COUNTED = (
    ("macs", "MACs", "MACs left, of the dense network’s"),
    ("params", "parameters", "parameters left, of the dense network’s"),
)


def costs_of(reports: Iterable[BoardReport]) -> list[tuple[str, str, str]]:
    """The costs that the reader can plot accuracy against on some boards: key, name, axis title."""
    times = {cost for report in reports for cost in report.board.times}
    return [*COUNTED, *(_time(cost) for cost in sorted(times, key=threads_of))]


def _time(cost: str) -> tuple[str, str, str]:
    with_threads = "" if cost == LATENCY else f" with {threads_of(cost)} threads"
    title = f"time for one sample{with_threads}, of the dense network’s (measured)"
    return cost, f"latency{with_threads}", title


MOST_BANDS = 3
"""Of more criteria with a band, the caption does not list the names."""


UNSTABLE = 0.5
"""Scores whose stability is below it are marked."""


@dataclass(frozen=True)
class TableRow:
    """One line of a table of criteria.

    Attributes:
        serves: what a criterion has that lacks too much to be ranked, in words; empty if it is ranked.
        place_there: its place among the ranked criteria on the cells that it has, and their number.
        gain_over_workloads: the gain with an interval for other workloads; None with fewer than five.
        unstable: whether its scores say more of the samples than of the network: their stability is below .5;
            never of a control, whose stability would be that of the criterion it is made of.
    """

    criterion: Criterion
    cells: tuple[Cell, ...]
    place: int | None
    place_interval: tuple[int, int] | None
    mean_rank: float | None
    gain: Estimate | None
    unstable: bool
    serves: str = ""
    place_there: tuple[int, int] | None = None
    gain_over_workloads: Estimate | None = None

    @property
    def has_values(self) -> bool:
        """Whether any of its cells has a mean."""
        return any(cell.estimate is not None for cell in self.cells)


@dataclass(frozen=True)
class Chart:
    """A drawing in two widths."""

    wide: Markup
    compact: Markup


@dataclass(frozen=True)
class TradeOff:
    """A scatter plot of accuracy against a cost, and its Pareto front.

    Attributes:
        together: groups of choices that are drawn at one place.
        uncertain: the criteria and sparsities whose cost is less certain than it looks.
        apart: the criteria that are not on the front because they lack cells.
    """

    svg: Markup
    front: tuple[Choice, ...]
    together: tuple[tuple[Choice, ...], ...] = ()
    uncertain: frozenset[tuple[Criterion, Sparsity]] = frozenset()
    apart: tuple[Criterion, ...] = ()


@dataclass(frozen=True)
class View:
    """One metric of one workload, or of all of them.

    Attributes:
        rows: the table's rows in the order in which they are first shown.
        dense: mean accuracy of the dense networks.
        dense_at: the same for each sparsity, of the workloads that were to be pruned by so much.
    """

    table: Table
    rows: tuple[TableRow, ...]
    dense: float | None
    dense_at: tuple[float | None, ...]


class Views:
    """Makes each table and chart only once, even if many pages show it."""

    def __init__(self) -> None:
        self._of_metrics: dict[tuple[str, str], Standings] = {}
        self._views: dict[tuple[str, str, Workload | None], View] = {}
        self._charts: dict[tuple[str, str, str, Workload | None], Chart | None] = {}
        self._means: dict[tuple[str, str, Workload], Table] = {}
        self._trade_offs: dict[tuple[str, str, Workload | None, str], TradeOff | None] = {}

    def overall(self, board: BoardReport, standings: Standings) -> View:
        """The table over all workloads, in the order of rank."""
        return self._view(board, standings, None)

    def workload(self, board: BoardReport, standings: Standings, pair: Workload) -> View:
        """The table of one workload."""
        return self._view(board, standings, pair)

    def curves(self, board: BoardReport, standings: Standings, pair: Workload) -> Chart | None:
        """Accuracy against sparsity on one workload."""
        view = self.workload(board, standings, pair)
        label = _alternative(view, pair)
        return self._chart(
            ("curves", board.anchor, standings.metric, pair),
            lambda compact: curves(
                view.table,
                board.looks,
                dense=view.dense,
                budget=board.board.protocol.budget,
                label=label,
                compact=compact,
                published=self.diamonds(board, standings.metric, pair),
            ),
        )

    def bands(self, board: BoardReport, view: View) -> str:
        """Whose intervals a chart of the view draws, in words."""
        names = [criterion.label for criterion in banded(view.table, board.looks)]
        drawn = sum(any(cell.estimate for cell in row.cells) for row in view.rows)
        if not names:
            return "No interval is drawn."
        whose = "" if len(names) > MOST_BANDS or len(names) == drawn else f" of {in_words(names)}"
        return f"Bands are 95% intervals over seeds{whose}."

    def published(self, board: BoardReport, pair: Workload | None) -> tuple[Comparison, ...]:
        """Published values beside ours, of one workload or of all."""
        pairs = board.board.workloads if pair is None else (pair,)
        return tuple(
            each
            for one in (pairs if board.published else ())
            for each in comparisons(board.board, board.published, one, partial(self.means_of, board, one))
        )

    def every_published(self, report: Report) -> list[tuple[str, Comparison]]:
        """The same of all boards, each with the board's name."""
        return [(board.name, each) for board in report.boards for each in self.published(board, None)]

    def diamonds(
        self, board: BoardReport, metric: str, pair: Workload
    ) -> tuple[tuple[Criterion | None, float, float, str], ...]:
        """What charts against sparsity mark: criterion, sparsity, published value and its source."""
        return tuple(
            (each.criterion, sparsity, each.reference.in_our_unit, described(each.reference))
            for each in self.published(board, pair)
            for sparsity in [each.reference.sparsity if each.reference.name else each.sparsity]
            if each.reference.metric == metric
            and isinstance(sparsity, int | float)
            and (each.ours is not None or each.reference.name)
        )

    def means_of(self, board: BoardReport, pair: Workload, metric: str) -> Table:
        """The means of any metric on one workload, without verdicts."""
        key = (board.anchor, metric, pair)
        if key not in self._means:
            self._means[key] = self.standings(board, metric).means(pair)
        return self._means[key]

    def standings(self, board: BoardReport, metric: str) -> Standings:
        """The cells of any metric."""
        key = (board.anchor, metric)
        if key not in self._of_metrics:
            self._of_metrics[key] = Standings(board.board, metric)
        return self._of_metrics[key]

    def trade_off(
        self, board: BoardReport, standings: Standings, pair: Workload | None, cost: str
    ) -> TradeOff | None:
        """Accuracy against the remaining cost; None if the cost was not measured."""
        if cost.startswith(LATENCY) and cost not in board.board.times:
            return None
        key = (board.anchor, standings.metric, pair, cost)
        if key not in self._trade_offs:
            self._trade_offs[key] = self._draw_trade_off(board, standings, pair, cost)
        return self._trade_offs[key]

    def _draw_trade_off(
        self, board: BoardReport, standings: Standings, pair: Workload | None, cost: str
    ) -> TradeOff | None:
        name, title = next((name, title) for key, name, title in costs_of([board]) if key == cost)
        if holds_masks(board.board.protocol.granularity) and not cost.startswith(LATENCY):
            title = title.replace(" left", " with weights that are not zero")
        view = self._view(board, standings, pair)
        choices = choices_of(standings, view, board.board.remaining_cost(pair, cost), pair)
        where = "the mean over all workloads" if pair is None else workload(pair)
        label = (
            f"Scatter plot: test accuracy against {name} left for {where}. "
            "The table beside it lists the choices that no other criterion beats in both."
        )
        svg = trade_off(choices, board.looks, cost_title=title, label=label)
        if svg is None:
            return None
        pairs = board.board.workloads if pair is None else (pair,)
        uncertain = frozenset[tuple["Criterion", "Sparsity"]]().union(
            *(board.board.uncertain_costs(each, cost) for each in pairs)
        )
        apart = tuple(
            dict.fromkeys(c.criterion for c in choices if not c.is_compared and not c.criterion.is_control)
        )
        return TradeOff(svg, tuple(front(choices)), tuple(hidden(choices)), uncertain, apart)

    def critical_difference(self, board: BoardReport, standings: Standings) -> Chart | None:
        """The diagram of mean ranks with its groups."""
        found = standings.critical_difference
        if found is None:
            return None
        criteria = standings.competitors
        label = (
            f"Critical-difference diagram of {len(criteria)} criteria over {found.blocks} workloads; "
            f"mean ranks nearer than {found.difference:.2f} cannot be told apart. The table has the ranks."
        )
        return self._chart(
            ("ranks", board.anchor, standings.metric, None),
            lambda compact: critical_difference_diagram(
                criteria, found, board.looks, label=label, compact=compact
            ),
        )

    def _view(self, board: BoardReport, standings: Standings, pair: Workload | None) -> View:
        key = (board.anchor, standings.metric, pair)
        if key not in self._views:
            table = standings.table(pair)
            asked = [standings.asked_workloads(sparsity, pair) for sparsity in table.sparsities]
            self._views[key] = View(
                table,
                _rows(standings, table, pair),
                _dense(board, standings.workloads if pair is None else (pair,)),
                tuple(_dense(board, each) for each in asked),
            )
        return self._views[key]

    def _chart(
        self, key: tuple[str, str, str, Workload | None], draw: Callable[[bool], Markup | None]
    ) -> Chart | None:
        if key not in self._charts:
            wide = draw(False)
            compact = None if wide is None else draw(True)
            self._charts[key] = None if wide is None or compact is None else Chart(wide, compact)
        return self._charts[key]


def _dense(report: BoardReport, workloads: Sequence[Workload]) -> float | None:
    means = []
    for each in workloads:
        values = report.board.dense_accuracy(each).values()
        if not values:
            return None
        means.append(math.fsum(values) / len(values))
    return math.fsum(means) / len(means) if means else None


def stability_of(standings: Standings, criterion: Criterion, pair: Workload | None = None) -> float | None:
    """The mean stability of scores; None for controls, whose trials have that of the inner criterion."""
    return None if criterion.is_control else standings.mean_metric(criterion, metric_names.STABILITY, pair)


def is_unstable(standings: Standings, criterion: Criterion, pair: Workload | None = None) -> bool:
    """Whether a criterion's scores say more of the samples than of the network."""
    stability = stability_of(standings, criterion, pair)
    return stability is not None and stability < UNSTABLE


def _rows(standings: Standings, table: Table, pair: Workload | None) -> tuple[TableRow, ...]:
    ranking = standings.ranking if pair is None else None
    positions = {criterion: i for i, criterion in enumerate(standings.competitors)}
    partial = standings.partial_on(pair)
    random = standings.random
    rows = []
    for criterion, cells in table.rows.items():
        gain = None if random is None or criterion == random else standings.gain(criterion, random, pair)
        place = interval = mean_rank = None
        if ranking is not None and criterion in positions:
            i = positions[criterion]
            place, mean_rank = int(ranking.places[i]), float(ranking.mean_ranks[i])
            if ranking.place_intervals is not None:
                interval = (int(ranking.place_intervals[i, 0]), int(ranking.place_intervals[i, 1]))
        unstable = is_unstable(standings, criterion, pair)
        serves, there, wider = partial.get(criterion, ""), None, None
        if pair is None:
            there = standings.place_where_it_serves(criterion) if serves else None
            if gain is not None and random is not None:
                wider = standings.gain_over_workloads(criterion, random)
        rows.append(
            TableRow(criterion, cells, place, interval, mean_rank, gain, unstable, serves, there, wider)
        )
    return tuple(sorted(rows, key=lambda row: _row_order(row, standings, pair)))


def _row_order(
    row: TableRow, standings: Standings, pair: Workload | None
) -> tuple[bool, bool, float, float, str]:
    """Criteria before controls, ranked ones first, by rank, otherwise by mean; without a number last.

    The mean of those that are compared is over the cells that all of them have.
    """
    mean = standings.common_mean(row.criterion, pair)
    if mean is None:
        means = [cell.estimate.mean for cell in row.cells if cell.estimate is not None]
        mean = math.fsum(means) / len(means) if means else -1.0
    rank = math.inf if row.mean_rank is None else row.mean_rank
    return (row.criterion.is_control, bool(row.serves), rank, -mean, row.criterion.label)


def _alternative(view: View, pair: Workload) -> str:
    """The chart in a few sentences, for readers who cannot see it."""
    parts = [f"Line chart: test accuracy against sparsity for {workload(pair)}."]
    if view.dense is not None:
        parts.append(f"The dense network reaches {percent(view.dense)}%.")
    for value, verdict in zip(view.table.sparsities, view.table.verdicts, strict=True):
        if verdict is not None:
            names = in_words([criterion.label for criterion in verdict.highest], longest=200)
            are = "is" if len(verdict.highest) == 1 else "are"
            parts.append(
                f"At {sparsity(value)} {names} {are} highest with {percent(verdict.estimate.mean)}%."
            )
    parts.append("The table beside it has every number.")
    return " ".join(parts)
