"""The leaderboard in a few files: complete, usable alone, and safe for any names."""

from __future__ import annotations

import csv
from xml.etree import ElementTree

from benchsuite_leaderboard.charts.theme import COLOURS
from benchsuite_leaderboard.summary import render


def rows(folder):
    with (folder / "ranking.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_ranking_is_in_order_and_its_means_are_those_of_the_records(tmp_path, matrix):
    records = matrix()
    render(records, tmp_path, title="quick")
    table = rows(tmp_path)
    assert [row["criterion"] for row in table[:3]] == ["alpha", "beta", "gamma"]
    assert [row["place"] for row in table[:3]] == ["1", "2", "3"]
    assert {row["criterion"] for row in table if row["control"] == "1"} == {"random", "reversed(alpha)"}
    of_alpha = [
        r.metrics["accuracy/top1"]
        for r in records
        if (r.axes["scorer"], r.axes["sparsity"]) == ("alpha", 0.5)
    ]
    assert abs(float(table[0]["accuracy/0.5"]) - sum(of_alpha) / len(of_alpha)) < 1e-12
    text = (tmp_path / "summary.md").read_text()
    assert text.index("`alpha`") < text.index("`beta`") < text.index("`gamma`")
    assert "60 done" not in text
    assert f"{len(records)} done" in text


def test_a_mean_says_of_how_many_cells_it_is(tmp_path, matrix):
    asked = [r for r in matrix(seeds=range(3)) if (r.axes["model"], r.axes["sparsity"]) != ("mlp", 0.9)]
    records = [r for r in asked if (r.axes["scorer"], r.axes["seed"], r.axes["sparsity"]) != ("beta", 1, 0.5)]
    models = {r.axes["model"] for r in asked}
    render(records, tmp_path, title="quick")
    found = {row["criterion"]: (row["cells/0.5"], row["cells/0.9"]) for row in rows(tmp_path)}
    everywhere, some = 3 * len(models), 3 * (len(models) - 1)
    assert found["alpha"] == (f"{everywhere} of {everywhere}", f"{some} of {some}")
    assert found["beta"] == (f"{2 * len(models)} of {everywhere}", f"{some} of {some}")


def test_drawings_stand_alone(tmp_path, matrix):
    workloads = [("digits", f"net-{i}") for i in range(5)]
    render(matrix(workloads=workloads), tmp_path, title="quick")
    drawings = sorted(tmp_path.glob("*.svg"))
    assert [path.name.split("-")[0] for path in drawings] == [*["curves"] * 5, "ranks"]
    for path in drawings:
        root = ElementTree.parse(path).getroot()
        style = root[0].text
        assert root[0].tag.endswith("style")
        for number in range(1, COLOURS + 1):
            assert f"--series-{number}:" in style
        assert "http" not in path.read_text().replace("http://www.w3.org/2000/svg", "")


def test_what_is_no_longer_drawn_is_removed(tmp_path, matrix):
    render(matrix(), tmp_path, title="quick")
    (tmp_path / "kept.svg").touch()
    render(matrix(workloads=(("digits", "mlp"),)), tmp_path, title="quick")
    assert len(list(tmp_path.glob("curves-*.svg"))) == 1
    assert (tmp_path / "kept.svg").exists()


def test_names_can_neither_leave_their_cell_nor_become_a_path_or_a_formula(tmp_path, record, hostile):
    name = f"=1+1`|../../{hostile}"
    render([record(name, 0.5, 0.9, dataset=name, model=name)], tmp_path / "deep", title=hostile)
    assert {path.parent for path in tmp_path.rglob("*") if path.is_file()} == {tmp_path / "deep"}
    text = (tmp_path / "deep/summary.md").read_text()
    assert "<script>" not in text
    (line,) = (line for line in text.splitlines() if "=1+1" in line)
    assert line.count("|") == 5
    assert line.count("`") == 2
    assert rows(tmp_path / "deep")[0]["criterion"].startswith("'=1+1")
    for path in (tmp_path / "deep").glob("*.svg"):
        ElementTree.parse(path)


def test_without_any_success_or_record_it_says_so(tmp_path, record):
    render([], tmp_path, title="quick", pending=3)
    assert (tmp_path / "summary.md").read_text() == "No trial has an outcome yet.\n"
    render([record("alpha", 0.5, None), record("beta", 0.5, None)], tmp_path, title="quick", pending=1)
    assert "2 failed" in (tmp_path / "summary.md").read_text()
    assert "1 planned trial without an outcome yet." in (tmp_path / "summary.md").read_text()


def test_many_rows_are_cut_in_the_note_and_whole_in_the_table(tmp_path, matrix):
    scorers = [f"s{number:02}" for number in range(30)]
    render(matrix(scorers=scorers, workloads=(("digits", "mlp"),), seeds=(0, 1)), tmp_path, title="quick")
    assert "15 more rows in `ranking.csv`." in (tmp_path / "summary.md").read_text()
    assert len(rows(tmp_path)) == 30
