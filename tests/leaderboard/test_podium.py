"""The end of a run in lines of text."""

from __future__ import annotations

import re
from dataclasses import replace

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


def test_widths_that_the_suite_sets_are_a_budget(matrix):
    settings = {"pruning": {"widths": {"conv1": 5}}}
    records = [
        replace(each, axes={**each.axes, "sparsity": "widths"}, settings=settings)
        for each in matrix(sparsities=[0.5])
    ]
    assert any(line.startswith("fixed widths: ") for line in render(records))


def test_several_boards_are_told_by_what_distinguishes_them(matrix):
    def board(sparsity, pruning, epochs):
        return [
            replace(
                each,
                key=f"{each.key}{sparsity}{epochs}",
                axes={**each.axes, "sparsity": sparsity, "recovery_epochs": epochs},
                settings={"pruning": pruning},
            )
            for each in matrix(sparsities=[0.5])
        ]

    widths = {"floor": 0.1, "widths": {"a.very.long.name.of.a.layer.conv1": 10, "another.layer.fc": 8}}
    shares = {"floor": 0.1}
    records = [*board(0.5, shares, 0), *board(0.5, shares, 1), *board("widths", widths, 1)]
    lines = render(records)
    heads = " ".join(lines).split("accuracy in percent")[0]
    assert "pruning.layers a.very.long.name.of.a.layer.conv1: 10 units, another.layer.fc: 8 units" in heads
    assert heads.count("no recovery · pruning.layers all") == 1
    assert heads.count("1 epoch of recovery · pruning.layers all") == 1
    assert "unset" not in heads
    assert all(len(line) <= 80 for line in lines[:-1])


def test_a_budget_that_some_workloads_were_asked_for_says_so(matrix):
    records = [r for r in matrix() if (r.axes["model"], r.axes["sparsity"]) != ("resnet", 0.5)]
    for each in records:
        each.metrics["accuracy/top1_dense"] = {"mlp": 0.97, "resnet": 0.7}[each.axes["model"]]
    lines = render(records)
    assert [line.partition(":")[0] for line in lines if "removed" in line] == [
        "50% removed (1 of 2 workloads)",
        "90% removed",
    ]
    assert [line.split()[-1] for line in lines if "dense" in line] == ["97.0", "83.5"]


def test_who_is_not_compared_is_named_in_short_lines(record):
    records = [record(name, 0.5, 0.9, seed=seed) for name in ("a", "b") for seed in (0, 1, 2)]
    records += [
        record(f"criterion-with-a-long-name-{i}", 0.5, None if seed else 0.9, seed=seed)
        for i in range(5)
        for seed in (0, 1, 2)
    ]
    lines = render(records)
    (start,) = (i for i, line in enumerate(lines) if "not compared: criterion-with-a-long-name-0" in line)
    assert "and 2 more" in " ".join(lines[start : start + 4])
    assert all(len(line) <= 80 for line in lines[:-1])


def test_with_one_seed_nothing_is_said_of_intervals(record):
    lines = render([record(name, 0.5, 0.9, seed=0) for name in ("a", "b", "random")])
    assert lines[-1] == "accuracy in percent; ● highest"
    assert not any("±" in line for line in lines)
