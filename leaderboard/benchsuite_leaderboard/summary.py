"""The leaderboard in a few small files, for places that show files but no site, such as MLflow."""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING

from benchsuite.store.files import write_atomically
from benchsuite_leaderboard.agreement import workload_agreements
from benchsuite_leaderboard.charts.heat import agreement_heat_map
from benchsuite_leaderboard.charts.theme import shorten
from benchsuite_leaderboard.charts.vega import FONT
from benchsuite_leaderboard.downloads import harmless
from benchsuite_leaderboard.pages.addresses import slug
from benchsuite_leaderboard.pages.agreement import described
from benchsuite_leaderboard.pages.environment import ASSETS
from benchsuite_leaderboard.pages.formats import (
    count,
    in_percent,
    interval,
    number,
    percent,
    signed,
    signed_number,
    sparsity,
    workload,
)
from benchsuite_leaderboard.pages.views import Views
from benchsuite_leaderboard.report import make_report
from benchsuite_leaderboard.suites import published_suites, published_values

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from markupsafe import Markup

    from benchsuite.store.record import TrialRecord
    from benchsuite.trials.agreement import NetworkAgreement
    from benchsuite_leaderboard.agreement import WorkloadAgreement
    from benchsuite_leaderboard.pages.views import TableRow
    from benchsuite_leaderboard.published import Comparison
    from benchsuite_leaderboard.report import BoardReport, Report
    from benchsuite_leaderboard.standings import Cell

_MOST_CHARTS = 12
_MOST_BOARDS = 4
_MOST_ROWS = 15
_MARGIN = 40

_COLUMNS = (
    *("board", "criterion", "control", "place", "place_low", "place_high"),
    *("place_where_it_serves", "cells", "cells_asked", "serves"),
    *("mean_rank", "gain_over_random", "gain_low", "gain_high"),
)

_PALETTE = re.compile(r":root \{(.*?)\}", re.DOTALL)


def render(
    records: Sequence[TrialRecord],
    output: Path,
    *,
    title: str,
    pending: int = 0,
    agreement: Sequence[NetworkAgreement] = (),
    sources: Sequence[Path] = (),
) -> None:
    """Write `summary.md`, `ranking.csv`, and charts into a folder.

    The charts are `curves-*.svg`, `ranks-*.svg` and `agreement-*.svg`, the last with its numbers as CSV.

    Args:
        records: outcomes; without any the summary says so.
        output: the folder, created if it does not exist.
        title: name of the suite.
        pending: number of planned trials that have no record.
        agreement: how similarly the criteria rank the units of each dense network.
        sources: run directories and results files, whose suites may have published values.
    """
    output.mkdir(parents=True, exist_ok=True)
    published = published_values(published_suites(sources)[0])
    report = make_report(records, title=title, pending=pending, notes=(), published=published)
    views = Views()
    files = {"summary.md": _markdown(report, views), "ranking.csv": _ranking(report, views)}
    for name, svg in _charts(report, views):
        files[name] = _standalone(svg)
    for found in workload_agreements(agreement)[:_MOST_CHARTS]:
        name = f"agreement-{slug(*found.pair)}"
        files[f"{name}.svg"] = _standalone(agreement_heat_map(found, label=described(found)))
        files[f"{name}.csv"] = _pairs(found)
    for stale in {path for kind in ("curves", "ranks", "agreement") for path in output.glob(f"{kind}-*.*")}:
        if stale.name not in files:
            stale.unlink()
    for name, text in files.items():
        write_atomically(output / name, text.encode("utf-8", "replace"))


def _charts(report: Report, views: Views) -> Iterator[tuple[str, Markup]]:
    """The drawings of the first boards, under file names that are safe for any names of plugins."""
    curves = 0
    for board in report.boards[:_MOST_BOARDS]:
        ranks = views.critical_difference(board, board.after)
        if ranks is not None:
            yield f"ranks-{board.board.protocol.digest}.svg", ranks.wide
        for pair in board.board.workloads:
            chart = views.curves(board, board.after, pair) if curves < _MOST_CHARTS else None
            if chart is not None:
                curves += 1
                yield f"curves-{slug(*pair)}-{board.board.protocol.digest}.svg", chart.wide


def _standalone(svg: Markup) -> str:
    """A drawing that contains the colours that a page would give it."""
    palette = _PALETTE.search((ASSETS / "style.css").read_text("utf-8"))
    assert palette is not None
    style = f"svg {{ {palette[1]} background: var(--paper); font-family: {FONT}; }}"
    opening, rest = str(svg).split(">", 1)
    # On a page a name in a wider font may extend beyond the drawing; a picture file would cut it off.
    opening = re.sub(r'viewBox="0 0 ([\d.]+)', lambda m: f'viewBox="0 0 {float(m[1]) + _MARGIN:g}', opening)
    return f"{opening}><style>{style}</style>{rest}"


