"""The results of dissection are drawn on the page of their workload, and nothing is drawn without them."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from benchsuite_leaderboard.site import render

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("detectors", "concepts", "still_interpretable", "same_concept")


def pages(folder: Path) -> dict[str, str]:
    return {page.name: page.read_text() for page in (folder / "workloads").glob("*.html")}


def test_charts_show_the_means_over_seeds_and_the_dense_line(matrix, tmp_path):
    records = []
    for record in matrix(workloads=[("shapes", "resnet")], scorers=("alpha", "random")):
        detectors = 20.0 + 2 * record.axes["seed"] + 40 * (record.axes["scorer"] == "alpha")
        found = {f"interpretability/{name}": 0.25 for name in NAMES}
        found |= {"interpretability/detectors": detectors, "interpretability/detectors_dense": 40.0}
        records.append(replace(record, metrics={**record.metrics, **found}))
    render(records, tmp_path, title="t")
    (page,) = pages(tmp_path).values()
    assert "<h3>Interpretability</h3>" in page
    # Seeds 0, 1 and 2: means of 62 and 22, with the half width of a t interval, 4.303 x 2 / sqrt(3).
    assert re.search(r"<title>alpha: 62\.0 ± 5\.0 at 50%, 62\.0 ± 5\.0 at 90%</title>", page)
    assert re.search(r"<title>random: [^<]*22\.0 ± 5\.0 at 90%</title>", page)
    assert "dense 40.0" in page
    assert ">30<" in page, "the axis of detectors is labelled in plain numbers"
    assert "e+1<" not in page
    assert page.count("25.0%") >= 2


def test_without_dissection_there_is_no_such_section(matrix, tmp_path):
    render(matrix(), tmp_path, title="t")
    assert all("Interpretability" not in page for page in pages(tmp_path).values())
