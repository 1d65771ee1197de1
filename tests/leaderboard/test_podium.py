"""The end of a run in lines of text."""

from __future__ import annotations

import re

import numpy as np

from benchsuite_leaderboard.podium import render


def test_each_budget_has_its_five_best_random_and_the_dense_networks(matrix):
    scorers = [*(f"criterion-{i}" for i in range(7)), "random"]
    records = matrix(scorers=scorers)
    lines = render(records)
    assert [line for line in lines if "removed" in line] == [
        "50% removed: better than random (p < 0.01), ahead of all 6 others",
        "90% removed: better than random (p < 0.01), ahead of all 6 others",
    ]
    names = [line[4:].split()[0] for line in lines if line.startswith("  ")]
    assert names == [*scorers[:5], "random", "dense"] * 2
    assert lines[1].startswith("  ● criterion-0")
    values = [
        r.metrics["accuracy/top1"]
        for r in records
        if (r.axes["scorer"], r.axes["sparsity"]) == ("criterion-0", 0.5)
    ]
    assert re.search(r"(\d+\.\d) ± 0\.\d", lines[1])[1] == f"{100 * np.mean(values):.1f}"
    assert all(len(line) <= 80 for line in lines[:-1])


def test_what_lacks_networks_says_so_and_hostile_names_are_one_line(record, hostile):
    records = [record(hostile * 5, 0.5, 0.9, seed=seed) for seed in (0, 1, 2)]
    records += [record("b", 0.5, 0.8 if seed else None, seed=seed) for seed in (0, 1, 2)]
    lines = render(records)
    assert any(line.endswith("2 of 3") for line in lines)
    assert all(line.isprintable() for line in lines)


def test_nothing_to_compare_is_no_line(record):
    assert render([]) == []
    assert render([record("a", 0.5, None)]) == []
    assert render([record("a", "native", 0.9)]) == []
