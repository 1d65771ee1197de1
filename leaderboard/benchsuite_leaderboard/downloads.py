"""The records as files for other programs."""

from __future__ import annotations

import bz2
import csv
import io
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchsuite.store.record import TrialRecord

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_LARGE = 100_000


@dataclass(frozen=True)
class Download:
    """A file that the site offers for download."""

    name: str
    about: str
    content: bytes


def downloads(records: Sequence[TrialRecord]) -> list[Download]:
    """All files, each number in one of them; texts of more than 100 kB are compressed."""
    return [
        _text("results.csv", "one row a trial: axes, outcome, metrics and error", as_csv(records)),
        _text(
            "provenance.json",
            "settings, provenance and stages of each trial, by its key in the table",
            as_background(records),
        ),
    ]


def published_downloads(rows: Sequence[dict[str, Any]]) -> list[Download]:
    """Published values beside ours, as a table and as JSON; nothing without any."""
    if not rows:
        return []
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(rows[0])
    writer.writerows([harmless(value) for value in row.values()] for row in rows)
    about = "published values beside ours, fractions and other numbers in the metric’s own unit"
    in_json = "[\n" + ",\n".join(map(_as_line, rows)) + "\n]\n"
    return [_text("published.csv", about, out.getvalue()), _text("published.json", "the same", in_json)]


def as_json(records: Sequence[TrialRecord]) -> str:
    """All records with everything in them, one per line of an array; NaN and infinity become null."""
    return "[\n" + ",\n".join(_as_line(vars(record)) for record in records) + "\n]\n"


def as_background(records: Sequence[TrialRecord]) -> str:
    """What the table of the results leaves out: settings, provenance and stages.

    Most trials share settings and provenance, so each different one is listed once, under `shared`; in a
    record a number stands for its place in this list.
    """
    shared: dict[str, int] = {}
    lines = []
    for record in records:
        places = (
            shared.setdefault(_as_line(each), len(shared)) for each in (record.settings, record.provenance)
        )
        of = dict(zip(("settings", "provenance"), places, strict=True))
        lines.append(_as_line({"key": record.key, **of, "stages": record.stages}))
    first = '{"shared": [\n' + ",\n".join(shared) + "\n],\n"
    return first + '"records": [\n' + ",\n".join(lines) + "\n]}\n"


def _as_line(value: dict[str, Any]) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, default=str, allow_nan=False)
    except (TypeError, ValueError):  # NaN, infinity, or a name that is no text
        return json.dumps(_finite(value), ensure_ascii=False, default=str)


def as_csv(records: Sequence[TrialRecord]) -> str:
    """One row per trial: key, axes, status, metrics and error; columns absent from a record are empty.

    Texts that a spreadsheet would run as a formula get an apostrophe in front.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    columns = _columns(records)
    writer.writerow(harmless(name) for name in columns)
    writer.writerows(zip(*map(_harmless_column, columns.values()), strict=True))
    return out.getvalue()


def _harmless_column(values: list[Any]) -> list[Any]:
    """The values, looked at one by one only if not all of them are numbers."""
    if all(type(value) is float for value in values):
        return values
    return [harmless(value) for value in values]


def _columns(records: Sequence[TrialRecord]) -> dict[str, list[Any]]:
    axes = dict.fromkeys(name for record in records for name in record.axes)
    metrics = sorted({name for record in records for name in record.metrics} - {*axes})
    columns: dict[str, list[Any]] = {"key": [record.key for record in records]}
    columns |= {str(name): [record.axes.get(name) for record in records] for name in axes if name != "key"}
    columns["status"] = [record.status for record in records]
    columns |= {str(name): [record.metrics.get(name) for record in records] for name in metrics}
    columns["error"] = [record.error for record in records]
    return columns


def _text(name: str, about: str, text: str) -> Download:
    content = text.encode("utf-8", "replace")
    if len(content) > _LARGE:
        return Download(f"{name}.bz2", f"{about} (compressed)", bz2.compress(content))
    return Download(name, about, content)


def harmless(value: object) -> object:
    """A cell's value that is safe for spreadsheets: texts like formulas get an apostrophe in front."""
    if value is None:
        return ""
    if isinstance(value, dict | list):
        return _as_text(value)
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _as_text(value: object) -> str:
    return json.dumps(_finite(value), ensure_ascii=False, default=str)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
