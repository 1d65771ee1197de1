"""`results`: the records of a run or of a results file, or their means, as a table, CSV or JSON."""

from __future__ import annotations

import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from benchsuite.commands.aggregation import aggregate
from benchsuite.commands.exit_codes import NOTHING, OK
from benchsuite.commands.filters import parse_filters
from benchsuite.commands.nearest import did_you_mean, nearest
from benchsuite.commands.printing import tell
from benchsuite.commands.results_order import Order, parse_order
from benchsuite.errors import UsageError
from benchsuite.store.counting import counted
from benchsuite.store.run_directory import Results, RunDirectory

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterable, Sequence

    from benchsuite.store.record import TrialRecord

_MOST_LISTED = 40
COUNTED = ("seeds", "trials", "without")
"""What a group of trials has besides its axes and metrics."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("run", type=Path, metavar="DIR", help="a run directory, or a results file")
    parser.add_argument("--format", choices=("table", "csv", "json"), default="table")
    parser.add_argument(
        "--filter",
        action="append",
        default=[],
        metavar="AXIS=VALUE,…",
        help="only these trials: scorer=snip,lamp is either, scorer=taylor* a pattern, scorer!=random leaves "
        "out, and status=failed is their outcome (repeatable)",
    )
    parser.add_argument(
        "--by",
        metavar="AXIS,…",
        help="means over seeds of the trials that have the same values on these axes, such as "
        "scorer,sparsity, with the standard deviation over seeds where there are two or more",
    )
    parser.add_argument(
        "--sort",
        metavar="NAME,…",
        help="sort by metrics or axes, -NAME from high to low, such as -accuracy/top1; what has no value "
        "comes last",
    )
    parser.add_argument(
        "--metrics",
        metavar="NAME,…",
        help="only these metrics, by name, pattern or heading (accuracy/top1,latency/*,before)",
    )
    parser.takes_minus = frozenset({"--sort"})  # type: ignore[attr-defined]  # of the host's own parser


def run(options: Namespace) -> int:
    """Print the records of a run: every cell that has an outcome, in the order of the plan."""
    from benchsuite.commands import results_files, results_table

    found = _results(options.run)
    for line in found.problems:
        tell(f"left out: {line}")
    if found.pending:
        tell(f"{counted(found.pending, 'trial')} of the suite without an outcome yet")
    if found.superseded:
        tell(f"not shown: {counted(len(found.superseded), 'record')} of an earlier form of the suite")
    metrics = _metrics(options.metrics, found.records)
    by = _axes(options.by, found.records)
    order = _order(options.sort, by, found.records)
    records = _filtered(found.records, options.filter)
    if by is None:
        records = order.of_records(records)
        if options.format == "table":
            results_table.print_records(records, metrics)
        elif options.format == "csv":
            results_files.print_records_csv(records, metrics)
        else:
            results_files.print_records_json(records, metrics)
    else:
        groups = order.of_groups(aggregate(records, by))
        if options.format == "table":
            results_table.print_groups(groups, by, metrics, records)
        elif options.format == "csv":
            results_files.print_groups_csv(groups, by, metrics)
        else:
            results_files.print_groups_json(groups, metrics)
    return OK if records else NOTHING


def _results(source: Path) -> Results:
    if not source.is_file():
        return RunDirectory(source).results()
    from benchsuite.publishing.merge import merge
    from benchsuite.publishing.signatures import check_signature

    signature = check_signature(source, None)
    if signature.verdict == "bad":
        raise UsageError(f"{source} is not shown: {signature.words}")
    merged = merge([source])
    return Results(merged.records, (), merged.pending, merged.notes)


def _filtered(records: Sequence[TrialRecord], texts: Sequence[str]) -> list[TrialRecord]:
    """The records that the filters leave; says why if that is none."""
    if not records:
        return []
    filters = parse_filters(texts, [*_axis_names(records), "status"])
    axes = [{**record.axes, "status": record.status} for record in records]
    left = [record for record, its in zip(records, axes, strict=True) if filters.holds(its)]
    for line in () if left else filters.why_nothing(axes):
        tell(line)
    return left


def _axis_names(records: Iterable[TrialRecord]) -> list[str]:
    return [axis for axis in dict.fromkeys(a for r in records for a in r.axes) if axis != "scorer_params"]


def _metric_names(records: Iterable[TrialRecord]) -> list[str]:
    return sorted({name for record in records for name in record.metrics})


def _metrics(text: str | None, records: Sequence[TrialRecord]) -> list[str] | None:
    """The metrics that are asked for, in the order asked; None if no choice was made."""
    if text is None:
        return None
    from benchsuite.commands.results_table import HEADINGS

    known, chosen = _metric_names(records), []
    for given in _names("--metrics", text):
        name = HEADINGS.get(given, given)
        found = [name] if name in known else fnmatch.filter(known, name)
        if not found and records:
            raise UsageError(f"--metrics: there is no metric {name!r}{_hint(name, known)}")
        chosen += found
    return list(dict.fromkeys(chosen))


def _axes(text: str | None, records: Sequence[TrialRecord]) -> list[str] | None:
    """The axes to group by; None if it was not asked for."""
    if text is None:
        return None
    known = _axis_names(records)
    names = list(dict.fromkeys(_names("--by", text)))
    for name in names if records else ():
        if name not in known:
            raise UsageError(f"--by: there is no axis {name!r}{did_you_mean(name, known)}")
    return names


def _order(text: str | None, by: Sequence[str] | None, records: Sequence[TrialRecord]) -> Order:
    if text is None:
        return Order(())
    axes = ["key", "status", *_axis_names(records)] if by is None else [*by, *COUNTED]
    known = [*axes, *_metric_names(records)]
    from benchsuite.commands.results_table import HEADINGS

    order = parse_order(_names("--sort", text), HEADINGS)
    for name in (name for name, _ in order.names) if records else ():
        if name not in known:
            raise UsageError(f"--sort: there is no {name!r} to sort by{_hint(name, known, axes)}")
    return order


def _names(option: str, text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UsageError(f"{option}: no name is given")
    return names


def _hint(name: str, known: Sequence[str], first: Sequence[str] = ()) -> str:
    """The nearest names; where there are none, the names that there are."""
    if nearest(name, known):
        return did_you_mean(name, known)
    last = [each for each in known if each.rpartition("/")[2] == name]
    if last:
        return f"; did you mean {' or '.join(map(repr, last[:3]))}?"
    rest = [each for each in known if each not in first and "/class/" not in each]
    listed = [*first, *rest]
    left = len(listed) - _MOST_LISTED
    return f"; there are: {', '.join(listed[:_MOST_LISTED])}" + (f" and {left} more" if left > 0 else "")
