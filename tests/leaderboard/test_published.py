"""The published results are what the README says of them."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from statistics import mean

import pytest

from benchsuite.publishing.results_file import read_published

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("model", "random"), [("lenet5", "92.2"), ("lenet-10-20-100-25", "76.0")])
def test_the_readme_quotes_the_published_means(model: str, random: str) -> None:
    published = read_published(ROOT / "leaderboard" / "results" / "criteria.jsonl.gz")
    assert published.problems == ()
    of: dict[str, list[float]] = defaultdict(list)
    for record in published.records:
        if record.axes["model"] == model and record.status == "done":
            of[record.axes["scorer"]].append(100 * record.metrics["accuracy/top1"])
    means = {scorer: mean(values) for scorer, values in of.items()}
    criteria = sorted(v for s, v in means.items() if s != "random" and not s.startswith("reversed("))
    words = " ".join((ROOT / "README.md").read_text().split())
    assert f"{means['random']:.1f}" == random
    assert f"from {criteria[0]:.1f} to {criteria[-1]:.1f}" in words
    assert f"`random` has {random}" in words
    assert sum(value > means["random"] for value in criteria) > len(criteria) / 2
