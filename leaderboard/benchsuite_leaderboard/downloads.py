"""The records as files for other programs."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchsuite.store.record import TrialRecord

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_LARGE = 1_000_000


@dataclass(frozen=True)
class Download:
    """A file that the site offers for download."""

    name: str
    about: str
    content: bytes


def downloads(records: Sequence[TrialRecord], in_json: str | None = None) -> list[Download]:
    """All formats; texts of more than a megabyte are compressed.

    Args:
        records: what they hold.
        in_json: the records by `as_json`, if the caller has that already.
    """
    full = in_json or as_json(records)
    return [
        _text("results.csv", "one row a trial: axes, outcome, metrics and error", as_csv(records)),
        _text(
            "results.json",
            "the full records, with settings, provenance and stages",
            full,
        ),
        Download(
            "results.parquet",
            "the rows of the CSV file with their types, for data frames",
            as_parquet(records),
        ),
    ]


def as_json(records: Sequence[TrialRecord]) -> str:
    """All records with everything in them, one per line of an array; NaN and infinity become null."""
    lines = (json.dumps(_finite(vars(record)), ensure_ascii=False, default=str) for record in records)
    return "[\n" + ",\n".join(lines) + "\n]\n"


def as_csv(records: Sequence[TrialRecord]) -> str:
    """One row per trial: key, axes, status, metrics and error; columns absent from a record are empty.

    Texts that a spreadsheet would run as a formula get an apostrophe in front.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    columns = _columns(records)
    writer.writerow(harmless(name) for name in columns)
    writer.writerows([harmless(value) for value in row] for row in zip(*columns.values(), strict=True))
    return out.getvalue()


def as_parquet(records: Sequence[TrialRecord]) -> bytes:
    """The same rows in columns of one type each; axes of mixed types are text."""
    import pyarrow as pa
    from pyarrow import parquet

    arrays = {}
    for name, values in _columns(records).items():
        kinds = {type(value) for value in values if value is not None}
        if kinds <= {int, float} and kinds:
            arrays[name] = pa.array([None if v is None else float(v) for v in values], pa.float64())
        else:
            texts = [None if v is None else v if isinstance(v, str) else _as_text(v) for v in values]
            clean = [None if t is None else t.encode("utf-8", "replace").decode() for t in texts]
            arrays[name] = pa.array(clean, pa.string())
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.table(arrays), sink, compression="zstd")
    return bytes(sink.getvalue())


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
        # Without a time stamp, equal records give equal files.
        return Download(f"{name}.gz", f"{about} (compressed)", gzip.compress(content, 6, mtime=0))
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
