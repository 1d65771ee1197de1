"""The site of 10,000 made-up records compared with the minimum work for a table of them, in the same run.

The alternative reads the records from their JSON lines, makes a data frame, computes mean, standard deviation
and number of each cell, and writes the records and these as JSON, like a script of a few lines. It has no
charts, no tests, no ranks and no pages. Ratios are of processor seconds.

Measured on a cloud machine with two busy cores: 11 s for the site, 0.55 s for the alternative, so 20 times;
9 MB, of which the first page is 0.12 MB.
"""

from __future__ import annotations

import io
import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from made_up_records import make_matrix

from benchsuite.store.keys import content_key
from benchsuite.store.record import TrialRecord
from benchsuite_leaderboard.downloads import as_json
from benchsuite_leaderboard.site import render

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow

MOST_BYTES, MOST_FIRST_PAGE = 10_000_000, 1_500_000
MOST = 40.0
"""Largest allowed multiple of the alternative's processor time; 20 was measured."""


def ten_thousand() -> list[TrialRecord]:
    """20 workloads with 5 seeds, 4 sparsities, 22 criteria, and three draws of random."""
    records = make_matrix(
        scorers=["random", *(f"criterion-{i}" for i in range(22))],
        workloads=[("d", f"model-{i}") for i in range(20)],
        seeds=range(5),
        sparsities=[0.3, 0.5, 0.7, 0.9],
    )
    return [replace(record, key=content_key(record.key)) for record in records]


def plain_table(lines: str) -> str:
    """The alternative: the records and a table of their cells as JSON."""
    import pandas as pd  # type: ignore[import-untyped]

    records = [TrialRecord.from_json(line) for line in io.StringIO(lines)]
    frame = pd.DataFrame([r.axes | r.metrics for r in records])
    cells = frame.groupby(["dataset", "model", "scorer", "sparsity"])["accuracy/top1"]
    table: Any = cells.agg(["mean", "std", "count"]).reset_index()
    return as_json(records) + json.dumps(table.to_dict("records"))


def seconds(work: Callable[[], object]) -> float:
    """Processor seconds, which do not include other processes of the machine."""
    start = time.process_time()
    work()
    return time.process_time() - start


def test_the_site_of_ten_thousand_records(benchmark: Any, tmp_path: Path) -> None:
    records = ten_thousand()
    assert len(records) == 10_000
    lines = "".join(f"{record.to_json()}\n" for record in records)
    # The time for loading libraries is not included in either.
    render(make_matrix(seeds=[0, 1]), tmp_path / "small", title="small")
    plain_table("".join(lines.splitlines(keepends=True)[:10]))
    plain = min(seconds(lambda: plain_table(lines)) for _ in range(3))
    spent: list[float] = []
    benchmark.pedantic(
        lambda: spent.append(seconds(lambda: render(records, tmp_path / "site", title="many"))), rounds=1
    )
    sizes = {path: path.stat().st_size for path in (tmp_path / "site").rglob("*") if path.is_file()}
    first = sizes[tmp_path / "site" / "index.html"]
    benchmark.extra_info.update(
        site_seconds=spent[0],
        plain_seconds=plain,
        ratio=spent[0] / plain,
        site_bytes=sum(sizes.values()),
        first_page_bytes=first,
    )
    assert sum(sizes.values()) < MOST_BYTES
    assert first < MOST_FIRST_PAGE
    assert spent[0] < MOST * plain
