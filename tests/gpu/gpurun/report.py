"""The report: a page to read and commit, and the same as JSON."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from gpurun.budget import Outcome

PAGE, DATA = "gpu-report.md", "gpu-report.json"
_DRY = "**A dry run: no GPU was used, sizes are tiny, and no figure below means anything.**"


def write_report(outcomes: Sequence[Outcome], folder: Path, *, dry: bool, seconds: float) -> Path:
    """Write both files of the report on what has been done so far; returns the page."""
    date = datetime.now(UTC).isoformat(timespec="seconds")
    (folder / DATA).write_text(
        json.dumps(
            {"date": date, "dry": dry, "seconds": round(seconds, 1), "parts": [asdict(o) for o in outcomes]},
            indent=1,
        )
        + "\n"
    )
    lines = ["# What a GPU does with benchsuite", ""]
    lines += [_DRY, ""] if dry else []
    lines += [f"{date}, {seconds:.0f} s in all.", ""]
    lines += _table(
        ("part", "outcome", "seconds", "at most"),
        [(o.name, o.status, f"{o.seconds:.0f}", f"{o.limit:.0f}") for o in outcomes],
    )
    lines += _left_out(outcomes) + _failures(outcomes)
    for outcome in outcomes:
        lines += _part(outcome)
    (folder / PAGE).write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    return folder / PAGE


def _left_out(outcomes: Sequence[Outcome]) -> list[str]:
    found = [f"- {line['name']}: {line['text']}" for o in outcomes for line in _of(o, "left out")]
    found += [
        f"- what {o.name} had not done after {o.limit:.0f} s" for o in outcomes if o.status == "cut off"
    ]
    return ["## Left out", "", *(found or ["Nothing."]), ""]


def _failures(outcomes: Sequence[Outcome]) -> list[str]:
    lines: list[str] = []
    for outcome in outcomes:
        if outcome.status in ("failed", "cut off", "no GPU"):
            lines += _quoted(f"{outcome.name}: {outcome.status}", outcome.text)
        for line in _of(outcome, "failure"):
            lines += _quoted(f"{outcome.name}: {line['name']}", line["text"])
        for line in _of(outcome, "test"):
            if line["outcome"] in ("failed", "error"):
                lines += _quoted(f"{outcome.name}: {line['name']}: {line['outcome']}", line["text"])
    return ["## Failures", "", *(lines or ["None.", ""])]


def _quoted(title: str, text: str) -> list[str]:
    return [f"{title}", "", *(f"    {line}" for line in text.splitlines() or ["(it said nothing)"]), ""]


def _part(outcome: Outcome) -> list[str]:
    lines = [f"## {outcome.name}", ""]
    lines += _table(("what", ""), [(f["name"], _number(f["value"])) for f in _of(outcome, "fact")])
    lines += _table(
        ("ratio", "", "", "times"),
        [
            (r["name"], _side(r["above"], r["unit"]), _side(r["below"], r["unit"]), _number(r["ratio"]))
            for r in _of(outcome, "ratio")
        ],
    )
    tests = list(_of(outcome, "test"))
    if tests:
        counts = Counter(test["outcome"] for test in tests)
        lines += [", ".join(f"{count} {outcome}" for outcome, count in counts.items()), ""]
        lines += _table(
            ("test", "outcome", "seconds"),
            [(f"`{t['name']}`", t["outcome"], f"{t['seconds']:.1f}") for t in tests],
        )
    tables: dict[str, list[dict[str, Any]]] = {}
    for cell in _of(outcome, "cell"):
        tables.setdefault(cell["name"], []).append(cell["values"])
    for name, rows in tables.items():
        columns = tuple(rows[0])
        lines += [name, "", *_table(columns, [tuple(_number(r.get(c)) for c in columns) for r in rows])]
    return lines


def _of(outcome: Outcome, kind: str) -> Iterable[dict[str, Any]]:
    return (line for line in outcome.figures if line["kind"] == kind)


def _side(side: Sequence[Any], unit: str) -> str:
    return f"{side[0]}: {_number(side[1])} {unit}".rstrip()


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    if not rows:
        return []
    lines = [columns, ["---"] * len(columns), *rows]
    return [*("| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in lines), ""]
