"""Published values, a suite's `[[reference]]`, beside our means: by how much they differ."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchsuite_leaderboard.board import DENSE
from benchsuite_leaderboard.grouping import as_text, sparsity_of
from benchsuite_leaderboard.statistics.intervals import accuracy_interval, mean_interval

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from benchsuite.store.record import Status
    from benchsuite.suite import PublishedValue
    from benchsuite_leaderboard.board import Board, Criterion, Workload
    from benchsuite_leaderboard.protocol import Protocol, Sparsity
    from benchsuite_leaderboard.standings import Table
    from benchsuite_leaderboard.statistics.intervals import Estimate

_OF_PROTOCOL = ("granularity", "scope", "budget", "schedule", "recovery_epochs")


@dataclass(frozen=True)
class Comparison:
    """A published value, and ours of the same cell.

    Attributes:
        reference: the published value with its source.
        pair: the workload.
        criterion: None where it is of the dense network, or of what the suite does not run.
        sparsity: likewise.
        ours: the mean over seeds and draws; None without a result.
        expected: how many dense networks it should be over.
        troubles: number of trials by status, without those that are done.
    """

    reference: PublishedValue
    pair: Workload
    criterion: Criterion | None = None
    sparsity: Sparsity | None = None
    ours: Estimate | None = None
    expected: int = 0
    troubles: Mapping[Status, int] | None = None

    @property
    def difference(self) -> float | None:
        """Ours less the published value, in the metric's unit."""
        return None if self.ours is None else self.ours.mean - self.reference.in_our_unit

    @property
    def is_inside(self) -> bool | None:
        """Whether the published value is inside the 95% interval of ours; None without an interval."""
        if self.ours is None or self.ours.low is None or self.ours.high is None:
            return None
        return self.ours.low <= self.reference.in_our_unit <= self.ours.high

    @property
    def note(self) -> str:
        """The sentence of the suite's author, where nothing shows that ours and theirs agree."""
        nothing_to_say = self.ours is None and self.reference.name is None
        return "" if self.is_inside or nothing_to_say else self.reference.note


def of_protocol(values: Sequence[PublishedValue], protocol: Protocol) -> tuple[PublishedValue, ...]:
    """The published values that name no other protocol than a board's."""

    def agrees(reference: PublishedValue) -> bool:
        cell = reference.cell
        return all(as_text(cell, axis) in ("", getattr(protocol, axis)) for axis in _OF_PROTOCOL)

    return tuple(filter(agrees, values))


def comparisons(
    board: Board,
    values: Sequence[PublishedValue],
    pair: Workload,
    means: Callable[[str], Table],
) -> Iterator[Comparison]:
    """Each published value of a workload beside ours.

    Args:
        board: whose trials are compared.
        values: the published values of its protocol.
        pair: the workload.
        means: the means of a metric on this workload, as other tables have them.
    """
    for reference in values:
        if reference.dataset not in (None, pair.dataset) or reference.model not in (None, pair.model):
            continue
        if reference.name is not None:
            yield Comparison(reference, pair)
        elif reference.is_dense:
            yield _of_dense(board, reference, pair)
        else:
            yield from _of_cells(board, reference, pair, means)


def _of_dense(board: Board, reference: PublishedValue, pair: Workload) -> Comparison:
    """The mean over the dense networks; trials of one network all have its value."""
    by_network: dict[str, list[float]] = defaultdict(list)
    networks = set()
    for trial in board.by_workload[pair]:
        seed = trial.block.dense_model.seed
        if reference.seed is None or seed == str(reference.seed):
            networks.add(seed)
            if (value := trial.metric(reference.metric)) is not None:
                by_network[seed].append(value)
    values = [math.fsum(each) / len(each) for each in by_network.values()]
    ours = accuracy_interval([values], [None]) if reference.metric == DENSE else mean_interval([values])
    return Comparison(reference, pair, ours=ours, expected=len(networks))


def _of_cells(
    board: Board, reference: PublishedValue, pair: Workload, means: Callable[[str], Table]
) -> Iterator[Comparison]:
    sparsity = sparsity_of(reference.sparsity, board.protocol)
    named = [c for c in board.criteria if c.scorer == reference.scorer and board.of_criterion(c, pair)]
    if not named or sparsity not in board.sparsities:
        yield Comparison(reference, pair, sparsity=sparsity)
        return
    for criterion in named:
        if reference.seed is not None:
            yield _of_seed(board, reference, pair, criterion, sparsity)
            continue
        table = means(reference.metric)
        cell = table.rows[criterion][table.sparsities.index(sparsity)]
        yield Comparison(reference, pair, criterion, sparsity, cell.estimate, cell.expected, cell.troubles)


def _of_seed(
    board: Board, reference: PublishedValue, pair: Workload, criterion: Criterion, sparsity: Sparsity
) -> Comparison:
    values = [
        value
        for block, value in board.values(reference.metric)[criterion].items()
        if block.dense_model == (pair, str(reference.seed)) and block.sparsity == sparsity
    ]
    return Comparison(reference, pair, criterion, sparsity, mean_interval([values]), 1)


def as_rows(found: Sequence[tuple[str, Comparison]]) -> list[dict[str, Any]]:
    """Comparisons as rows for other programs, numbers in the metric's unit; the first is the board's name."""
    return [
        {
            "board": board,
            "dataset": each.pair.dataset,
            "model": each.pair.model,
            "criterion": each.criterion.label if each.criterion else each.reference.scorer,
            "name": each.reference.name,
            "sparsity": each.sparsity,
            "seed": each.reference.seed,
            "metric": each.reference.metric,
            "published": each.reference.in_our_unit,
            "ours": each.ours and each.ours.mean,
            "low": each.ours and each.ours.low,
            "high": each.ours and each.ours.high,
            "networks": each.ours.count if each.ours else 0,
            "difference": each.difference,
            "source": each.reference.source,
            "url": each.reference.url,
            "note": each.reference.note,
        }
        for board, each in found
    ]
