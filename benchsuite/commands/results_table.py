"""Records and groups of records as a table for people."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rich.text import Text

from benchsuite.commands.aggregation import SEED, pooled
from benchsuite.commands.fitted_table import Column, fit, screen_width
from benchsuite.commands.printing import say
from benchsuite.drawing.terminal import open_console
from benchsuite.publishing.merge import title
from benchsuite.store import metric_names
from benchsuite.store.texts import in_one_line, without_controls

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchsuite.commands.aggregation import Group
    from benchsuite.store.record import TrialRecord

_TABLE_AXES = ("dataset", "model", "seed", "scorer", "sparsity", "draw")
_AXES_WHERE_THEY_VARY = ("granularity", "scope", "budget", "schedule", "recovery_epochs")
_KEY_SHOWN = 8
_LOWER_BOUND, _UNSETTLED, _UNEVEN, _PARTIAL = "≥", "~", "*", "†"
_RANKS = {"scorer": 1, "sparsity": 1, "status": 3, "model": 4, "seed": 5, "dataset": 6, "draw": 7}
_CHOSEN = 2
"""The rank of metrics that were asked for: those of a higher rank are left out first."""


@dataclass(frozen=True)
class _Number:
    """How a metric is shown."""

    name: str
    heading: str
    factor: float = 1.0
    form: str = ".4g"
    rank: int = 20

    def text(self, value: float) -> str:
        """A value in this form."""
        return format(value * self.factor, self.form)


_NUMBERS = (
    _Number(metric_names.TOP1_BEFORE_RECOVERY, "before", 100, ".1f", 3),
    _Number(metric_names.TOP1_RECALIBRATED, "recalibrated", 100, ".1f", 11),
    _Number(metric_names.TOP1, "after", 100, ".1f", 2),
    _Number(metric_names.TOP1_DENSE, "dense", 100, ".1f", 6),
    _Number(metric_names.PARAMS, "params", 1, ",.0f", 9),
    _Number(metric_names.MACS, "MACs", 1, ",.0f", 8),
    _Number(metric_names.SPARSITY_UNITS, "units", 1, ".3f", 12),
    _Number(metric_names.SPARSITY_PARAMS, "of params", 1, ".3f", 11),
    _Number(metric_names.SPARSITY_MACS, "of MACs", 1, ".3f", 10),
)
HEADINGS = {number.heading: number.name for number in _NUMBERS}
"""The metrics that the table shows under names of its own."""
_SPEEDUP_RANK = 9


def print_records(records: Sequence[TrialRecord], chosen: Sequence[str] | None) -> None:
    """A row a trial, and below the table what its marks mean and why trials have no result."""
    varied = _varied(records)
    axes = (*_TABLE_AXES[:-2], *varied, *_TABLE_AXES[-2:])
    columns = [
        Column("key", tuple(r.key[:_KEY_SHOWN] for r in records)),
        *(_axis(axis, [r.axes.get(axis, "") for r in records]) for axis in axes),
        Column("status", tuple(r.status for r in records), rank=_RANKS["status"]),
        *(_metric(number, records) for number in _numbers(chosen, records)),
    ]
    _print(columns, _explanations(records))
    for record in records:
        if record.error:
            cell = title(record, [name for name in varied if name != "recovery_epochs"])
            say(open_console(), in_one_line(f"{record.status}: {cell}: {record.error}"))


def print_groups(
    groups: Sequence[Group],
    by: Sequence[str],
    chosen: Sequence[str] | None,
    records: Sequence[TrialRecord],
) -> None:
    """A row a group: means with their standard deviations, and below the table what they are of."""
    without = [str(group.without) for group in groups]
    # The marks stand at what is never left out.
    marks = [f" {_UNEVEN * group.uneven}{_PARTIAL * group.partial}".rstrip() for group in groups]
    first = [f"{g.axes.get(by[0], '')}{mark}" for g, mark in zip(groups, marks, strict=True)]
    columns = [
        replace(_axis(by[0], first), rank=0),
        *(_axis(axis, [g.axes.get(axis, "") for g in groups]) for axis in by[1:]),
        Column("seeds", tuple(str(group.seeds) for group in groups), is_number=True, rank=4),
        *([Column("without", tuple(without), is_number=True, rank=5)] if set(without) - {"0"} else ()),
        *(_mean(number, groups) for number in _numbers(chosen, records)),
    ]
    _print(columns, _about_groups(groups, by, records))


def _print(columns: Sequence[Column], notes: Iterable[str]) -> None:
    console = open_console()
    fitted = fit(columns, screen_width(is_terminal=console.is_terminal, width=console.width))
    heading, *rows = fitted.lines()
    console.print(Text(heading, style="bold"), soft_wrap=True)
    for row in rows:
        console.print(Text(row), soft_wrap=True)
    left_out = fitted.notes() if rows else []
    if left_out and fitted.dropped:
        left_out[-1] += " (--metrics picks, --format csv has everything)"
    for line in (*left_out, *notes):
        say(console, line)


def _varied(records: Sequence[TrialRecord]) -> list[str]:
    return [name for name in _AXES_WHERE_THEY_VARY if len({str(r.axes.get(name)) for r in records}) > 1]


def _numbers(chosen: Sequence[str] | None, records: Sequence[TrialRecord]) -> list[_Number]:
    """The metrics to show: the chosen ones under their own names, or the usual ones."""
    if chosen is not None:
        return [_Number(name, name, 1.0, _form(name), _CHOSEN) for name in chosen]
    speedups = sorted(
        {
            name
            for r in records
            for name in r.metrics
            if name.startswith(metric_names.LATENCY) and name.endswith("_speedup")
        }
    )
    return [
        *_NUMBERS,
        *(_Number(n, n.removeprefix(metric_names.LATENCY), 1, ".2f", _SPEEDUP_RANK) for n in speedups),
    ]


def _form(metric: str) -> str:
    """How a metric is shown under its own name: fractions alike, whole numbers whole."""
    if metric in (metric_names.PARAMS, metric_names.MACS, metric_names.FLOPS):
        return ",.0f"
    fraction = metric.startswith((metric_names.ACCURACY, metric_names.SPARSITY))
    return ".4f" if fraction else ".4g"


def _axis(axis: str, values: Iterable[object]) -> Column:
    return Column(axis, tuple(_one_line(str(value)) for value in values), rank=_RANKS.get(axis, 3))


def _one_line(text: str) -> str:
    return " ".join(without_controls(text).split())


def _metric(number: _Number, records: Sequence[TrialRecord]) -> Column:
    name = number.name
    cells = [_mark(r, name) + number.text(r.metrics[name]) if name in r.metrics else "" for r in records]
    return Column(number.heading, tuple(cells), is_number=True, rank=number.rank)


def _mean(number: _Number, groups: Sequence[Group]) -> Column:
    cells = []
    for group in groups:
        mean, deviation = group.means.get(number.name), group.deviations.get(number.name)
        spread = "" if not deviation else f" ± {number.text(deviation)}"
        cells.append("" if mean is None else f"{number.text(mean)}{spread}")
    return Column(number.heading, tuple(cells), is_number=True, rank=number.rank)


def _about_groups(groups: Sequence[Group], by: Sequence[str], records: Sequence[TrialRecord]) -> list[str]:
    over = "" if SEED in by else " over seeds, ± their standard deviation (n - 1) where two or more differ"
    lines = [f"means{over}"] if groups else []
    if others := pooled(records, by):
        within = "" if SEED in by else "within each seed "
        lines.append(f"{within}averaged over what also varies: {', '.join(others)}")
    if any(group.uneven for group in groups):
        lines.append(f"{_UNEVEN} some seeds lack trials that others have")
    if any(group.partial for group in groups):
        lines.append(
            f"{_PARTIAL} no result in some of the cells that other scorers have: not comparable with them"
        )
    if any(group.without for group in groups):
        lines.append("without: trials that have no result, whose reasons are in the table without --by")
    return lines


def _mark(record: TrialRecord, metric: str) -> str:
    """What stands before a number that is less certain than it looks."""
    if metric == metric_names.MACS and record.metrics.get(metric_names.UNCOUNTED_MODULES):
        return _LOWER_BOUND
    return _UNSETTLED if metric_names.is_wide(record.metrics, metric) else ""


def _explanations(records: Sequence[TrialRecord]) -> list[str]:
    """What the marks mean, where there are some."""
    found = []
    unknown: dict[str, set[str]] = {}
    for record in records:
        if record.metrics.get(metric_names.UNCOUNTED_MODULES):
            named = record.provenance.get("uncounted_modules")
            model = str(record.axes.get("model"))
            unknown.setdefault(model, set()).update(map(str, named if isinstance(named, list) else ()))
    for model, names in sorted(unknown.items()):
        found.append(
            f"{_LOWER_BOUND} the MACs of {model} are a lower bound: what may multiply and has no formula is "
            f"{', '.join(sorted(names)) or 'not named'}"
        )
    if any(_mark(record, name) == _UNSETTLED for record in records for name in record.metrics):
        found.append(f"{_UNSETTLED} the 95% interval of this speedup is wider than 3% (see docs/method.md)")
    return found
