"""Everything the pages show, computed once."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from benchsuite_leaderboard.board import AFTER, BEFORE, RECALIBRATED, Board, BoardTrial, Criterion, Workload
from benchsuite_leaderboard.charts.theme import Look, looks
from benchsuite_leaderboard.grouping import boards, differing_settings
from benchsuite_leaderboard.protocol import Sparsity, sparsity_order
from benchsuite_leaderboard.published import of_protocol
from benchsuite_leaderboard.rankings import Rankings
from benchsuite_leaderboard.standings import Standings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchsuite.publishing.signatures import Signature
    from benchsuite.store.record import Status, TrialRecord
    from benchsuite.suite import PublishedValue
    from benchsuite_leaderboard.agreement import WorkloadAgreement
    from benchsuite_leaderboard.suites import PublishedSuite, Suite


@dataclass(frozen=True)
class Trouble:
    """Trials of one criterion that ended with the same status for the same reason."""

    status: Status
    criterion: Criterion
    reason: str
    trials: tuple[BoardTrial, ...]

    @cached_property
    def workloads(self) -> tuple[Workload, ...]:
        """Where it happened."""
        return tuple(sorted({t.block.dense_model.workload for t in self.trials}))

    @cached_property
    def sparsities(self) -> tuple[Sparsity, ...]:
        """At which sparsities it happened."""
        return tuple(sorted({t.block.sparsity for t in self.trials}, key=sparsity_order))


@dataclass(frozen=True)
class BoardReport:
    """One board with its statistics for each metric.

    Attributes:
        name: the protocol in words, with what distinguishes it from the site's other boards.
        after: accuracy after recovery.
        before: accuracy before recovery; None if there is none or it is the same.
        recalibrated: accuracy before recovery with batch normalisation's statistics estimated anew; likewise.
        published: the published values that stand beside its cells.
    """

    board: Board
    name: str
    after: Standings
    before: Standings | None
    recalibrated: Standings | None = None
    published: tuple[PublishedValue, ...] = ()

    @property
    def anchor(self) -> str:
        """The board's address within a page."""
        return f"board-{self.board.protocol.digest}"

    @cached_property
    def metrics(self) -> tuple[tuple[str, str, Standings], ...]:
        """Short name, title and statistics of each metric that the reader can choose."""
        training = self.board.protocol.training
        offered = [("after", f"after {training}", self.after)]
        if self.before is not None:
            offered.append(("before", f"before {training}", self.before))
        if self.recalibrated is not None:
            offered.append(("recalibrated", f"recalibrated, before {training}", self.recalibrated))
        return tuple(offered)

    def trials_of(self, pair: Workload | None) -> Mapping[tuple[Criterion, Sparsity], Sequence[BoardTrial]]:
        """The trials of one workload, or of all, by criterion and sparsity."""
        return self._trials_by_pair[pair]

    @cached_property
    def _trials_by_pair(self) -> dict[Workload | None, dict[tuple[Criterion, Sparsity], list[BoardTrial]]]:
        found: dict[Workload | None, dict[tuple[Criterion, Sparsity], list[BoardTrial]]] = defaultdict(
            lambda: defaultdict(list)
        )
        for trial in self.board.trials:
            at = (trial.criterion, trial.block.sparsity)
            found[trial.block.dense_model.workload][at].append(trial)
            found[None][at].append(trial)
        return found

    @cached_property
    def mixtures(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """What should be the same in all finished trials of a board and is not: its name and the values.

        Numbers that were measured on different machines, or with different versions, differ for that alone.
        """
        found = []
        for name, words in _SAME:
            values = {str(v) for t in self._done if (v := t.record.provenance.get(name)) is not None}
            if len(values) > 1:
                found.append((words, tuple(sorted(values))))
        return tuple(found)

    @property
    def _done(self) -> list[BoardTrial]:
        return [trial for trial in self.board.trials if trial.status == "done"]

    @cached_property
    def looks(self) -> Mapping[Criterion, Look]:
        """Colours by final rank, so that a criterion looks the same on every chart of the board."""
        ranking = self.after.ranking
        competitors = self.after.competitors
        if ranking is not None:
            by_rank = dict(zip(competitors, ranking.mean_ranks, strict=True))
            competitors = tuple(sorted(competitors, key=lambda c: (by_rank[c], c.label)))
        rest = [c for c in self.board.criteria if c not in competitors]
        return looks(
            [*competitors, *(c for c in rest if not c.is_control)], [c for c in rest if c.is_control]
        )

    @cached_property
    def statuses(self) -> Counter[Status]:
        """Number of trials by outcome."""
        return Counter(t.status for t in self.board.trials)

    @cached_property
    def troubles(self) -> tuple[Trouble, ...]:
        """The trials that did not finish, grouped by status and reason, the most serious first."""
        grouped: dict[tuple[Status, Criterion, str], list[BoardTrial]] = defaultdict(list)
        for trial in self.board.trials:
            if trial.status != "done":
                grouped[trial.status, trial.criterion, trial.record.error or "no reason recorded"].append(
                    trial
                )
        found = (Trouble(*key, tuple(trials)) for key, trials in grouped.items())
        return tuple(sorted(found, key=lambda t: (_GRAVITY.index(t.status), t.criterion.label, t.reason)))


@dataclass(frozen=True)
class Report:
    """The whole site's content.

    Attributes:
        pending: number of planned trials that have no record yet.
        notes: what the caller wants the reader to know, one sentence each.
        agreements: how similarly the criteria rank units, by workload.
        signatures: who signed the results files that records come from.
        made: when.
        sources: names of the run directories and results files.
        suites: what their records are of, as far as it is known.
        rankings: what the criteria say of each dense network's units.
        published: the suites with published values.
    """

    title: str
    boards: tuple[BoardReport, ...]
    pending: int
    notes: tuple[str, ...]
    agreements: tuple[WorkloadAgreement, ...] = ()
    signatures: tuple[Signature, ...] = ()
    made: str = ""
    sources: tuple[str, ...] = ()
    suites: tuple[Suite, ...] = ()
    rankings: Rankings = field(default_factory=Rankings)
    published: tuple[PublishedSuite, ...] = ()

    @property
    def trials(self) -> int:
        """Number of trials with a record."""
        return sum(len(b.board.trials) for b in self.boards)

    @cached_property
    def workloads(self) -> tuple[Workload, ...]:
        """Every pair of a data set and a model, once."""
        return tuple(sorted({pair for report in self.boards for pair in report.board.workloads}))

    @cached_property
    def versions(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """The provenance of the records: each field with its distinct values."""
        found: dict[str, set[str]] = defaultdict(set)
        for report in self.boards:
            for trial in report.board.trials:
                for name, value in trial.record.provenance.items():
                    if isinstance(value, str | int | float):
                        found[name].add(str(value))
        return tuple((name, tuple(sorted(values))) for name, values in sorted(found.items()))


_SAME = (
    ("device", "devices"),
    ("host", "hosts"),
    ("threads", "numbers of CPU threads"),
    ("benchsuite", "versions of benchsuite"),
    ("torch", "versions of torch"),
)
"""Provenance that a board's trials should share, with its name in the plural."""

_GRAVITY: tuple[Status, ...] = ("failed", "timeout", "killed", "collapsed", "unsupported", "done")


def make_report(
    records: Sequence[TrialRecord],
    *,
    title: str,
    pending: int,
    notes: Sequence[str],
    published: Sequence[PublishedValue] = (),
) -> Report:
    """Group the records into boards and set up their statistics."""
    found = boards(records)
    labels = Counter(board.protocol.label for board in found)
    made = []
    for board in found:
        name = board.protocol.label
        if labels[name] > 1:
            alike = [other.protocol for other in found if other.protocol.label == name]
            name = f"{name} · {differing_settings(alike)[board.protocol]}"
        made.append(
            BoardReport(
                *(board, name, Standings(board, AFTER), _other(board, BEFORE), _other(board, RECALIBRATED)),
                of_protocol(published, board.protocol),
            )
        )
    return Report(title, tuple(made), pending, tuple(notes))


def _other(board: Board, metric: str) -> Standings | None:
    """The standings by another accuracy; None where there is none or it is the one after recovery."""
    standings = Standings(board, metric)
    return standings if any(standings.values.values()) and standings.values != board.values(AFTER) else None
