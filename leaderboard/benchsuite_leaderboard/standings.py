"""The statistics of a board's cells, as tables and charts show them."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Literal

import numpy as np

from benchsuite_leaderboard.board import (
    RANDOM,
    RECALIBRATED,
    Block,
    Board,
    Criterion,
    DenseModel,
    Sparsity,
    Workload,
)
from benchsuite_leaderboard.statistics.critical_difference import CriticalDifference, critical_difference
from benchsuite_leaderboard.statistics.intervals import Estimate, mean_interval
from benchsuite_leaderboard.statistics.moderation import moderated_p_values
from benchsuite_leaderboard.statistics.ranking import Ranking, rank

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchsuite.store.record import Status

ALPHA = 0.05

Mark = Literal["", "best", "tied"]


@dataclass(frozen=True)
class Cell:
    """One criterion at one sparsity, over the seeds and the requested workloads.

    Attributes:
        estimate: mean and interval; None when no trial finished.
        expected: how many dense models the cell should have been measured on.
        troubles: number of trials by status, without those that are done.
        mark: "best" for the highest mean, "tied" if a paired test finds no difference from the best.
    """

    estimate: Estimate | None
    expected: int
    troubles: Mapping[Status, int]
    mark: Mark = ""

    @property
    def is_complete(self) -> bool:
        """Whether every dense model has a value; only such cells can be the best."""
        return self.estimate is not None and self.estimate.count == self.expected


@dataclass(frozen=True)
class Table:
    """Cells by criterion and sparsity.

    Attributes:
        workload: None if the cells are means over all workloads of the board.
    """

    workload: Workload | None
    sparsities: tuple[Sparsity, ...]
    rows: Mapping[Criterion, tuple[Cell, ...]]

    def best(self, column: int) -> Criterion | None:
        """The criterion with the highest complete mean in a column."""
        return next((c for c, cells in self.rows.items() if cells[column].mark == "best"), None)

    def tied(self, column: int) -> list[Criterion]:
        """The criteria that do not differ significantly from the best of a column."""
        return [c for c, cells in self.rows.items() if cells[column].mark == "tied"]


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
    def competitors(self) -> tuple[Criterion, ...]:
        """The criteria that are ranked: those that are not controls and have at least one outcome."""
        seen = {criterion for criterion, _ in self.board.collapsed}
        return tuple(c for c in self.board.criteria if not c.is_control and (self.values[c] or c in seen))

    @cached_property
    def fractions(self) -> tuple[Sparsity, ...]:
        """Sparsities given as fractions: all criteria had the same target, so that they can be compared."""
        return tuple(s for s in self.board.sparsities if not isinstance(s, str))

    @cached_property
    def workloads(self) -> tuple[Workload, ...]:
        """Those that can have the metric: only networks with batch normalisation are recalibrated."""
        if self.metric != RECALIBRATED:
            return self.board.workloads
        having = {block.dense_model.workload for values in self.values.values() for block in values}
        return tuple(pair for pair in self.board.workloads if pair in having)

    def table(self, workload: Workload | None = None) -> Table:
        """Means and intervals for one workload, or over all that can have the metric."""
        workloads = self.workloads if workload is None else (workload,)
        troubles = self._troubles(workloads)
        expected = self._expected(workloads)
        rows: dict[Criterion, list[Cell]] = {}
        for criterion in self.board.criteria:
            if workload is not None and criterion not in self._present[workload]:
                continue
            rows[criterion] = [
                Cell(
                    mean_interval(self._strata(self._of(criterion, workloads), workloads, sparsity)),
                    expected[sparsity],
                    troubles.get((criterion, sparsity), {}),
                )
                for sparsity in self.board.sparsities
            ]
        for column, sparsity in enumerate(self.board.sparsities):
            if not isinstance(sparsity, str):
                self._mark(rows, column, sparsity, workloads)
        return Table(workload, self.board.sparsities, {c: tuple(cells) for c, cells in rows.items()})

    @cached_property
    def ranking(self) -> Ranking | None:
        """Criteria against each other over all blocks; None with fewer than two."""
        if len(self.competitors) < 2:
            return None
        blocks = [b for b in self._blocks if not isinstance(b.sparsity, str)]
        if not blocks:
            return None
        dense_models = sorted({b.dense_model for b in blocks})
        workloads = sorted({d.workload for d in dense_models})
        values = np.full((len(self.competitors), len(blocks)), math.nan)
        for row, criterion in enumerate(self.competitors):
            for column, block in enumerate(blocks):
                if block in self.values[criterion]:
                    values[row, column] = self.values[criterion][block]
                elif (criterion, block) in self.board.collapsed:
                    values[row, column] = -math.inf
        return rank(
            values,
            [dense_models.index(b.dense_model) for b in blocks],
            [workloads.index(d.workload) for d in dense_models],
        )

    @cached_property
    def critical_difference(self) -> tuple[tuple[Criterion, ...], CriticalDifference] | None:
        """Friedman's and Nemenyi's tests over dense models, for criteria with scores on every workload.

        A dense model's value is the mean over the cells that all these criteria have. The sparsities of a
        dense model are not independent; as separate blocks they would make the result look more certain than
        it is.
        """
        ranked = [b for b in self._blocks if not isinstance(b.sparsity, str)]
        workloads = {b.dense_model.workload for b in ranked}
        serving = tuple(
            c
            for c in self.competitors
            if workloads
            <= {b.dense_model.workload for b in self.values[c] if not isinstance(b.sparsity, str)}
        )
        common: dict[DenseModel, list[Block]] = defaultdict(list)
        for block in ranked:
            if all(block in self.values[c] for c in serving):
                common[block.dense_model].append(block)
        if len(serving) < 2 or not common:
            return None
        values = [
            [np.mean([self.values[c][b] for b in blocks]) for blocks in common.values()] for c in serving
        ]
        found = critical_difference(np.array(values))
        return None if found is None else (serving, found)

    def gain(
        self, criterion: Criterion, control: Criterion, workload: Workload | None = None
    ) -> Estimate | None:
        """How much more accurate a criterion is than a control, in pairs over the blocks that both have."""
        workloads = self.board.workloads if workload is None else (workload,)
        mine, theirs = self.values[criterion], self.values[control]
        return mean_interval(self._strata(_difference(mine, theirs), workloads))

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
            for trial in self.board.by_criterion[criterion]
            if pair in (None, trial.block.dense_model.workload) and (value := trial.metric(name)) is not None
        ]
        return math.fsum(found) / len(found) if found else None

    @cached_property
    def _blocks(self) -> list[Block]:
        blocks = {b for values in self.values.values() for b in values}
        blocks |= {b for _, b in self.board.collapsed if b.dense_model.workload in self.workloads}
        return sorted(blocks, key=lambda b: (b.dense_model, str(b.sparsity)))

    @cached_property
    def _present(self) -> dict[Workload, set[Criterion]]:
        return {pair: {t.criterion for t in trials} for pair, trials in self.board.by_workload.items()}

    def _expected(self, workloads: Sequence[Workload]) -> dict[Sparsity, int]:
        """For how many dense models each sparsity was requested."""
        asked: dict[Sparsity, set[DenseModel]] = {sparsity: set() for sparsity in self.board.sparsities}
        for trial in chain.from_iterable(self.board.by_workload[pair] for pair in workloads):
            asked[trial.block.sparsity].add(trial.block.dense_model)
        return {sparsity: len(dense_models) for sparsity, dense_models in asked.items()}

    def _troubles(self, workloads: Sequence[Workload]) -> dict[tuple[Criterion, Sparsity], Counter[Status]]:
        found: dict[tuple[Criterion, Sparsity], Counter[Status]] = defaultdict(Counter)
        for trial in chain.from_iterable(self.board.by_workload[pair] for pair in workloads):
            if trial.status != "done":
                found[trial.criterion, trial.block.sparsity][trial.status] += 1
        return found

    @cached_property
    def _by_workload(self) -> dict[tuple[Criterion, Workload], dict[Block, float]]:
        found: dict[tuple[Criterion, Workload], dict[Block, float]] = defaultdict(dict)
        for criterion, values in self.values.items():
            for block, value in values.items():
                found[criterion, block.dense_model.workload][block] = value
        return found

    def _of(self, criterion: Criterion, workloads: Sequence[Workload]) -> Mapping[Block, float]:
        """A criterion's values; those of one workload are looked up directly."""
        if len(workloads) == 1:
            return self._by_workload.get((criterion, workloads[0]), {})
        return self.values[criterion]

    def _strata(
        self, values: Mapping[Block, float], workloads: Sequence[Workload], sparsity: Sparsity | None = None
    ) -> list[list[float]]:
        """Values by workload, one per dense model: at one sparsity, or the mean over all fractions."""
        by_dense: dict[DenseModel, list[float]] = defaultdict(list)
        for block, value in values.items():
            if block.sparsity == sparsity or (sparsity is None and not isinstance(block.sparsity, str)):
                by_dense[block.dense_model].append(value)
        strata: dict[Workload, list[float]] = {workload: [] for workload in workloads}
        for dense, found in sorted(by_dense.items()):
            if dense.workload in strata:
                strata[dense.workload].append(math.fsum(found) / len(found))
        return list(strata.values())

    def _mark(
        self,
        rows: dict[Criterion, list[Cell]],
        column: int,
        sparsity: Sparsity,
        workloads: Sequence[Workload],
    ) -> None:
        """Mark the best complete criterion of a column, and those not significantly different from it."""
        complete = {
            c: e for c, cells in rows.items() if cells[column].is_complete and (e := cells[column].estimate)
        }
        best = max((c for c in complete if not c.is_control), key=lambda c: complete[c].mean, default=None)
        if best is None:
            return
        rows[best][column] = _marked(rows[best][column], "best")
        tests = {
            other: test
            for other in complete
            if other != best
            and (
                test := mean_interval(
                    self._strata(
                        _difference(self._of(best, workloads), self._of(other, workloads)),
                        workloads,
                        sparsity,
                    )
                )
            )
            and test.half_width is not None
        }
        # The best was chosen among all, so every pair counts as a comparison (Bonferroni).
        pairs = len(complete) * (len(complete) - 1) / 2
        for (other, test), p in zip(tests.items(), moderated_p_values(list(tests.values())), strict=True):
            # A control above the best criterion is never "worse", however significant the difference is.
            if p * pairs >= ALPHA or test.mean <= 0:
                rows[other][column] = _marked(rows[other][column], "tied")


def _marked(cell: Cell, mark: Mark) -> Cell:
    return Cell(cell.estimate, cell.expected, cell.troubles, mark)


def _difference(mine: Mapping[Block, float], theirs: Mapping[Block, float]) -> dict[Block, float]:
    return {block: value - theirs[block] for block, value in mine.items() if block in theirs}
