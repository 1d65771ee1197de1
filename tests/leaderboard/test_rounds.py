"""Points of rounds are drawn on the page of their workload and of their trial, apart from separate trials."""

from __future__ import annotations

import base64
import gzip
import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from made_up_records import make_record

from benchsuite_leaderboard.grouping import boards
from benchsuite_leaderboard.rounds import after_each_round
from benchsuite_leaderboard.site import render

if TYPE_CHECKING:
    from pathlib import Path

    from benchsuite.store.record import TrialRecord

SETTINGS = {"pruning": {"rounds": 5, "rewind_share": 0.5}}
AFTER = {"alpha": (0.95, 0.9, 0.7), "beta": (0.9, 0.8, 0.5)}


def record(scorer: str, sparsity: float, seed: int = 0, **changes: Any) -> TrialRecord:
    """A trial whose accuracies depend on its seed, with three rounds at 0.875 and two at 0.75."""
    number = {0.75: 2, 0.875: 3}[sparsity]
    points = tuple(
        {"accuracy/top1": value + 0.01 * seed, "interpretability/detectors": 30.0 - 10 * i}
        for i, value in enumerate(AFTER[scorer][:number])
    )
    found = make_record(
        scorer, sparsity, points[-1]["accuracy/top1"], seed=seed, schedule="rewind", settings=SETTINGS
    )
    return replace(found, **{"rounds": points, **changes})


def all_records() -> list[TrialRecord]:
    return [record(scorer, amount, seed) for scorer in AFTER for amount in (0.75, 0.875) for seed in (0, 1)]


def test_a_line_has_the_rounds_of_the_trials_that_go_furthest() -> None:
    records = all_records()
    # Another trial at a lower sparsity says nothing here.
    records.append(replace(record("alpha", 0.75, 2), rounds=({"accuracy/top1": 0.1},) * 2))
    (board,) = boards(records)
    (pair,) = board.workloads
    table = after_each_round(board, pair, "accuracy/top1")
    assert table is not None
    assert table.sparsities == (0.5, 0.75, 0.875)
    means = {c.label: [cell.estimate.mean for cell in cells] for c, cells in table.rows.items()}
    assert means == {
        scorer: [pytest.approx(value + 0.005) for value in values] for scorer, values in AFTER.items()
    }
    assert after_each_round(board, pair, "interpretability/concepts") is None


@pytest.mark.parametrize(
    "spoilt",
    [
        {"rounds": ({"accuracy/top1": 0.5},)},
        {"rounds": ()},
        {"settings": {"pruning": {"rounds": 5, "rewind_share": "0.5"}}},
        {"settings": {}},
    ],
)
def test_records_that_do_not_say_their_rounds_are_left_out(spoilt) -> None:
    (board,) = boards([record("alpha", 0.875, **spoilt)])
    (pair,) = board.workloads
    assert after_each_round(board, pair, "accuracy/top1") is None


def test_the_pages_show_them(tmp_path: Path) -> None:
    render(all_records(), tmp_path, title="t")
    (page,) = (tmp_path / "workloads").glob("*.html")
    text = page.read_text()
    assert "<h3>After each round</h3>" in text
    section = text.partition("<h3>After each round</h3>")[2].partition("</section>")[0]
    assert re.search(r"<title>alpha: 95\.5%[^<]* at 50%, 90\.5%[^<]* at 75%, 70\.5%[^<]* at 87\.5%", section)
    assert re.search(r"<title>beta: 30\.0[^<]* at 50%, 20\.0[^<]* at 75%, 10\.0", section)
    shards = [path for path in (tmp_path / "trials").glob("*.js") if path.name != "index.js"]
    packed = shards[0].read_text().partition('"')[2].rpartition('"')[0]
    names = json.loads(gzip.decompress(base64.b64decode(packed)))["own"]
    rounds = names["columns"][names["names"].index("rounds")]
    assert [each[0] for each in rounds[:1]] == [{"accuracy/top1": 0.95, "interpretability/detectors": 30}]


def test_without_rounds_there_is_no_such_section(tmp_path: Path) -> None:
    render([make_record("alpha", 0.5, 0.9), make_record("beta", 0.5, 0.8)], tmp_path, title="t")
    assert all("After each round" not in page.read_text() for page in (tmp_path / "workloads").glob("*.html"))
