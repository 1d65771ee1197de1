"""The published results are what the README says of them."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from statistics import mean

import pytest

from benchsuite.publishing.results_file import read_published

ROOT = Path(__file__).parents[2]


def published_means(model: str) -> dict[str, float]:
    """Mean accuracy in percent of each scorer on one model, over sparsities, seeds and draws."""
    published = read_published(ROOT / "leaderboard" / "results" / "criteria.jsonl.gz")
    assert published.problems == ()
    of: dict[str, list[float]] = defaultdict(list)
    for record in published.records:
        if record.axes["model"] == model and record.status == "done":
            of[record.axes["scorer"]].append(100 * record.metrics["accuracy/top1"])
    return {scorer: mean(values) for scorer, values in of.items()}


def of_criteria(means: dict[str, float]) -> dict[str, float]:
    return {s: v for s, v in means.items() if s != "random" and not s.startswith("reversed(")}


@pytest.mark.parametrize(("model", "random"), [("lenet5", "92.2"), ("lenet-10-20-100-25", "76.0")])
def test_the_readme_quotes_the_published_means(model: str, random: str) -> None:
    means = published_means(model)
    ordered = sorted(of_criteria(means).items(), key=lambda each: -each[1])
    words = " ".join((ROOT / "README.md").read_text().split())
    assert f"{means['random']:.1f}" == random
    assert f"from {ordered[-1][1]:.1f} to {ordered[0][1]:.1f}" in words
    assert f"`random` has {random}" in words
    assert {"thinet", "chip"} <= {scorer for scorer, _ in ordered[:4]}


def test_ten_of_the_criteria_do_not_beat_random_on_one_of_the_two() -> None:
    both = [published_means(model) for model in ("lenet5", "lenet-10-20-100-25")]
    losing = {s for means in both for s, value in of_criteria(means).items() if value <= means["random"]}
    assert (len(losing), {len(of_criteria(means)) for means in both}) == (10, {24})
