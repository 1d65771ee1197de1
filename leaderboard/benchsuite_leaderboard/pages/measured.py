"""What metric plugins measured: small charts on the page of a workload."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchsuite.metrics.metric import Quantity, declaration_problem
from benchsuite.store import metric_names
from benchsuite_leaderboard.charts.lines import Scale
from benchsuite_leaderboard.pages.formats import clean
from benchsuite_leaderboard.pages.small_charts import Drawings, dense_mean, small_charts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchsuite_leaderboard.board import BoardTrial, Workload
    from benchsuite_leaderboard.pages.views import Views
    from benchsuite_leaderboard.report import BoardReport

MOST_CHARTS = 24


@dataclass(frozen=True)
class OnDense:
    """A number of dense networks alone.

    Attributes:
        title: what it is.
        mean: over the dense networks, in words.
        networks: how many there are.
    """

    title: str
    mean: str
    networks: int


@dataclass(frozen=True)
class Measured:
    """What one metric plugin measured on one workload.

    Attributes:
        name: what records call it.
        metric: the plugin, with its parameters; empty where records say different things of it, so that no
            mean means anything.
        drawings: its quantities against sparsity; None where it measured dense networks alone.
        better: for each quantity which numbers are better, in words.
        on_dense: numbers that only dense networks have.
        left_out: how many quantities have no chart because there are too many.
        charts: the metrics that have one, and how each is written.
    """

    name: str
    metric: str = ""
    drawings: Drawings | None = None
    better: tuple[str, ...] = ()
    on_dense: tuple[OnDense, ...] = ()
    left_out: int = 0
    charts: tuple[tuple[str, Scale], ...] = ()


def measured(views: Views, board: BoardReport, pair: Workload) -> list[Measured]:
    """What each metric plugin measured, by name."""
    trials = board.board.by_workload[pair]
    found = []
    for name in sorted({name for trial in trials for name in _notes(trial)}):
        notes = [_notes(trial)[name] for trial in trials if name in _notes(trial)]
        if any(note != notes[0] for note in notes):
            found.append(Measured(clean(name, 100)))
            continue
        metric, quantities = notes[0]
        start = metric_names.measured(name, "")
        metrics = sorted(each for each in board.board.metrics if each.startswith(start))
        scales = [(each, _scale(each[len(start) :], quantities)) for each in metrics]
        ours = [(each, scale) for each, scale in scales if scale is not None]
        found.append(
            Measured(
                clean(name, 100),
                clean(metric, 200),
                small_charts(views, board, pair, ours[:MOST_CHARTS]),
                tuple(_better(quantities)),
                tuple(_on_dense(board, pair, metrics, start, quantities)),
                max(0, len(ours) - MOST_CHARTS),
                tuple(ours[:MOST_CHARTS]),
            )
        )
    return found


def _notes(trial: BoardTrial) -> dict[str, tuple[str, dict[str, Quantity]]]:
    """By name of a metric, the plugin and its quantities, as far as a record says them rightly."""
    noted = trial.record.provenance.get("measured")
    found = {}
    for name, note in noted.items() if isinstance(noted, dict) else ():
        metric = note.get("metric") if isinstance(note, dict) else None
        quantities = note.get("quantities") if isinstance(note, dict) else None
        if isinstance(metric, str) and declaration_problem(quantities, ("end",)) is None:
            assert isinstance(quantities, dict)
            found[name] = metric, {each: Quantity(*told) for each, told in quantities.items()}
    return found


def _scale(part: str, quantities: dict[str, Quantity]) -> Scale | None:
    """How a number is written; None of one that is not of a pruned network, or of no declared quantity."""
    quantity, _, detail = part.partition("/")
    if part.endswith("_dense") or quantity not in quantities:
        return None
    title, unit, _ = quantities[quantity]
    return Scale(clean(f"{title}: {detail}" if detail else title, 100), is_share=False, unit=clean(unit, 40))


def _better(quantities: dict[str, Quantity]) -> Iterator[str]:
    for title, _, better in quantities.values():
        if better is not None:
            yield f"{title[:1].upper()}{clean(title[1:], 100)}: {better} is better"


def _on_dense(
    board: BoardReport, pair: Workload, metrics: Sequence[str], start: str, quantities: dict[str, Quantity]
) -> Iterator[OnDense]:
    """Numbers of dense networks that no pruned one has."""
    for metric in metrics:
        plain = metric.removesuffix("_dense")
        scale = _scale(plain[len(start) :], quantities)
        mean = dense_mean(board, pair, metric)
        if metric != plain and plain not in metrics and scale is not None and mean is not None:
            networks = {
                t.block.dense_model for t in board.board.by_workload[pair] if t.metric(metric) is not None
            }
            yield OnDense(scale.title, scale.say(mean), len(networks))
