"""The records as files that other programs read."""

from __future__ import annotations

import csv
import io
import json
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchsuite.store import TrialRecord

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def as_json(records: Sequence[TrialRecord]) -> str:
    """All records with everything in them, one a line within an array; what JSON has no number for is null."""
    lines = (json.dumps(_finite(vars(record)), ensure_ascii=False, default=str) for record in records)
    return "[\n" + ",\n".join(lines) + "\n]\n"


def as_csv(records: Sequence[TrialRecord]) -> str:
    """One row a trial: key, axes, status, metrics and error; columns absent from a record are empty.

    Texts that a spreadsheet would run as a formula get an apostrophe in front.
    """
    axes = list(dict.fromkeys(name for record in records for name in record.axes))
    metrics = sorted({name for record in records for name in record.metrics})
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_harmless(name) for name in ("key", *axes, "status", *metrics, "error"))
    for record in records:
        row = [record.key, *(record.axes.get(name) for name in axes), record.status]
        row += [record.metrics.get(name) for name in metrics]
        writer.writerow(_harmless(value) for value in (*row, record.error))
    return out.getvalue()


def _harmless(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, default=str)
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
