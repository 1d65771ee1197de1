"""The best criteria of each budget as lines of text, for the end of a run."""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING

from benchsuite_leaderboard.charts.theme import shorten
from benchsuite_leaderboard.pages.certainty import certainty
from benchsuite_leaderboard.pages.formats import clean, count, interval, percent, sparsity
from benchsuite_leaderboard.pages.switch import in_short
from benchsuite_leaderboard.pages.views import Views
from benchsuite_leaderboard.report import make_report

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchsuite.store.record import TrialRecord
    from benchsuite_leaderboard.pages.views import View
    from benchsuite_leaderboard.report import BoardReport

_MOST_BOARDS = 3
_BEST = 5
_NAME = 34
_MARKS = {"best": "●", "tied": "○", "": " "}


def render(records: Sequence[TrialRecord]) -> list[str]:
    """The five best criteria of each budget with `random` and the dense networks, in at most 80 columns.

    Without a criterion that can be compared there are no lines.
    """
    report, views = make_report(records, title="", pending=0, notes=()), Views()
    lines: list[str] = []
    names = in_short(report.boards)
    tells = False
    for board in report.boards[:_MOST_BOARDS]:
        view = views.overall(board, board.after)
        found = list(_board(board, view))
        tells |= any(
            verdict is not None and verdict.may_be_best is not None for verdict in view.table.verdicts
        )
        if found and len(report.boards) > 1:
            lines += wrap(clean(names[board.anchor]), 80)
        lines += found
    if lines:
        over = " with its 95% interval over other seeds of these workloads" if tells else ""
        lines.append(f"accuracy in percent{over}; ● highest{', ○ may be best too' if tells else ''}")
    if len(report.boards) > _MOST_BOARDS:
        lines.append(f"{count(len(report.boards) - _MOST_BOARDS, 'more board')} on the page")
    return lines


def _board(board: BoardReport, view: View) -> Iterator[str]:
    for column, (removed, verdict) in enumerate(zip(view.table.sparsities, view.table.verdicts, strict=True)):
        if verdict is None:
            continue
        said = certainty(verdict)
        part = view.table.part(column)
        gone = "" if isinstance(removed, str) else " removed"
        head = f"{sparsity(removed)}{gone}" + (f" ({part})" if part else "")
        yield head + (f": {said.text}" if said.text else "")
        if said.apart:
            yield from wrap(said.apart, 80, initial_indent="  ", subsequent_indent="    ")
        order = sorted(verdict.places, key=lambda c: (verdict.places[c], c.label))
        rows = [(c, view.table.rows[c][column]) for c in order[:_BEST]]
        if (random := board.after.random) is not None:
            rows.append((random, view.table.rows[random][column]))
        for criterion, cell in rows:
            if cell.estimate is not None:
                mean = f"{percent(cell.estimate.mean):>6} {interval(cell.estimate):<14}"
                some = "" if cell.is_complete else f" {cell.estimate.count} of {cell.expected}"
                name = f"{shorten(criterion.label, _NAME):<{_NAME}}"
                yield f"  {_MARKS[cell.mark]} {name} {mean}{some}".rstrip()
        if (dense := view.dense_at[column]) is not None:
            yield f"    {'dense':<{_NAME}} {percent(dense):>6}"
