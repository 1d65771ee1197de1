"""The statistics of a board's cells, as tables and charts show them."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Literal

import numpy as np

from benchsuite_leaderboard.board import RANDOM, RECALIBRATED, Block, Board, Criterion, DenseModel, Workload
from benchsuite_leaderboard.contention import Contention, contention
from benchsuite_leaderboard.means import Means
from benchsuite_leaderboard.protocol import Sparsity, is_shared
from benchsuite_leaderboard.statistics.critical_difference import CriticalDifference, critical_difference
from benchsuite_leaderboard.statistics.intervals import Estimate, mean_interval
from benchsuite_leaderboard.statistics.ranking import Ranking, rank
from benchsuite_leaderboard.verdicts import Verdict, judge

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchsuite.store.record import Status

FEWEST_WORKLOADS = 5
"""With fewer, nothing is said of other workloads."""

Mark = Literal["", "best", "tied"]


@dataclass(frozen=True)
class Cell:
    """One criterion at one sparsity, over the seeds and the requested workloads.

    Attributes:
        estimate: mean and interval over the criterion's own cells; None when it has none.
        expected: how many dense models the cell should have been measured on.
        troubles: number of trials by status, without those that are done.
        mark: "best" for the highest mean, "tied" for a criterion that may be the best too.
        served: on how many of the workloads it has a value.
        workloads: number of workloads that it was to have one on.
    """

    estimate: Estimate | None
    expected: int
    troubles: Mapping[Status, int]
    mark: Mark = ""
    served: int = 1
    workloads: int = 1

    @property
    def is_complete(self) -> bool:
        """Whether every dense model has a value."""
        return self.estimate is not None and self.estimate.count == self.expected

    @property
    def serves_all(self) -> bool:
        """Whether every workload has a value; a mean over fewer is another quantity."""
        return self.served == self.workloads


@dataclass(frozen=True)
class Table:
    """Cells by criterion and sparsity.

    Attributes:
        workload: None if the cells are means over all workloads of the board.
        asked: for each sparsity the number of workloads that were to be pruned by so much: means are of them.
        workloads: number of workloads.
        verdicts: one for each sparsity; None where no criterion can be compared, or none had the same target.
    """

    workload: Workload | None
    sparsities: tuple[Sparsity, ...]
    rows: Mapping[Criterion, tuple[Cell, ...]]
    verdicts: tuple[Verdict | None, ...]
    asked: tuple[int, ...]
    workloads: int

    def part(self, column: int) -> str:
        """Of how many of several workloads a column is, in words; empty if of all."""
        asked = self.asked[column]
        return "" if self.workloads in (1, asked) else f"{asked} of {self.workloads} workloads"


@dataclass(frozen=True)
class Standings:
    """Statistics of one board for one metric; each is computed at first use."""

    board: Board
    metric: str

    @cached_property
    def values(self) -> dict[Criterion, dict[Block, float]]:
        """One value per criterion and block."""
        return self.board.values(self.metric)

    @cached_property
    def shared_sparsities(self) -> tuple[Sparsity, ...]:
        """Those that all criteria had as their target, so that they can be compared."""
        return tuple(filter(is_shared, self.board.sparsities))

    @cached_property
    def workloads(self) -> tuple[Workload, ...]:
        """Those that can have the metric: only networks with batch normalisation are recalibrated."""
        if self.metric != RECALIBRATED:
            return self.board.workloads
        having = {block.dense_model.workload for values in self.values.values() for block in values}
        return tuple(pair for pair in self.board.workloads if pair in having)

    @cached_property
    def contention(self) -> Contention:
        """Who is ranked, and on which cells: all networks and all sparsities that are shared."""
        return self._contention_on(self.workloads)

    @cached_property
    def _contentions(self) -> dict[Workload, Contention]:
        """The same of each workload alone."""
        return {pair: self._contention_on((pair,)) for pair in self.workloads}

    def _contention_on(self, workloads: Sequence[Workload]) -> Contention:
        return contention(
            {c: self._shared[c] for c in self.board.criteria if not c.is_control},
            [b for pair in workloads for b in self._asked[pair] if is_shared(b.sparsity)],
            lambda block: (block.dense_model.workload, block.sparsity),
            least=1,
        )

    def compared(self, workload: Workload | None) -> Contention:
        """Who is ranked on one workload, or on all of them, and on which cells."""
        return self.contention if workload is None else self._contentions[workload]

    @property
    def competitors(self) -> tuple[Criterion, ...]:
        """The criteria that are ranked."""
        return self.contention.criteria

    @cached_property
    def partial(self) -> dict[Criterion, str]:
        """The criteria that lack too much to be ranked with the others: what they serve, in words."""
        return self.partial_on(None)

    def partial_on(self, workload: Workload | None) -> dict[Criterion, str]:
        """The same of one workload alone."""
        workloads = self.workloads if workload is None else (workload,)
        compared = self.compared(workload)
        found = {}
        for criterion in compared.partial:
            mine = [b for b in self._shared[criterion] if b.dense_model.workload in workloads]
            served = len({block.dense_model.workload for block in mine})
            if served < len(workloads):
                found[criterion] = f"serves {served} of {len(workloads)} workloads"
            else:
                found[criterion] = f"{len(mine)} of {compared.asked} cells"
        return found

    def common_mean(
        self, criterion: Criterion, workload: Workload | None, sparsity: Sparsity | None = None
    ) -> float | None:
        """Mean over the cells that all ranked criteria have, at one sparsity or over all that are shared.

        Workloads count equally. None for a criterion that is not ranked, and where there is no such cell.
        """
        compared = self.compared(workload)
        if criterion not in compared.criteria:
            return None
        workloads = self.workloads if workload is None else (workload,)
        if sparsity is None:
            values = self._shared[criterion]
            strata = self._strata({block: values[block] for block in compared.blocks}, workloads)
        else:
            cells = self._by_cell[criterion]
            strata = [
                [v for b, v in cells.get((pair, sparsity), {}).items() if b in compared.blocks]
                for pair in workloads
            ]
        means = [math.fsum(stratum) / len(stratum) for stratum in strata if stratum]
        return math.fsum(means) / len(means) if means else None

    def asked_workloads(self, sparsity: Sparsity, workload: Workload | None = None) -> tuple[Workload, ...]:
        """The workloads, of all or of one, whose networks some criterion was to prune by so much."""
        return self._asked_at[workload][sparsity]

    @cached_property
    def _asked_at(self) -> dict[Workload | None, dict[Sparsity, tuple[Workload, ...]]]:
        asked = {(pair, block.sparsity) for pair, blocks in self._asked.items() for block in blocks}
        return {
            workload: {
                sparsity: tuple(pair for pair in pairs if (pair, sparsity) in asked)
                for sparsity in self.board.sparsities
            }
            for workload, pairs in ((None, self.workloads), *((pair, (pair,)) for pair in self.workloads))
        }

    def table(self, workload: Workload | None = None) -> Table:
        """Means and intervals for one workload, or over all that can have the metric."""
        workloads = self.workloads if workload is None else (workload,)
        rows = self._cells(workload, workloads)
        verdicts = tuple(
            self._verdict(tuple(rows), sparsity, workloads) if is_shared(sparsity) else None
            for sparsity in self.board.sparsities
        )
        for column, verdict in enumerate(verdicts):
            if verdict is not None:
                for criterion in verdict.may_be_best or ():
                    rows[criterion][column] = replace(rows[criterion][column], mark="tied")
                for criterion in verdict.highest:
                    rows[criterion][column] = replace(rows[criterion][column], mark="best")
        cells = {criterion: tuple(found) for criterion, found in rows.items()}
        return self._table(workload, cells, verdicts)

    def means(self, workload: Workload) -> Table:
        """The table of a workload without verdicts and marks, for a metric that makes nothing the best."""
        rows = self._cells(workload, (workload,))
        cells = {criterion: tuple(found) for criterion, found in rows.items()}
        return self._table(workload, cells, (None,) * len(self.board.sparsities))

    def _table(
        self,
        workload: Workload | None,
        cells: Mapping[Criterion, tuple[Cell, ...]],
        verdicts: tuple[Verdict | None, ...],
    ) -> Table:
        asked = tuple(len(self.asked_workloads(sparsity, workload)) for sparsity in self.board.sparsities)
        number = len(self.workloads) if workload is None else 1
        return Table(workload, self.board.sparsities, cells, verdicts, asked, number)

    def _cells(self, workload: Workload | None, workloads: Sequence[Workload]) -> dict[Criterion, list[Cell]]:
        troubles = self._troubles(workloads)
        expected = self._expected(workloads)
        rows: dict[Criterion, list[Cell]] = {}
        for criterion in self.board.criteria:
            if not self.board.of_criterion(criterion, workload):
                continue
            values = self._by_cell[criterion]
            strata = {
                sparsity: [list(values.get((pair, sparsity), {}).values()) for pair in workloads]
                for sparsity in self.board.sparsities
            }
            rows[criterion] = [
                Cell(
                    self._means.estimate(criterion, strata[sparsity], workloads, sparsity),
                    expected[sparsity],
                    troubles.get((criterion, sparsity), {}),
                    served=sum(map(bool, strata[sparsity])),
                    workloads=len(self.asked_workloads(sparsity, workload)),
                )
                for sparsity in self.board.sparsities
            ]
        return rows

    @cached_property
    def ranking(self) -> Ranking | None:
        """Criteria against each other over the cells that all of them have; None with fewer than two."""
        if len(self.competitors) < 2:
            return None
        return self._ranking(self.competitors, self.contention.blocks)

    def place_where_it_serves(self, criterion: Criterion) -> tuple[int, int] | None:
        """Place of a partial criterion among the ranked ones on the cells it has, and their number."""
        blocks = self.contention.blocks & self._shared[criterion].keys()
        if not blocks or not self.competitors:
            return None
        everyone = (*self.competitors, criterion)
        return int(self._ranking(everyone, blocks, intervals=False).places[-1]), len(everyone)

    def _ranking(
        self, criteria: Sequence[Criterion], blocks: frozenset[Block], *, intervals: bool = True
    ) -> Ranking:
        ordered = sorted(blocks, key=lambda b: (b.dense_model, str(b.sparsity)))
        dense_models = sorted({b.dense_model for b in ordered})
        workloads = sorted({d.workload for d in dense_models})
        return rank(
            np.array([[self.values[c][b] for b in ordered] for c in criteria]),
            [dense_models.index(b.dense_model) for b in ordered],
            [workloads.index(d.workload) for d in dense_models],
            intervals=intervals,
        )

    @cached_property
    def critical_difference(self) -> CriticalDifference | None:
        """Friedman's and Nemenyi's tests of the competitors, with workloads as blocks (Demšar 2006).

        A workload's value is the mean over the cells that all have. None with fewer than five workloads:
        seeds and sparsities of a workload are no independent blocks, they share what it is about it that
        suits a criterion.
        """
        if len(self.workloads) < FEWEST_WORKLOADS or len(self.competitors) < 2:
            return None
        by_workload: dict[Workload, list[Block]] = defaultdict(list)
        for block in self.contention.blocks:
            by_workload[block.dense_model.workload].append(block)
        values = [
            [math.fsum(self.values[c][b] for b in blocks) / len(blocks) for blocks in by_workload.values()]
            for c in self.competitors
        ]
        return critical_difference(np.array(values))

    def gain(
        self, criterion: Criterion, control: Criterion, workload: Workload | None = None
    ) -> Estimate | None:
        """How much more accurate a criterion is than a control, as a mean over sparsities.

        It is paired over the cells that all compared criteria and the control have, so that the gains of two
        criteria can be compared; that of a criterion which lacks too much, over the cells that both have.
        """
        workloads = self.workloads if workload is None else (workload,)
        return mean_interval(self._strata(self._lead(criterion, control, workload), workloads))

    def gain_over_workloads(self, criterion: Criterion, control: Criterion) -> Estimate | None:
        """The gain with an interval for other workloads, each of which counts as one observation.

        None with fewer than five workloads.
        """
        strata = self._strata(self._lead(criterion, control, None), self.workloads)
        means = [math.fsum(values) / len(values) for values in strata if values]
        return None if len(means) < FEWEST_WORKLOADS else mean_interval([means])

    @cached_property
    def random(self) -> Criterion | None:
        """The control with random scores."""
        return next((c for c in self.board.criteria if c.scorer == RANDOM), None)

    def control_of(self, criterion: Criterion, wrapper: str) -> Criterion | None:
        """The control of one kind that was made of a criterion."""
        return next(
            (c for c in self.board.criteria if c.wrapper == wrapper and c.inner == criterion.label), None
        )

    def mean_metric(self, criterion: Criterion, name: str, pair: Workload | None = None) -> float | None:
        """Mean of any metric over the finished trials of a criterion, on one workload or on all."""
        found = [
            value
            for trial in self.board.of_criterion(criterion, pair)
            if (value := trial.metric(name)) is not None
        ]
        return math.fsum(found) / len(found) if found else None

    @cached_property
    def _asked(self) -> dict[Workload, list[Block]]:
        """What some criterion was to be measured on."""
        found: dict[Workload, list[Block]] = defaultdict(list)
        for block in self.board.asked:
            found[block.dense_model.workload].append(block)
        return found

    @cached_property
    def _shared(self) -> dict[Criterion, dict[Block, float]]:
        """The values at sparsities that all criteria had as their target."""
        return {
            criterion: {b: v for b, v in values.items() if is_shared(b.sparsity)}
            for criterion, values in self.values.items()
        }

    @cached_property
    def _means(self) -> Means:
        return Means(self.board, self.metric, self.workloads, self.values)

    def _lead(
        self, criterion: Criterion, control: Criterion, workload: Workload | None
    ) -> dict[Block, float]:
        workloads = self.workloads if workload is None else (workload,)
        mine, theirs = self._by_cell[criterion], self.values[control]
        lead = {
            block: value - theirs[block]
            for pair in workloads
            for sparsity in self.shared_sparsities
            for block, value in mine.get((pair, sparsity), {}).items()
            if block in theirs
        }
        compared = self.compared(workload)
        if criterion in compared.criteria:
            return {block: value for block, value in lead.items() if block in compared.blocks}
        return lead

    def _verdict(
        self, criteria: Sequence[Criterion], sparsity: Sparsity, workloads: Sequence[Workload]
    ) -> Verdict | None:
        column = {
            criterion: dict(
                chain.from_iterable(cells.get((pair, sparsity), {}).items() for pair in workloads)
            )
            for criterion in criteria
            for cells in [self._by_cell[criterion]]
        }
        asked = [b for pair in workloads for b in self._asked[pair] if b.sparsity == sparsity]
        return judge(
            column,
            asked,
            self.random,
            near_chance={pair: limits.near for pair, limits in self._means.limits.items()},
            estimate=lambda criterion, values: self._means.estimate(
                criterion, self._strata(values, workloads, sparsity), workloads, sparsity
            ),
        )

    def _expected(self, workloads: Sequence[Workload]) -> dict[Sparsity, int]:
        """For how many dense models each sparsity was requested."""
        asked = Counter(block.sparsity for pair in workloads for block in self._asked[pair])
        return {sparsity: asked[sparsity] for sparsity in self.board.sparsities}

    def _troubles(self, workloads: Sequence[Workload]) -> dict[tuple[Criterion, Sparsity], Counter[Status]]:
        found: dict[tuple[Criterion, Sparsity], Counter[Status]] = defaultdict(Counter)
        for trial in chain.from_iterable(self.board.by_workload[pair] for pair in workloads):
            if trial.status != "done":
                found[trial.criterion, trial.block.sparsity][trial.status] += 1
        return found

    @cached_property
    def _by_cell(self) -> dict[Criterion, dict[tuple[Workload, Sparsity], dict[Block, float]]]:
        """Each criterion's values by workload and sparsity, in the order of the dense models."""
        found: dict[Criterion, dict[tuple[Workload, Sparsity], dict[Block, float]]] = {}
        for criterion, values in self.values.items():
            cells: dict[tuple[Workload, Sparsity], dict[Block, float]] = defaultdict(dict)
            for block in sorted(values, key=lambda block: block.dense_model):
                cells[block.dense_model.workload, block.sparsity][block] = values[block]
            found[criterion] = dict(cells)
        return found

    def _strata(
        self, values: Mapping[Block, float], workloads: Sequence[Workload], sparsity: Sparsity | None = None
    ) -> list[list[float]]:
        """Values by workload, one per dense model: at one sparsity, or the mean over all shared."""
        by_dense: dict[DenseModel, list[float]] = defaultdict(list)
        for block, value in values.items():
            if block.sparsity == sparsity or (sparsity is None and is_shared(block.sparsity)):
                by_dense[block.dense_model].append(value)
        strata: dict[Workload, list[float]] = {workload: [] for workload in workloads}
        for dense, found in sorted(by_dense.items()):
            if dense.workload in strata:
                strata[dense.workload].append(math.fsum(found) / len(found))
        return list(strata.values())