def _ranking(report: Report, views: Views) -> str:
    """One row per criterion and board, best first; shares as fractions.

    Beside each accuracy stands how many cells it is the mean of, and of how many that were asked for: fewer
    where a sparsity was asked of some workloads only.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    columns = [s for board in report.boards for s in board.board.sparsities]
    sparsities = list(dict.fromkeys(columns))
    named = [f"{what}/{s}" for what in ("accuracy", "cells") for s in sparsities]
    writer.writerow([*_COLUMNS, *map(harmless, named)])
    for board in report.boards:
        for row in views.overall(board, board.after).rows:
            low, high = row.place_interval or (None, None)
            cells = dict(zip(board.board.sparsities, row.cells, strict=True))
            means = {s: cell.estimate.mean for s, cell in cells.items() if cell.estimate is not None}
            counts = {
                s: f"{cell.estimate.count if cell.estimate else 0} of {cell.expected}"
                for s, cell in cells.items()
            }
            values = [board.name, row.criterion.label, int(row.criterion.is_control), row.place, low, high]
            values += ["" if row.place_there is None else "{} of {}".format(*row.place_there)]
            values += [
                sum(c.estimate.count for c in row.cells if c.estimate),
                sum(c.expected for c in row.cells),
            ]
            gain = (None,) * 3 if row.gain is None else (row.gain.mean, row.gain.low, row.gain.high)
            values += [row.serves, row.mean_rank, *gain]
            values += [found.get(s) for found in (means, counts) for s in sparsities]
            writer.writerow([harmless(value) for value in values])
    return out.getvalue()


def _pairs(found: WorkloadAgreement) -> str:
    """Kendall's tau of every pair as a matrix, similar criteria next to each other."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    labels = [harmless(label) for label in found.criteria]
    writer.writerow(["Kendall's tau", *labels])
    for label, row in zip(labels, found.tau.tolist(), strict=True):
        writer.writerow([label, *("" if tau != tau else round(tau, 4) for tau in row)])
    return out.getvalue()


def _markdown(report: Report, views: Views) -> str:
    if not report.boards:
        return "No trial has an outcome yet.\n"
    parts = []
    for board in report.boards[:_MOST_BOARDS]:
        parts += [f"### {_plain(board.name, 200)}", _outcomes(board), _table(board, views)]
        if compared := views.published(board, None):
            parts.append(_published(compared))
    if len(report.boards) > _MOST_BOARDS:
        parts.append(f"{count(len(report.boards) - _MOST_BOARDS, 'more board')} in `ranking.csv`.")
    if report.pending:
        parts.append(f"{count(report.pending, 'planned trial')} without an outcome yet.")
    parts.append(
        "Accuracy after recovery in percent, mean over workloads and seeds; places with the interval that "
        "the seeds allow; gain over `random` in percent points with its 95% interval over other seeds of "
        "these workloads. ● highest, ○ may be best too, n/N: n of N networks. Criteria without a place lack "
        "a part of the cells; their means are of other networks."
    )
    return "\n\n".join(parts) + "\n"


def _outcomes(board: BoardReport) -> str:
    return ", ".join(f"{number} {status}" for status, number in sorted(board.statuses.items()))


def _table(board: BoardReport, views: Views) -> str:
    view = views.overall(board, board.after)
    rows, parts = view.rows, map(view.table.part, range(len(view.table.sparsities)))
    columns = zip(board.board.sparsities, parts, strict=True)
    head = [
        "place",
        "criterion",
        "gain",
        *(f"{sparsity(s)} {part and f'({part})'}".strip() for s, part in columns),
    ]
    lines = [head, ["--:", "---", "--:", *("--:" for _ in board.board.sparsities)]]
    lines += [_line(row) for row in rows[:_MOST_ROWS]]
    text = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    left = len(rows) - _MOST_ROWS
    return text if left <= 0 else f"{text}\n\n{count(left, 'more row')} in `ranking.csv`."


def _published(compared: Sequence[Comparison]) -> str:
    """Published values beside ours; fractions in percent."""
    lines = [["published", "metric", "ours", "published", "ours − published", "source"]]
    lines.append(["---", "---", "--:", "--:", "--:", "---"])
    for each in compared[:_MOST_ROWS]:
        reference, ours, share = each.reference, each.ours, each.reference.is_share
        what = reference.name or (each.criterion.label if each.criterion else reference.scorer or "dense")
        at = "" if each.sparsity is None else f" at {sparsity(each.sparsity)}"
        mean = "" if ours is None else percent(ours.mean) if share else number(ours.mean)
        width = "" if ours is None or not share else interval(ours)
        lines.append(
            [
                f"`{_plain(what, 40)}`{at} ({_plain(workload(each.pair), 60)})",
                f"`{_plain(reference.metric, 60)}`",
                f"{mean} {width}".strip() or ("" if reference.name else "no result yet"),
                in_percent(reference.in_our_unit) if share else f"{reference.in_our_unit:,.12g}",
                ""
                if each.difference is None
                else signed(each.difference)
                if share
                else signed_number(each.difference),
                _plain(reference.source, 80),
            ]
        )
    left = len(compared) - _MOST_ROWS
    text = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return text if left <= 0 else f"{text}\n\n{count(left, 'more published value')} on the leaderboard."


def _line(row: TableRow) -> list[str]:
    place = "" if row.place is None else str(row.place)
    if row.place_interval is not None:
        place += f" ({row.place_interval[0]}–{row.place_interval[1]})"
    gain = ""
    if row.gain is not None:
        gain = f"{signed(row.gain.mean)} {interval(row.gain)}".strip()
    name = f"`{_plain(row.criterion.label, 40)}`" + (f" ({row.serves})" if row.serves else "")
    return [place, name, gain, *map(_cell, row.cells)]


def _cell(cell: Cell) -> str:
    """A mean with its marks."""
    if cell.estimate is None:
        return ""
    text = percent(cell.estimate.mean) + {"best": " ●", "tied": " ○"}.get(cell.mark, "")
    return text if cell.is_complete else f"{text} {cell.estimate.count}/{cell.expected}"


def _plain(name: str, longest: int) -> str:
    """A name that cannot end its table cell or code span and contains no HTML."""
    return re.sub(r"[<>&]", "?", shorten(name, longest).replace("`", "'").replace("|", "/"))
